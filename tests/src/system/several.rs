//! A second broker of a town, on the same store: its own address, its own data folder, everything else shared.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use super::network::{Town, free_ports, get};
use super::process::{Process, binary};

/// A broker beside a town's own.
pub struct Second {
    config: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    health: SocketAddr,
    process: Option<Process>,
}

impl Second {
    /// Its configuration, made from the first one's as it is now. Not started.
    pub fn beside(town: &Town) -> Self {
        let first = town.network().broker_config();
        let (port, health) = free_ports();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, health) = (local(port), local(health));
        let text = std::fs::read_to_string(&first).unwrap();
        let text = text
            .replace(&town.address().to_string(), &address.to_string())
            .replace(&town.health_address().to_string(), &health.to_string())
            .replace("data_dir = \"data\"", "data_dir = \"data-of-the-second\"");
        let config = first.with_file_name("second.toml");
        std::fs::write(&config, text).unwrap();
        Self {
            config,
            log: town.broker_log().with_file_name("second-broker.log"),
            address,
            health,
            process: None,
        }
    }

    /// Where it listens for agents.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        let mut command = Command::new(binary("schakel-broker"));
        command
            .args(["run", "--development", "--config"])
            .arg(&self.config);
        let mut process = Process::start("second broker", &mut command, &self.log);
        let health = self.health;
        process.wait_until("readiness", || {
            (get(health, "/health/ready")? == 200).then_some(())
        });
        self.process = Some(process);
    }

    /// The running process, to be ended in one way or another.
    pub fn take(&mut self) -> Process {
        self.process.take().expect("the second broker runs")
    }

    /// What it printed.
    pub fn log(&self) -> &std::path::Path {
        &self.log
    }
}
