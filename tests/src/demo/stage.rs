//! The network on this machine: minted in a temporary folder, broker and agents as separate processes.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use schakel_agent::clock::randomness;
use schakel_certs_dev::{Mint, Network, mint};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

use super::local::Local;
use super::problem::{Problem, Result};
use super::processes::{Processes, binary};
use super::say::Voice;
use super::story::{Moment, Story};
use super::time::Time;

/// Longest path of a Unix socket on Linux, in bytes.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// The network in its folder.
pub struct Stage {
    story: Story,
    time: Time,
    folder: PathBuf,
    _removed_at_end: Option<tempfile::TempDir>,
    network: Network,
    address: SocketAddr,
    health: SocketAddr,
    broker_id: u32,
    processes: Processes,
    /// Whose processes an outage of the story has stopped.
    stopped: BTreeSet<String>,
}

/// Whose process the broker's is in a story.
pub const BROKER: &str = "broker";

/// An agency's id.
pub fn agency(id: &str) -> Result<AgencyId> {
    AgencyId::new(id).map_err(Problem::during(id))
}

impl Stage {
    /// Mints the network of a story; nothing runs yet.
    pub fn mint(story: Story, keep: bool, processes: Processes, voice: Voice) -> Result<Self> {
        let spec = &story.network;
        let step = voice.step(&format!("Making the network {}", spec.network));
        let folder = tempfile::Builder::new().prefix("schakel-demo-").tempdir();
        let folder = folder.map_err(Problem::during("a temporary folder"))?;
        processes.remove_when_interrupted(folder.path());
        let (port, health_port) = free_ports()?;
        let root = folder.path().join(spec.network.as_str());
        let mut time = Time::in_file(&folder.path().join("simulated-time"))?;
        let order = Mint {
            spec,
            out: &root,
            port,
            health_port,
            at: time.now(),
        };
        let network = mint(&order, &mut randomness()).map_err(Problem::during("making the network"))?;
        if let Some(first) = story.scenes.iter().find_map(|scene| scene.moment)
            && time.go(first)?
        {
            let refreshed = network.refresh(time.now());
            refreshed.map_err(Problem::during("the directory of day 0"))?;
        }
        step.done(&format!(
            "{} agencies with TLS and OpenPGP keys, signed directory, signed policies",
            spec.agencies.len()
        ));
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (path, _removed_at_end) = if keep {
            (folder.keep(), None)
        } else {
            (folder.path().to_owned(), Some(folder))
        };
        let stage = Self {
            story,
            time,
            folder: path,
            _removed_at_end,
            network,
            address: local(port),
            health: local(health_port),
            broker_id: 0,
            processes,
            stopped: BTreeSet::new(),
        };
        stage.prepare()?;
        Ok(stage)
    }

    /// The documents to be sent; agents that look often for a new directory; and every second inbox plain
    /// at rest, so that the search of disks would find what came.
    fn prepare(&self) -> Result<()> {
        let documents = self.documents();
        std::fs::create_dir_all(&documents).map_err(Problem::during(documents.display()))?;
        for entry in walkdir::WalkDir::new(&self.story.documents)
            .min_depth(1)
            .max_depth(1)
        {
            let entry = entry.map_err(Problem::during(self.story.documents.display()))?;
            let copied = std::fs::copy(entry.path(), documents.join(entry.file_name()));
            copied.map_err(Problem::during(entry.path().display()))?;
        }
        for id in &self.story.head.agents {
            let file = self.network.agent_config(&agency(id)?);
            let text = std::fs::read_to_string(&file).map_err(Problem::during(file.display()))?;
            let mut text = text.replacen("data_dir = ", "refresh_seconds = 1\ndata_dir = ", 1);
            if self.is_plain(id) {
                text = text.replace(r#"at_rest = "sealed""#, r#"at_rest = "plain""#);
            }
            std::fs::write(&file, text).map_err(Problem::during(file.display()))?;
        }
        Ok(())
    }

    /// Whether an agency keeps what it received in the open.
    pub fn is_plain(&self, id: &str) -> bool {
        let place = self.story.head.agents.iter().position(|agent| agent == id);
        place.is_some_and(|place| place % 2 == 1)
    }

    /// Goes to a moment of the story: all clocks jump, the directory is issued anew (an old one takes no
    /// new seals), and every agent has it.
    pub fn go(&mut self, moment: Moment) -> Result<()> {
        self.all_started()?;
        if !self.time.go(moment)? {
            return Ok(());
        }
        let version = self.network.refresh(self.time.now());
        let version = version.map_err(Problem::during("the day's directory"))?;
        self.processes.hang_up(self.broker_id);
        self.everywhere("the day's directory", |status| {
            status
                .pointer("/directory_version")
                .and_then(serde_json::Value::as_u64)
                >= Some(version)
        })
    }

    /// Waits until every agent's status is so.
    fn everywhere(&self, what: &str, so: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
        let running = |id: &&String| !self.stopped.contains(*id);
        for id in self.story.head.agents.iter().filter(running) {
            let local = Local::of(self, id)?;
            self.processes.wait(&format!("{what} at {id}"), &mut || {
                let status = local.ask("GET", "/v1/status", None);
                status.is_ok_and(|(code, status)| code == 200 && so(&status))
            })?;
        }
        Ok(())
    }

    /// Starts broker and agents, each as a process of its own, and waits until they are ready.
    pub fn start(&mut self, voice: Voice) -> Result<()> {
        let step = voice.step("Starting the broker");
        self.run_broker()?;
        step.done(&format!("ready on {}", self.address));
        let step = voice.step("Starting the agents");
        let agents = self.story.head.agents.clone();
        for id in &agents {
            step.now(id);
            self.run_agent(id)?;
        }
        for id in &agents {
            step.now(&format!("waiting for {id}"));
            self.answers(id)?;
        }
        step.now("directory and policies");
        self.all_connected()?;
        step.done(&format!("{} agencies", agents.len()));
        Ok(())
    }

    fn run_broker(&mut self) -> Result<()> {
        let mut command = Command::new(binary("schakel-broker")?);
        command
            .args(["run", "--development", "--config"])
            .arg(self.network.broker_config())
            .arg("--simulated-time")
            .arg(self.time.file());
        self.broker_id = self.processes.start(BROKER, &mut command, &self.log("broker"))?;
        let health = self.health;
        self.processes.wait("the broker's readiness", &mut || {
            get(health, "/health/ready") == Some(200)
        })
    }

    fn run_agent(&self, id: &str) -> Result<()> {
        let config = self.network.agent_config(&agency(id)?);
        let mut command = Command::new(binary("schakel-agent")?);
        command.args(["run", "--development", "--config"]).arg(config);
        command.arg("--simulated-time").arg(self.time.file());
        self.processes.start(id, &mut command, &self.log(id)).map(|_| ())
    }

    fn answers(&self, id: &str) -> Result<()> {
        let socket = self.socket(id)?;
        self.processes.wait(&format!("the local API of {id}"), &mut || {
            UnixStream::connect(&socket).is_ok()
        })
    }

    fn all_connected(&self) -> Result<()> {
        self.everywhere("directory and policies", |status| {
            let bundle = status
                .pointer("/bundle_version")
                .is_some_and(serde_json::Value::is_u64);
            bundle && status.pointer("/connected") == Some(&true.into())
        })
    }

    /// An outage: these processes stop, the broker's or agents'.
    pub fn stop(&mut self, whose: &[String]) -> Result<()> {
        for name in whose {
            self.processes.stop_one(name)?;
            self.stopped.insert(name.clone());
        }
        Ok(())
    }

    /// Its end: they start again, and whoever runs is connected if the broker runs.
    pub fn start_again(&mut self, whose: &[String]) -> Result<()> {
        for name in whose {
            if !self.stopped.remove(name) {
                return Err(Problem::new(format!("{name} was not stopped")));
            }
            if name == BROKER {
                self.run_broker()?;
            } else {
                self.run_agent(name)?;
                self.answers(name)?;
            }
        }
        if self.stopped.contains(BROKER) {
            return Ok(());
        }
        self.all_connected()
    }

    /// No outage is left.
    pub fn all_started(&self) -> Result<()> {
        match self.stopped.first() {
            None => Ok(()),
            Some(name) => Err(Problem::new(format!(
                "{name} is stopped: start it before time goes on or the story ends"
            ))),
        }
    }

    /// The socket of an agent's local API.
    pub fn socket(&self, id: &str) -> Result<PathBuf> {
        let socket = self.network.agent_data(&agency(id)?).join("agent.sock");
        if socket.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            let path = socket.display();
            return Err(Problem::new(format!(
                "{path} is too long for a socket; set TMPDIR to a short folder"
            )));
        }
        Ok(socket)
    }

    /// Asks the running broker as its admin does; its JSON.
    pub fn ask_broker(&self, words: &[&str]) -> Result<serde_json::Value> {
        let asked = Command::new(binary("schakel-broker")?)
            .args(words)
            .arg("--config")
            .arg(self.network.broker_config())
            .output()
            .map_err(Problem::during("asking the broker"))?;
        let error = String::from_utf8_lossy(&asked.stderr).into_owned();
        serde_json::from_slice(&asked.stdout)
            .map_err(|_| Problem::new(format!("schakel-broker {}: {}", words.join(" "), error.trim())))
    }

    /// The story.
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// The story's time.
    pub fn time(&self) -> &Time {
        &self.time
    }

    /// This moment, as broker and agents see it.
    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the documents to be sent.
    pub fn documents(&self) -> PathBuf {
        self.folder.join("documents")
    }

    /// The keys, settings and data of the network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where the broker listens for agents.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The broker's process.
    pub fn broker_id(&self) -> u32 {
        self.broker_id
    }

    /// All processes.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// Where a process' log goes; outside the folders that are searched, but for the broker's.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Before the folder goes; after `leave` there is nothing to stop.
        self.processes.stop();
    }
}

/// Two ports that nobody listens on just now.
fn free_ports() -> Result<(u16, u16)> {
    let bind = || TcpListener::bind("127.0.0.1:0").map_err(Problem::during("a free port"));
    let (one, two) = (bind()?, bind()?);
    let port = |l: &TcpListener| {
        l.local_addr()
            .map(|a| a.port())
            .map_err(Problem::during("a free port"))
    };
    Ok((port(&one)?, port(&two)?))
}

/// Status code of a plain HTTP request.
fn get(address: SocketAddr, route: &str) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}
