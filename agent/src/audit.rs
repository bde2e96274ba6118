//! The agent's memory of the log: the last checkpoint it saw, proved consistent at each contact.
//! If two checkpoints contradict each other, both are kept and no delivery is accepted any more.

pub mod gossip;

pub mod shards;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{CheckpointError, NOTE_MAX_BYTES, SignedCheckpoint};
use schakel_proto::tlog::contradiction::Given;
use schakel_proto::tlog::proof::check_consistency;
use schakel_proto::tlog::shards::{Opens, Shards};
use schakel_proto::tlog::witnessed::same_history;
use schakel_proto::wire;
use tokio::sync::Mutex;

use self::shards::SHORTER;
use crate::disk::{self, Disk};
use crate::problem::{Kind, Problem};
use crate::transport::Client;

/// Checkpoints remembered as proved, so that they are not proved again.
const PROVED_MAX_COUNT: usize = 256;
/// What the folders begin with in which an agency's word against the log is kept.
const DISPUTED: &str = "disputed-";
/// What the folders begin with in which both sides of a contradiction are kept.
const CONTRADICTION: &str = "contradiction-";
/// The last checkpoint that this agent saw.
const LAST: &str = "last.note";
/// What this agent cosigned last, as a witness.
pub(crate) const COSIGNED: &str = "cosigned.note";
/// Longest note that is remembered beside its root; one with the signatures of many witnesses is longer.
const REMEMBERED_MAX_BYTES: usize = 16 * 1024;
/// Attempts to get two proofs that end in the same checkpoint while the log grows.
const ATTEMPTS_MAX_COUNT: usize = 16;

/// Longest directory with its signatures that is put beside a contradiction.
const DIRECTORY_FILE_MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Keeps watch over the log.
pub struct Audit {
    disk: Disk,
    dir: PathBuf,
    distrusted: AtomicBool,
    state: Mutex<State>,
    /// The last checkpoint seen, as it goes into what we sign.
    seen: std::sync::Mutex<Option<wire::CheckpointSeen>>,
}

#[derive(Default)]
struct State {
    last: Option<SignedCheckpoint>,
    proved: VecDeque<Proved>,
}

/// What was proved to be of our history: size and root, with the checkpoint where the log signed it to us.
struct Proved {
    seen: (u64, Digest),
    signed: Option<SignedCheckpoint>,
}

/// A newer checkpoint with the proof that led to it.
pub(crate) struct Answer {
    pub(crate) checkpoint: SignedCheckpoint,
    pub(crate) given: Given,
}

impl Audit {
    /// Reads what is on disk.
    pub fn open(disk: Disk, dir: PathBuf) -> Result<Self, Problem> {
        disk.make_dir(&dir)?;
        disk.sweep(&dir)?;
        let contradicted = disk::list(&dir)?
            .iter()
            .any(|p| disk::name_of(p).starts_with(CONTRADICTION));
        Ok(Self {
            disk,
            dir,
            distrusted: AtomicBool::new(contradicted),
            state: Mutex::default(),
            seen: std::sync::Mutex::default(),
        })
    }

    /// Refuses as soon as the log has contradicted itself once; an operator must look at it.
    pub fn trust(&self) -> Result<(), Problem> {
        if !self.distrusted.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut problem = Problem::distrust(
            "LOG_CONTRADICTION",
            "the log has contradicted itself: no delivery is accepted from this broker",
        );
        problem.remedy = "Both sides are in this folder. Show them to the network's authority; \
            move this one folder away, and nothing else of what lies beside it, only when it says so."
            .to_owned();
        // Beside it lies what we saw and cosigned: a witness that forgets that can be made to sign a fork.
        let kept = disk::list(&self.dir)?;
        let kept = kept
            .iter()
            .find(|path| disk::name_of(path).starts_with(CONTRADICTION));
        Err(problem.at(kept.unwrap_or(&self.dir).display()))
    }

    /// Size and root of the last checkpoint seen, for what we sign. Waits for nobody.
    pub fn last_seen(&self, shards: &Shards) -> Result<Option<wire::CheckpointSeen>, Problem> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none() {
            *seen = self.read(shards)?.as_ref().map(to_wire);
        }
        Ok(seen.clone())
    }

    /// Fetches the newest checkpoint and proves that it extends the last one seen.
    pub async fn contact(&self, client: &mut Client, shards: &Shards) -> Result<(), Problem> {
        let mut state = self.state.lock().await;
        self.load(&mut state, shards)?;
        self.advance(&mut state, client, shards).await.map(|_| ())
    }

    /// Proves that a checkpoint belongs to the one history that this agent has seen.
    pub async fn place(
        &self,
        client: &mut Client,
        shards: &Shards,
        checkpoint: &SignedCheckpoint,
    ) -> Result<(), Problem> {
        self.trust()?;
        let mut state = self.state.lock().await;
        self.load(&mut state, shards)?;
        if self.is_proved(&state, checkpoint)? {
            return Ok(());
        }
        if state.last.is_none() {
            return self.adopt(&mut state, checkpoint.clone());
        }
        for _ in 0..ATTEMPTS_MAX_COUNT {
            let mut second = client.clone();
            let (newest, from_it) = tokio::join!(
                self.advance(&mut state, client, shards),
                self.fetch(&mut second, shards, checkpoint.size()),
            );
            let (newest, from_it) = (newest?, from_it?);
            if newest.size() < checkpoint.size() || from_it.checkpoint.size() != newest.size() {
                continue;
            }
            self.check(checkpoint, &from_it)?;
            self.check_same(&newest, &from_it.checkpoint)?;
            remember(&mut state, checkpoint);
            return Ok(());
        }
        let sentence = "the broker shows no checkpoint that both proofs end in";
        Err(Problem::new(
            Kind::Later,
            "LOG_MOVING",
            sentence,
            "The agent tries again by itself.",
        ))
    }

    fn read(&self, shards: &Shards) -> Result<Option<SignedCheckpoint>, Problem> {
        self.note(LAST, shards)
    }

    fn note(&self, name: &str, shards: &Shards) -> Result<Option<SignedCheckpoint>, Problem> {
        let path = self.dir.join(name);
        let Some(note) = disk::read(&path, NOTE_MAX_BYTES as u64)? else {
            return Ok(None);
        };
        match shards.open(&note) {
            Ok(known) => Ok(Some(known)),
            Err(error) => Err(self
                .set_aside(shards)?
                .unwrap_or_else(|| Problem::damaged(&path, error))),
        }
    }

    fn load(&self, state: &mut State, shards: &Shards) -> Result<(), Problem> {
        if let Some(last) = &state.last {
            let (size, root) = (last.size(), last.root());
            if shards.within(last.origin(), size, &root) != Err(CheckpointError::Frozen) {
                return Ok(());
            }
            // Its shard ended before: the files say the same, and are set aside.
            (state.last, state.proved) = (None, VecDeque::new());
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        // What we cosigned we saw: the history goes on from the larger of the two, whichever file was lost.
        let (last, cosigned) = (self.read(shards)?, self.note(COSIGNED, shards)?);
        if let (Some(last), Some(cosigned)) = (&last, &cosigned)
            && last.size() == cosigned.size()
        {
            self.check_same(last, cosigned)?;
        }
        for known in [last, cosigned].into_iter().flatten() {
            remember(state, &known);
            if state.last.as_ref().is_none_or(|last| last.size() < known.size()) {
                state.last = Some(known);
            }
        }
        Ok(())
    }

    fn is_proved(&self, state: &State, checkpoint: &SignedCheckpoint) -> Result<bool, Problem> {
        let mut same_size = state.proved.iter().filter(|one| one.seen.0 == checkpoint.size());
        let Some(known) = same_size
            .clone()
            .find(|one| one.signed.is_some())
            .or(same_size.next())
        else {
            return Ok(false);
        };
        if known.seen.1 == checkpoint.root() {
            return Ok(true);
        }
        // Where the log signed both roots of this size to us, these two are the proof.
        let known = known.signed.as_ref().or(state.last.as_ref());
        let what = "two roots of one size";
        let given = Given::default();
        Err(self.contradiction(known.unwrap_or(checkpoint), checkpoint, &given, what))
    }

    /// From the last checkpoint seen to the newest; gives the newest.
    async fn advance(
        &self,
        state: &mut State,
        client: &mut Client,
        shards: &Shards,
    ) -> Result<SignedCheckpoint, Problem> {
        let from = state.last.as_ref().map_or(0, SignedCheckpoint::size);
        let answer = match self.fetch(client, shards, from).await {
            // The broker says for seconds that its log is shorter than what we saw: fetch its side, to keep both.
            Err(problem) if problem.code == SHORTER => {
                let short = self.fetch(client, shards, 0).await?;
                if short.checkpoint.size() < from {
                    short
                } else {
                    // It has caught up just now.
                    self.fetch(client, shards, from).await?
                }
            }
            answer => answer?,
        };
        if let Some(last) = state.last.clone() {
            if answer.checkpoint.size() < last.size() {
                let what = "the newest checkpoint is smaller than one seen before";
                return Err(self.contradiction(&last, &answer.checkpoint, &answer.given, what));
            }
            self.check(&last, &answer)?;
        }
        let is_newer = state
            .last
            .as_ref()
            .is_none_or(|last| last.size() < answer.checkpoint.size());
        if is_newer {
            self.adopt(state, answer.checkpoint.clone())?;
        }
        Ok(answer.checkpoint)
    }

    fn adopt(&self, state: &mut State, checkpoint: SignedCheckpoint) -> Result<(), Problem> {
        self.disk.write(&self.dir.join(LAST), checkpoint.note())?;
        remember(state, &checkpoint);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(to_wire(&checkpoint));
        state.last = Some(checkpoint);
        Ok(())
    }

    fn check(&self, older: &SignedCheckpoint, answer: &Answer) -> Result<(), Problem> {
        let newer = &answer.checkpoint;
        if older.size() == newer.size() {
            return self.check_same(older, newer);
        }
        let proof = &answer.given.proof;
        match check_consistency(older.size(), newer.size(), proof, &older.root(), &newer.root()) {
            Ok(_) => Ok(()),
            Err(e) => Err(self.contradiction(older, newer, &answer.given, &e.to_string())),
        }
    }

    fn check_same(&self, one: &SignedCheckpoint, other: &SignedCheckpoint) -> Result<(), Problem> {
        if one.root() == other.root() {
            return Ok(());
        }
        Err(self.contradiction(one, other, &Given::default(), "two roots of one size"))
    }

    /// Keeps two checkpoints that cannot both be: what we cosigned, and what is to be cosigned now.
    pub(crate) fn contradict(&self, one: &SignedCheckpoint, other: &SignedCheckpoint, what: &str) -> Problem {
        self.contradiction(one, other, &Given::default(), what)
    }

    /// Proves that two checkpoints are of one history, and gives the proof.
    pub(crate) async fn between(
        &self,
        client: &mut Client,
        shards: &Shards,
        (one, other): (&SignedCheckpoint, &SignedCheckpoint),
    ) -> Result<Vec<Digest>, Problem> {
        let (older, newer) = if one.size() <= other.size() {
            (one, other)
        } else {
            (other, one)
        };
        let mut given = Given::default();
        if older.size() < newer.size() {
            let sizes = (older.size(), newer.size());
            given = self.fetch_between(client, shards, sizes).await?.given;
        }
        match same_history(older, newer, &given.proof) {
            Ok(()) => Ok(given.proof),
            Err(e) => Err(self.contradiction(older, newer, &given, &e.to_string())),
        }
    }

    /// Keeps both sides, and refuses everything from here on.
    fn contradiction(
        &self,
        one: &SignedCheckpoint,
        other: &SignedCheckpoint,
        given: &Given,
        what: &str,
    ) -> Problem {
        self.distrusted.store(true, Ordering::SeqCst);
        tracing::error!(
            what,
            first = one.size(),
            second = other.size(),
            "the log contradicts itself"
        );
        match self.keep(one, other, given, what) {
            Ok(()) => self
                .trust()
                .err()
                .unwrap_or_else(|| Problem::distrust("LOG_CONTRADICTION", what)),
            Err(problem) => problem,
        }
    }

    fn keep(
        &self,
        one: &SignedCheckpoint,
        other: &SignedCheckpoint,
        given: &Given,
        what: &str,
    ) -> Result<(), Problem> {
        let dir = self
            .dir
            .join(format!("{CONTRADICTION}{}-{}", one.size(), other.size()));
        self.disk.make_dir(&dir)?;
        self.disk.write(&dir.join("first.note"), one.note())?;
        self.disk.write(&dir.join("second.note"), other.note())?;
        self.keep_directory(&dir)?;
        let path = dir.join("found.json");
        let found = serde_json::json!({ "what": what, "proof": given.proof, "from_root": given.from_root });
        self.disk.write(&path, &disk::to_json(&found, &path)?)
    }

    /// Whoever is shown the folder finds in it whose keys signed both sides.
    fn keep_directory(&self, dir: &Path) -> Result<(), Problem> {
        let directory = self.dir.with_file_name("network").join("directory.bin");
        match disk::read(&directory, DIRECTORY_FILE_MAX_BYTES)? {
            Some(directory) => self.disk.write(&dir.join("directory.bin"), &directory),
            None => Ok(()),
        }
    }
}

fn to_wire(checkpoint: &SignedCheckpoint) -> wire::CheckpointSeen {
    wire::CheckpointSeen {
        origin: checkpoint.origin().to_owned(),
        size: checkpoint.size(),
        root: checkpoint.root().to_vec().into(),
    }
}

fn remember(state: &mut State, checkpoint: &SignedCheckpoint) {
    let seen = (checkpoint.size(), checkpoint.root());
    let short = checkpoint.note().len() <= REMEMBERED_MAX_BYTES;
    push(state, seen, short.then(|| checkpoint.clone()));
}

/// What an agency says that it saw, proved to be of our history.
fn remember_seen(state: &mut State, seen: (u64, Digest)) {
    push(state, seen, None);
}

fn push(state: &mut State, seen: (u64, Digest), signed: Option<SignedCheckpoint>) {
    if state.proved.len() >= PROVED_MAX_COUNT {
        state.proved.pop_front();
    }
    state.proved.push_back(Proved { seen, signed });
}
