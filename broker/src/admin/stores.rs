//! The care of the store, for the operator: a check of what lies on the disk, a backup, where the log ends.

use std::path::Path;

use schakel_proto::ids::Digest;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::tlog::tree::Frontier;
use serde_json::{Value, json};

use super::{Desk, Told};
use crate::store::{BackupOrder, FileState, Halt, StoreError};

/// Rows, or leaves, looked at at once: while they are, nothing is committed.
const PAGE: usize = 256;
/// Rows or leaves between two words on how far it is.
const TOLD_EVERY: u64 = 16_384;
/// Findings that are named; more are only counted.
const NAMED_MAX_COUNT: usize = 1_000;

/// What a check came to.
#[derive(Default)]
struct Checked {
    rows: u64,
    leaves: u64,
    files: u64,
    wrong: u64,
    findings: Vec<Value>,
}

impl Checked {
    fn wrong(&mut self, place: &str, what: impl Into<String>) {
        self.wrong += 1;
        if self.findings.len() < NAMED_MAX_COUNT {
            self.findings.push(json!({ "place": place, "what": what.into() }));
        }
    }
}

/// Checks each record, the tree, and each part file.
pub(super) async fn check(desk: &Desk, told: &Told) -> Result<Value, Refusal> {
    let mut checked = Checked::default();
    rows(desk, &mut checked, told).await?;
    tree(desk, &mut checked, told).await?;
    let halted = match desk.store.halted().await {
        Ok(halted) => halted.map(|halt| halt.refusal().to_string()),
        Err(StoreError::Corrupt(what)) => {
            checked.wrong("the mark of a store that must not sign", what.to_string());
            None
        }
        Err(error) => return Err(error.into()),
    };
    Ok(json!({
        "rows": checked.rows, "leaves": checked.leaves, "files": checked.files, "wrong": checked.wrong,
        "findings": checked.findings, "halted": halted,
    }))
}

/// The records, and the part files that they name.
async fn rows(desk: &Desk, checked: &mut Checked, told: &Told) -> Result<(), Refusal> {
    let (mut after, mut last) = (None, None);
    loop {
        let page = desk.store.check_rows(after, PAGE).await?;
        let before = checked.rows;
        checked.rows += page.rows;
        if before / TOLD_EVERY != checked.rows / TOLD_EVERY {
            told.say(json!({ "what": "rows", "done": checked.rows, "of": 0 }));
        }
        for what in page.damaged {
            checked.wrong("a row", format!("{what} does not match its checksum"));
        }
        for file in page.files {
            if last.replace(file) != Some(file) {
                one_file(desk, checked, file).await?;
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn one_file(desk: &Desk, checked: &mut Checked, file: Digest) -> Result<(), Refusal> {
    let place = format!("part file {file}");
    match desk.store.check_file(file).await? {
        FileState::Whole => checked.files += 1,
        FileState::Missing => checked.wrong(&place, "is not there"),
        FileState::Damaged => checked.wrong(&place, "has other bytes than its name says"),
        FileState::Unneeded => {}
    }
    Ok(())
}

/// The tree as it was when this began.
async fn tree(desk: &Desk, checked: &mut Checked, told: &Told) -> Result<(), Refusal> {
    let newest = match desk.store.latest_checkpoint().await {
        Ok(newest) => newest,
        Err(StoreError::Corrupt(what)) => {
            checked.wrong("the newest checkpoint", what.to_string());
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let Some(newest) = newest else { return Ok(()) };
    let mut frontier = Frontier::default();
    while frontier.size() < newest.size {
        let before = frontier.size();
        let walked = desk.store.check_tree(frontier, newest.size, PAGE).await?;
        frontier = walked.frontier;
        for what in walked.wrong {
            checked.wrong("the log", what);
        }
        if before / TOLD_EVERY != frontier.size() / TOLD_EVERY {
            told.say(json!({ "what": "leaves", "done": frontier.size(), "of": newest.size }));
        }
    }
    checked.leaves = frontier.size();
    if frontier.root() != newest.root {
        let what = "the tree of the stored entries has another root than the newest checkpoint";
        checked.wrong("the log", what);
    }
    Ok(())
}

/// Writes a backup to a file on the machine of the broker.
pub(super) async fn backup(desk: &Desk, file: &str, told: &Told) -> Result<Value, Refusal> {
    let file = Path::new(file);
    if !file.is_absolute() || desk.folders.iter().any(|own| lies_in(file, own)) {
        let sentence = "A backup is written to a file with its whole path, outside data_dir and erasure_dir";
        let remedy = "Name a file on another disk.";
        return Err(Refusal::new(Fault::Invalid, "BACKUP_PLACE", sentence, remedy));
    }
    let order = BackupOrder {
        file: file.to_owned(),
        network: desk.network.clone(),
        at: desk.clock.now(),
    };
    let told = told.clone();
    let say = move |done: u64| told.say(json!({ "what": "bytes", "done": done, "of": 0 }));
    let made = desk.store.backup(&order, &say).await?;
    let trailer = made.trailer;
    Ok(json!({
        "file": file.display().to_string(), "bytes": made.bytes, "digest": made.digest.to_string(),
        "size": trailer.size, "root": trailer.root, "rows": trailer.rows, "batches": trailer.batches,
        "files": trailer.files, "damaged_files": trailer.damaged_files,
    }))
}

/// Whether a file that is to be made lies in a folder, whatever links lead there.
fn lies_in(file: &Path, folder: &Path) -> bool {
    let parent = file.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, folder.canonicalize()) {
        (Some(parent), Ok(folder)) => parent.starts_with(folder),
        _ => file.starts_with(folder),
    }
}

/// The operator confirms that the log goes on in this store.
pub(super) async fn confirm(desk: &Desk, (size, root): (u64, &str)) -> Result<Value, Refusal> {
    let Some(halted) = desk.store.halted().await? else {
        let sentence = "There is nothing to confirm: this store may sign";
        return Err(Refusal::new(
            Fault::Precondition,
            "STORE_NOT_HALTED",
            sentence,
            "",
        ));
    };
    if (size, root) != (halted.size, halted.root.to_string().as_str()) || !desk.store.confirm(halted).await? {
        let Halt { size, root, .. } = halted;
        let sentence = format!("The log in this store ends after {size} entries with the root {root}");
        let remedy = "Look again at which store this is, and what agents saw (docs/operating/store.md).";
        return Err(Refusal::new(
            Fault::Precondition,
            "STORE_OTHER_END",
            sentence,
            remedy,
        ));
    }
    Ok(json!({ "size": size, "root": root }))
}
