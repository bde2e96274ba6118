//! `sign` and `verify`: four eyes.

use std::path::{Path, PathBuf};

use schakel_policy::bundle::{Bundle, OfficerEntry, SignedBundle};
use schakel_proto::directory::{Authority, Directory};
use schakel_proto::openpgp::{Certificate, SecretKeys};
use schakel_proto::party::{NetworkName, OfficerId};
use schakel_proto::time::Timestamp;

use super::{Answer, Failure};

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct SignArguments {
    /// A directory, an archive or a signed bundle.
    bundle: PathBuf,
    /// Network it is signed for.
    #[arg(long)]
    network: String,
    /// The officer's id in the directory.
    #[arg(long)]
    officer: String,
    /// The officer's secret OpenPGP key.
    #[arg(long)]
    key: PathBuf,
    /// Where the signed bundle goes; an existing signed bundle of the same content keeps its other signatures.
    #[arg(long)]
    out: PathBuf,
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    /// A signed bundle.
    bundle: PathBuf,
    /// Network it must be signed for.
    #[arg(long)]
    network: String,
    /// The directory that lists the officers.
    #[arg(long)]
    directory: PathBuf,
    /// OpenPGP certificates of the network's authority.
    #[arg(long)]
    authority: PathBuf,
    /// Authority keys that must have signed the directory.
    #[arg(long, default_value_t = 1)]
    threshold: usize,
}

/// The present moment: the one place of this program that reads the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line is where time comes in"
)]
fn now() -> Timestamp {
    Timestamp::from_system_time(std::time::SystemTime::now())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::reading(path, &error))
}

fn network(text: &str) -> Result<NetworkName, Failure> {
    NetworkName::new(text).map_err(|error| Failure::Other(error.to_string()))
}

/// Adds an officer's signature.
pub fn sign(arguments: &SignArguments, json: bool) -> Answer {
    let network = network(&arguments.network)?;
    let officer = OfficerId::new(&arguments.officer).map_err(|error| Failure::Other(error.to_string()))?;
    let bundle = Bundle::load(&arguments.bundle)?;
    let mut signed = SignedBundle::unsigned(&bundle);
    for path in [&arguments.bundle, &arguments.out] {
        let before = path.is_file().then(|| read(path)).transpose()?;
        if let Some(before) = before.and_then(|bytes| SignedBundle::from_bytes(&bytes).ok())
            && before.archive == signed.archive
        {
            let mine = signed
                .signatures
                .iter()
                .map(|s| s.officer.clone())
                .collect::<Vec<_>>();
            signed.signatures.extend(
                before
                    .signatures
                    .into_iter()
                    .filter(|s| !mine.contains(&s.officer)),
            );
        }
    }
    let keys = SecretKeys::parse(&read(&arguments.key)?).map_err(|e| Failure::reading(&arguments.key, &e))?;
    signed.sign(&network, &officer, &keys, now())?;
    let beside = arguments.out.with_extension("new");
    let write =
        std::fs::write(&beside, signed.to_bytes()).and_then(|()| std::fs::rename(&beside, &arguments.out));
    write.map_err(|error| Failure::reading(&arguments.out, &error))?;
    let count = signed.signatures.len();
    if json {
        println!(
            "{}",
            serde_json::json!({ "digest": bundle.digest().to_string(), "signatures": count })
        );
    } else {
        println!(
            "{} {} {}: {count} signatures",
            bundle.name(),
            bundle.version(),
            bundle.digest()
        );
    }
    Ok(true)
}

/// Checks the signatures against the directory.
pub fn verify(arguments: &VerifyArguments, json: bool) -> Answer {
    let network = network(&arguments.network)?;
    let at = now();
    let certificates = Certificate::parse_all(&read(&arguments.authority)?)
        .map_err(|error| Failure::reading(&arguments.authority, &error))?;
    let authority = Authority::new(certificates, arguments.threshold)
        .map_err(|error| Failure::reading(&arguments.authority, &error))?;
    let directory = Directory::verify_encoded(&read(&arguments.directory)?, &authority, &network, at)
        .map_err(|error| Failure::reading(&arguments.directory, &error))?;
    let signed = SignedBundle::from_bytes(&read(&arguments.bundle)?)?;
    let verified = signed.verify(&network, &OfficerEntry::all(&directory), at)?;
    let bundle = verified.bundle();
    let signers: Vec<String> = verified
        .signers()
        .iter()
        .map(|(a, o)| format!("{o} ({a})"))
        .collect();
    if json {
        println!(
            "{}",
            serde_json::json!({ "digest": bundle.digest().to_string(), "signers": signers })
        );
    } else {
        println!(
            "{} {} {}: signed by {}",
            bundle.name(),
            bundle.version(),
            bundle.digest(),
            signers.join(", ")
        );
    }
    Ok(true)
}
