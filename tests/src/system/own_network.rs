//! A network of a test's own: the test runs itself again in a network namespace, where it may lose packets as it likes.
//! There is a loopback interface, all of whose addresses lead to the same processes, and nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use super::process::{command, is_root, run};

/// Set in the process that has its own network.
const INSIDE: &str = "SCHAKEL_OWN_NETWORK";

/// Where the calling test is.
pub enum Place {
    /// In a network of its own: go on.
    Inside,
    /// The test ran inside and passed: nothing is left to do.
    Done,
    /// It cannot be done here, and why.
    Impossible(String),
}

/// To be called first by a test that wants its own network, on the test's own thread.
///
/// # Panics
/// When the test fails inside.
pub fn enter() -> Place {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]).unwrap();
        return Place::Inside;
    }
    if !is_root() {
        return Place::Impossible("a network namespace takes root".to_owned());
    }
    for (tool, asked) in [("nft", "--version"), ("ip", "-Version"), ("unshare", "--version")] {
        if let Err(why) = run(tool, &[asked]) {
            return Place::Impossible(why);
        }
    }
    if let Err(why) = run("unshare", &["--net", "true"]) {
        return Place::Impossible(why);
    }
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let output = command("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        // More than one thread: each test has then one that is named after it.
        .env("RUST_TEST_THREADS", "2")
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    // Without the lines that count tests: this is one test, and it is counted by who called.
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines = printed.lines();
    for line in lines.filter(|line| !["test ", "running "].iter().any(|word| line.starts_with(word))) {
        println!("{line}");
    }
    assert!(output.status.success(), "in its own network: {}", output.status);
    assert!(printed.contains("1 passed"), "{name} is not the name of one test");
    Place::Done
}

/// A road within the network: agents that go to this address and the same port reach the broker, which listens on all of
/// them. So each agent has its own, and what is lost on one is lost for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Road {
    address: SocketAddr,
}

/// What is lost on a road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything, both ways.
    All,
    /// Everything towards the agent.
    Answers,
    /// Everything towards the agent; and what the agent sends is answered with a reset, as by a router that has forgotten
    /// the connection.
    AnswersAndReset,
    /// So many of a hundred packets, each way, at random.
    Percent(u32),
}

impl Road {
    /// The road of this number, to the broker's port.
    pub fn number(number: u8, port: u16) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::new(127, 0, 1, number), port)),
        }
    }

    /// Where the agent goes.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses this from now on, and nothing else.
    ///
    /// # Panics
    /// When the kernel does not take the rules.
    pub fn lose(&self, loss: Loss) {
        let (there, back) = match loss {
            Loss::All => (Some("drop".to_owned()), Some("drop".to_owned())),
            Loss::Answers => (None, Some("drop".to_owned())),
            Loss::AnswersAndReset => (Some("reject with tcp reset".to_owned()), Some("drop".to_owned())),
            Loss::Percent(percent) => {
                let some = format!("numgen random mod 100 < {percent} drop");
                (Some(some.clone()), Some(some))
            }
        };
        let (ip, port) = (self.address.ip(), self.address.port());
        let there = there.map(|rule| format!("ip daddr {ip} tcp dport {port} {rule}"));
        let back = back.map(|rule| format!("ip saddr {ip} tcp sport {port} {rule}"));
        let rules: Vec<String> = there.into_iter().chain(back).collect();
        let table = self.table();
        let text = format!(
            "table ip {table} {{ }}\ndelete table ip {table}\ntable ip {table} {{\n\
             chain in {{ type filter hook input priority 0; {}; }}\n}}\n",
            rules.join("; ")
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        run("nft", &["-f", file.path().to_str().unwrap()]).unwrap();
    }

    /// Loses nothing any more.
    ///
    /// # Panics
    /// When nothing was lost before.
    pub fn heal(&self) {
        run("nft", &["delete", "table", "ip", &self.table()]).unwrap();
    }

    fn table(&self) -> String {
        format!("road{}", self.address.ip().to_string().replace('.', "x"))
    }
}
