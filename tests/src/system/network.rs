//! A whole development network on one machine: minted keys and policies, a broker and agents as real processes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use schakel_broker::clock::{Clock, SystemClock};
use schakel_certs_dev::{Mint, Network, NetworkSpec, mint, mint_vectors};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

use super::process::{Process, binary, built};

/// Ports that stand in the minted configurations until a copy gets its own.
const MINTED_PORTS: (u16, u16) = (7443, 7444);

/// Age of the minted keys, so that a test can date something back.
const MINTED_BEFORE_MILLIS: i64 = 6 * 3600 * 1000;

/// A network in a folder of its own, with the processes started so far. All ends when dropped.
pub struct Town {
    // Processes first: they end before their folder goes.
    broker: Option<Process>,
    agents: BTreeMap<AgencyId, Process>,
    network: Network,
    address: SocketAddr,
    health: SocketAddr,
    folder: tempfile::TempDir,
}

/// Where things of a town lie, without its processes: for a thread beside the one that starts and ends them.
pub struct Places {
    /// The minted network.
    pub network: Network,
    /// A folder for the thread's own files.
    pub scratch: PathBuf,
}

/// An agency's id.
pub fn agency(id: &str) -> AgencyId {
    AgencyId::new(id).unwrap()
}

/// The machine's time.
pub fn now() -> Timestamp {
    SystemClock.now()
}

impl Town {
    /// The built-in network `rupel`, with its own ports; nothing runs yet. Keys are made once per test
    /// binary and copied.
    pub fn rupel() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("schakel-town-")
            .tempdir()
            .unwrap();
        let root = folder.path().join("rupel");
        copy(minted(), &root);
        let (grpc, health) = free_ports();
        let network = Network::open(&root).unwrap();
        let configs = network
            .spec()
            .agencies
            .iter()
            .map(|a| network.agent_config(&a.id));
        for config in configs.chain([network.broker_config()]) {
            let text = std::fs::read_to_string(&config).unwrap();
            let port = |n: u16| format!("127.0.0.1:{n}\"");
            let text = text
                .replace(&port(MINTED_PORTS.0), &port(grpc))
                .replace(&port(MINTED_PORTS.1), &port(health));
            std::fs::write(&config, text).unwrap();
        }
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, health) = (local(grpc), local(health));
        Self {
            folder,
            network,
            address,
            health,
            broker: None,
            agents: BTreeMap::new(),
        }
    }

    /// Any network, minted for this test.
    pub fn of(spec: &NetworkSpec) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("schakel-town-")
            .tempdir()
            .unwrap();
        let (port, health_port) = free_ports();
        let order = Mint {
            spec,
            out: &folder.path().join("network"),
            port,
            health_port,
            at: now(),
        };
        let network = mint(&order, &mut StdRng::from_os_rng()).unwrap();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            folder,
            network,
            address: local(port),
            health: local(health_port),
            broker: None,
            agents: BTreeMap::new(),
        }
    }

    /// The network of the packet vectors (`proto/vectors`): everybody knows its members' keys, and its time is another
    /// than the machine's.
    pub fn of_vectors() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("schakel-vectors-")
            .tempdir()
            .unwrap();
        let (grpc, health) = free_ports();
        let mut rng = StdRng::from_os_rng();
        let network = mint_vectors(&folder.path().join("rupel"), (grpc, health), now(), &mut rng).unwrap();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            folder,
            network,
            address: local(grpc),
            health: local(health),
            broker: None,
            agents: BTreeMap::new(),
        }
    }

    /// `rupel` with the broker and these agents running and ready.
    pub fn running(agents: &[&str]) -> Self {
        let mut town = Self::rupel();
        town.start_broker();
        for agent in agents {
            town.start_agent(agent);
        }
        town
    }

    /// Puts the broker's data and erasure keys elsewhere: on a disk of the test's own.
    pub fn put_broker_on(&self, disk: &Path) {
        let (data, erasure) = (disk.join("data"), disk.join("erasure"));
        self.change_broker(|text| {
            let text = text.replace("data_dir = \"data\"", &format!("data_dir = {data:?}"));
            text.replace("erasure_dir = \"erasure\"", &format!("erasure_dir = {erasure:?}"))
        });
    }

    /// Lifts the broker's limits on how much one agency may submit, and on how many of its rejections are logged: for
    /// tests under load.
    pub fn lift_rates(&self) {
        self.change_broker(|text| {
            format!("{text}\n[limits]\nsubmissions_per_minute_max_count = 1000000\nsubmissions_at_once_max_count = 64\nrejection_leaves_per_hour_max_count = 3600\n")
        });
    }

    /// Sets `[limits]` of the broker, a line each.
    pub fn limit(&self, lines: &str) {
        self.change_broker(|text| format!("{text}\n[limits]\n{lines}\n"));
    }

    /// The broker listens on every address of this machine: in a network of the test's own.
    pub fn listen_everywhere(&self) {
        let port = self.address.port();
        self.change_broker(|text| text.replace(&format!("127.0.0.1:{port}"), &format!("0.0.0.0:{port}")));
    }

    /// The broker listens on another port from its next start on. Agents do not know of it.
    pub fn move_broker(&mut self) {
        let (before, (port, _)) = (self.address, free_ports());
        let after = SocketAddr::new(before.ip(), port);
        self.change_broker(|text| text.replace(&before.to_string(), &after.to_string()));
        self.address = after;
    }

    /// The brokers that an agency's agent knows, from its next start on.
    pub fn set_brokers(&self, id: &str, brokers: &[SocketAddr]) {
        let file = self.network.agent_config(&agency(id));
        let before = std::fs::read_to_string(&file).unwrap();
        let list: Vec<String> = brokers.iter().map(|one| format!("\"{one}\"")).collect();
        let line = |line: &str| {
            if line.starts_with("broker = ") {
                format!("broker = [{}]", list.join(", "))
            } else {
                line.to_owned()
            }
        };
        let after: Vec<String> = before.lines().map(line).collect();
        let after = after.join("\n") + "\n";
        assert_ne!(after, before, "agent.toml is not what this test takes it for");
        std::fs::write(file, after).unwrap();
    }

    /// Adds a section to the broker's configuration.
    pub fn add_to_broker(&self, section: &str) {
        self.change_broker(|text| format!("{text}{section}"));
    }

    fn change_broker(&self, change: impl FnOnce(String) -> String) {
        let file = self.network.broker_config();
        let before = std::fs::read_to_string(&file).unwrap();
        let after = change(before.clone());
        assert_ne!(after, before, "broker.toml is not what this test takes it for");
        std::fs::write(file, after).unwrap();
    }

    /// Where things lie, for another thread.
    pub fn places(&self, scratch: &str) -> Places {
        Places {
            network: self.network.clone(),
            scratch: self.scratch(scratch),
        }
    }

    /// The folder with all keys and settings.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where the broker listens for agents.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the broker tells how it is.
    pub fn health_address(&self) -> SocketAddr {
        self.health
    }

    /// A file for what a process logs; outside the folders that are searched for leaks.
    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// Where the broker's log goes.
    pub fn broker_log(&self) -> PathBuf {
        self.log("broker")
    }

    /// The command that runs the broker on this network.
    pub fn broker_command(&self) -> Command {
        let mut command = Command::new(binary("schakel-broker"));
        command
            .args(["run", "--development", "--config"])
            .arg(self.network.broker_config());
        command
    }

    /// Starts the broker and waits until it is ready.
    pub fn start_broker(&mut self) {
        let command = self.broker_command();
        self.start_broker_as(command);
    }

    /// As [`Town::start_broker`], by another command (under a tracer, with another limit).
    pub fn start_broker_as(&mut self, mut command: Command) {
        let mut process = Process::start("broker", &mut command, &self.broker_log());
        let health = self.health;
        process.wait_until("readiness", || {
            (get(health, "/health/ready")? == 200).then_some(())
        });
        self.broker = Some(process);
    }

    /// The running broker.
    pub fn broker(&self) -> &Process {
        self.broker.as_ref().expect("the broker runs")
    }

    /// The running broker, to be ended in one way or another.
    pub fn take_broker(&mut self) -> Process {
        self.broker.take().expect("the broker runs")
    }

    /// Puts back a broker that was taken and left running.
    pub fn put_broker_back(&mut self, broker: Process) {
        self.broker = Some(broker);
    }

    /// Puts back an agent that was taken and left running.
    pub fn put_agent_back(&mut self, id: &str, process: Process) {
        self.agents.insert(agency(id), process);
    }

    /// Starts an agent and waits until its local API answers.
    pub fn start_agent(&mut self, id: &str) {
        let command = self.agent_command(id);
        self.start_agent_as(id, command);
    }

    /// The command that runs an agency's agent on this network.
    pub fn agent_command(&self, id: &str) -> Command {
        let config = self.network.agent_config(&agency(id));
        let mut command = Command::new(binary("schakel-agent"));
        command.args(["run", "--development", "--config"]).arg(config);
        command
    }

    /// As [`Town::start_agent`], by another command (with another clock).
    pub fn start_agent_as(&mut self, id: &str, mut command: Command) {
        let mut process = Process::start(id, &mut command, &self.log(id));
        let socket = self.network.agent_data(&agency(id)).join("agent.sock");
        process.wait_until("its local API", || {
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
        self.agents.insert(agency(id), process);
    }

    /// Process id of the running agent of an agency.
    pub fn agent(&self, id: &str) -> u32 {
        self.agents.get(&agency(id)).expect("the agent runs").id()
    }

    /// The running agent of an agency, to be ended in one way or another.
    pub fn take_agent(&mut self, id: &str) -> Process {
        self.agents.remove(&agency(id)).expect("the agent runs")
    }

    /// What the processes printed so far, all together.
    pub fn logs(&self) -> Vec<PathBuf> {
        let ids = self
            .network
            .spec()
            .agencies
            .iter()
            .map(|a| self.log(a.id.as_str()));
        ids.chain([self.broker_log()])
            .filter(|log| log.exists())
            .collect()
    }

    /// A folder of the test's own within the network's.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A figure on the broker's `/metrics`, by its name with its label; none if there is no such line.
    pub fn figure(&self, name: &str) -> Option<u64> {
        let page = answer(self.health, "/metrics")?;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value?.parse().ok()
    }

    /// What a health route of the broker says; none if it does not answer.
    pub fn health_words(&self, route: &str) -> Option<String> {
        let said = answer(self.health, route)?;
        said.split_once("\r\n\r\n").map(|(_, words)| words.to_owned())
    }

    /// Status code of a health route of the broker; none if it does not answer.
    pub fn health(&self, route: &str) -> Option<u16> {
        get(self.health, route)
    }
}

/// The minted network that all copies come from.
fn minted() -> &'static Path {
    static MINTED: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = MINTED.get_or_init(|| {
        let folder = tempfile::Builder::new()
            .prefix("minted-")
            .tempdir_in(built())
            .unwrap();
        let spec = NetworkSpec::builtin("rupel").unwrap();
        let (port, health_port) = MINTED_PORTS;
        let order = Mint {
            spec: &spec,
            out: &folder.path().join("rupel"),
            port,
            health_port,
            at: now().plus_millis(-MINTED_BEFORE_MILLIS),
        };
        mint(&order, &mut StdRng::from_os_rng()).unwrap();
        folder
    });
    // A static is not dropped: what is left lies among the built files.
    Box::leak(folder.path().join("rupel").into_boxed_path())
}

/// Copies a folder with its permissions; sockets stay behind.
pub fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir(&target).unwrap();
            std::fs::set_permissions(&target, entry.metadata().unwrap().permissions()).unwrap();
        } else if entry.file_type().is_file() {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Two ports that nobody listens on just now.
pub(super) fn free_ports() -> (u16, u16) {
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [a, b] = listeners.map(|l| l.local_addr().unwrap().port());
    (a, b)
}

/// Status code of a plain HTTP request.
pub(super) fn get(address: SocketAddr, route: &str) -> Option<u16> {
    answer(address, route)?.split(' ').nth(1)?.parse().ok()
}

/// All that comes back to a plain HTTP request.
fn answer(address: SocketAddr, route: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
