//! The network on this machine: minted in a temporary folder, broker and agents as separate processes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use schakel_agent::clock::{Clock, SystemClock, randomness};
use schakel_certs_dev::{Mint, Network, NetworkSpec, mint};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

use super::cli::Cli;
use super::problem::{Problem, Result};
use super::processes::{Processes, binary};
use super::say::Voice;
use super::script;

/// Longest path of a Unix socket on Linux, in bytes.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// The network in its folder.
pub struct Stage {
    folder: PathBuf,
    _removed_at_end: Option<tempfile::TempDir>,
    network: Network,
    address: SocketAddr,
    health: SocketAddr,
    broker_id: u32,
    processes: Processes,
}

/// The machine's time.
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// An agency's id.
pub fn agency(id: &str) -> Result<AgencyId> {
    AgencyId::new(id).map_err(Problem::during(id))
}

impl Stage {
    /// Mints the network `name`; nothing runs yet.
    pub fn mint(name: &str, keep: bool, processes: Processes, voice: Voice) -> Result<Self> {
        let spec = NetworkSpec::builtin(name).map_err(Problem::during("the network"))?;
        let step = voice.step(&format!("Making the network {name}"));
        let folder = tempfile::Builder::new().prefix("schakel-demo-").tempdir();
        let folder = folder.map_err(Problem::during("a temporary folder"))?;
        processes.remove_when_interrupted(folder.path());
        let (port, health_port) = free_ports()?;
        let root = folder.path().join(name);
        let order = Mint {
            spec: &spec,
            out: &root,
            port,
            health_port,
            at: now(),
        };
        let network = mint(&order, &mut randomness()).map_err(Problem::during("making the network"))?;
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
            folder: path,
            _removed_at_end,
            network,
            address: local(port),
            health: local(health_port),
            broker_id: 0,
            processes,
        };
        stage.prepare()?;
        Ok(stage)
    }

    /// The documents to be sent, and inboxes that are plain at rest where the search needs them so.
    fn prepare(&self) -> Result<()> {
        let documents = self.documents();
        std::fs::create_dir_all(&documents).map_err(Problem::during(documents.display()))?;
        for part in script::PACKETS.iter().flat_map(|packet| packet.parts) {
            let file = documents.join(part.file);
            std::fs::write(&file, part.content).map_err(Problem::during(file.display()))?;
        }
        for id in script::PLAIN {
            let file = self.network.agent_config(&agency(id)?);
            let text = std::fs::read_to_string(&file).map_err(Problem::during(file.display()))?;
            let text = text.replace(r#"at_rest = "sealed""#, r#"at_rest = "plain""#);
            std::fs::write(&file, text).map_err(Problem::during(file.display()))?;
        }
        Ok(())
    }

    /// Starts broker and agents, each as a process of its own, and waits until they are ready.
    pub fn start(&mut self, voice: Voice) -> Result<()> {
        let step = voice.step("Starting the broker");
        let mut command = Command::new(binary("schakel-broker")?);
        command
            .args(["run", "--development", "--config"])
            .arg(self.network.broker_config());
        self.broker_id = self
            .processes
            .start("broker", &mut command, &self.log("broker"))?;
        let health = self.health;
        self.processes.wait("the broker's readiness", &mut || {
            get(health, "/health/ready") == Some(200)
        })?;
        step.done(&format!("ready on {}", self.address));
        let step = voice.step("Starting the agents");
        for id in script::AGENTS {
            step.now(id);
            let config = self.network.agent_config(&agency(id)?);
            let mut command = Command::new(binary("schakel-agent")?);
            command.args(["run", "--development", "--config"]).arg(config);
            self.processes.start(id, &mut command, &self.log(id))?;
        }
        for id in script::AGENTS {
            step.now(&format!("waiting for {id}"));
            let socket = self.socket(id)?;
            self.processes.wait(&format!("the local API of {id}"), &mut || {
                UnixStream::connect(&socket).is_ok()
            })?;
        }
        for id in script::AGENTS {
            step.now(&format!("{id} takes up directory and policies"));
            let cli = Cli::of(self, id)?;
            self.processes
                .wait(&format!("directory and policies at {id}"), &mut || {
                    let status = cli
                        .call(&["status"], &[])
                        .map(|answer| answer.value)
                        .unwrap_or_default();
                    let bundle = status
                        .pointer("/agent/bundle_version")
                        .is_some_and(serde_json::Value::is_u64);
                    bundle && status.pointer("/agent/connected") == Some(&true.into())
                })?;
        }
        step.done(&script::AGENTS.join(", "));
        Ok(())
    }

    fn socket(&self, id: &str) -> Result<PathBuf> {
        let socket = self.network.agent_data(&agency(id)?).join("agent.sock");
        if socket.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            let path = socket.display();
            return Err(Problem::new(format!(
                "{path} is too long for a socket; set TMPDIR to a short folder"
            )));
        }
        Ok(socket)
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
