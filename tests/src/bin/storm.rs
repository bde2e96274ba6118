//! `schakel-storm FOLDER SEED`: writes to the broker's real store until it is killed, and prints what the store
//! answered. `schakel-storm FOLDER SEED walk`: one thing after the other, then ends. `schakel-storm FOLDER SEED look
//! PACKET…`: prints which of these packets are there. For the fault tests, which cut the power under it and break its
//! system calls.

use std::path::PathBuf;
use std::process::ExitCode;

use schakel_tests::system::{peer, storm};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(Ok(seed))) = (arguments.next(), arguments.next().map(|s| s.parse())) else {
        eprintln!("usage: schakel-storm FOLDER SEED [walk | look PACKET…]");
        return ExitCode::FAILURE;
    };
    let folder = PathBuf::from(folder);
    let done = match arguments.next().as_deref() {
        Some("walk") => storm::steps::runtime().block_on(storm::steps::walk(&folder, seed)),
        Some("look") => {
            let packets: Vec<_> = arguments.filter_map(|packet| packet.parse().ok()).collect();
            peer::runtime().block_on(storm::look::look(&folder, &packets))
        }
        _ => peer::runtime().block_on(storm::write(&folder, seed)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("schakel-storm: {error}");
            ExitCode::FAILURE
        }
    }
}
