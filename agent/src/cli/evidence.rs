//! `evidence export` asks the daemon; `evidence verify` asks nobody.

use std::path::Path;

use hyper::Method;
use prost::Message;
use schakel_proto::directory::Authority;
use schakel_proto::limits;
use schakel_proto::refusal::Refusal;
use schakel_proto::wire;

use super::args::{Cli, Command, Evidence};
use super::{Asking, Print, from_value, to_value};
use crate::config::Config;
use crate::disk;
use crate::evidence::export::Exported;
use crate::evidence::verify::{self, Anchor};
use crate::problem::{Kind, Problem};
use crate::request::EvidenceRequest;

/// Longest keyring of an authority.
const KEYRING_MAX_BYTES: u64 = 1 << 20;
/// Longest directory with its signatures.
const DIRECTORY_MAX_BYTES: u64 = 2 * limits::DIRECTORY_MAX_BYTES as u64;

impl Asking {
    pub(super) async fn evidence(&self, command: Evidence, print: Print<'_>) -> Result<(), Problem> {
        let Evidence::Export {
            packet,
            out,
            without_content,
            offline,
            with_bound,
        } = command
        else {
            return Ok(());
        };
        let out = out.unwrap_or_else(|| format!("{packet}.tar").into());
        let out = std::path::absolute(&out).map_err(|e| Problem::io(&e, &out))?;
        let request = to_value(&EvidenceRequest {
            packet,
            out,
            without_content,
            offline,
            with_bound,
        })?;
        let answer = self.call(Method::POST, "/v1/evidence", Some(&request)).await?;
        let done: Exported = from_value(&answer)?;
        let line = |_: &serde_json::Value| {
            let Exported {
                members,
                bytes,
                entries,
                unproved,
                bound,
                out,
                ..
            } = &done;
            let mut line = format!(
                "written to {}: {members} files, {bytes} bytes, {entries} log entries",
                out.display()
            );
            if *unproved > 0 {
                line.push_str(&format!(
                    "; {unproved} checkpoints without proof that they are of one history (the broker was not asked)"
                ));
            }
            for part in bound {
                line.push_str(&format!(
                    "; the content of {part} stays here: it is not to be sent on, or not to be shown (--with-bound {part})"
                ));
            }
            line
        };
        self.show(&answer, line, print)
    }
}

/// A directory as the broker's file or the agent's data folder has it. Whether the authority signed it is a check.
fn read_directory(file: &Path) -> Result<wire::MultiSigned, Problem> {
    let remedy = "Name a directory file of the network: directory.bin.";
    let wrong = |what: &str| Problem::new(Kind::Usage, "DIRECTORY", what, remedy).at(file.display());
    let bytes = disk::read(file, DIRECTORY_MAX_BYTES)?.ok_or_else(|| wrong("there is no such file"))?;
    wire::MultiSigned::decode(&*bytes).map_err(|_| wrong("it is no directory"))
}

/// Checks a file; what failed is told in the language asked for.
///
/// # Errors
/// `EVIDENCE_FAILED`: a check failed. A problem of `Kind::Usage`: it cannot be read.
pub(super) fn verify(cli: &Cli, print: Print<'_>) -> Result<(), Problem> {
    let Command::Evidence {
        command:
            Evidence::Verify {
                file,
                authority,
                authority_threshold,
                directory,
            },
    } = &cli.command
    else {
        return Ok(());
    };
    let config = cli.config.as_deref().map(Config::load).transpose()?;
    let configured = config
        .as_ref()
        .map(|config| (&config.authority, config.authority_threshold));
    let given = authority
        .as_ref()
        .map(|file| (file, *authority_threshold))
        .or(configured);
    let read = |(file, threshold): (&std::path::PathBuf, usize)| {
        let none = || {
            let remedy = "Name the keyring with the certificates of the network's authority.";
            Problem::new(Kind::Usage, "AUTHORITY", "there is no such file", remedy).at(file.display())
        };
        let keyring = disk::read(file, KEYRING_MAX_BYTES)?.ok_or_else(none)?;
        let usage = |e| Problem {
            kind: Kind::Usage,
            ..Problem::from(Refusal::from(e)).at(file.display())
        };
        Authority::from_keyring(&keyring, threshold).map_err(usage)
    };
    let kept = config
        .as_ref()
        .map(|config| config.data_dir.join("network").join("directory.bin"))
        .filter(|file| file.is_file());
    let anchor = Anchor {
        authority: given.map(read).transpose()?,
        network: config.as_ref().map(|config| config.network.clone()),
        directory: directory
            .as_ref()
            .or(kept.as_ref())
            .map(|file| read_directory(file))
            .transpose()?,
    };
    let report = verify::verify(file, &anchor)?;
    if cli.json {
        print(&report.to_json(&cli.lang).to_string());
    } else {
        print(&report.to_text(&cli.lang));
    }
    if report.is_good() {
        return Ok(());
    }
    let failed = report.failed().count();
    let sentence = format!("{failed} checks failed");
    let remedy = "Each failed check says what does not hold; nothing that rests on it is proved.";
    Err(Problem::new(Kind::Refused, "EVIDENCE_FAILED", sentence, remedy).at(file.display()))
}
