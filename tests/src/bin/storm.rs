//! `schakel-storm FOLDER SEED`: writes to the broker's real store until it is killed, and prints what the store
//! answered. For the fault tests, which cut the power under it.

use std::path::PathBuf;
use std::process::ExitCode;

use schakel_tests::system::{peer, storm};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(Ok(seed))) = (arguments.next(), arguments.next().map(|s| s.parse())) else {
        eprintln!("usage: schakel-storm FOLDER SEED");
        return ExitCode::FAILURE;
    };
    match peer::runtime().block_on(storm::write(&PathBuf::from(folder), seed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("schakel-storm: {error}");
            ExitCode::FAILURE
        }
    }
}
