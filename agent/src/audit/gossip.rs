//! What others saw of the log: agencies sign the last checkpoint they saw into manifests and acknowledgements. One that
//! is not of the history that this agent was shown is kept, with our own side: a log that shows two histories to two
//! agencies is found as soon as one of them hears from the other, whoever cosigned what.

use prost::Message;
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::contradiction::{Given, NoContradiction, Seen, judge_seen};
use schakel_proto::tlog::shards::Shards;
use schakel_proto::wire;

use super::{Audit, DISPUTED, remember_seen};
use crate::disk;
use crate::problem::{Kind, Problem};
use crate::transport::Client;

/// Disputes kept of one agency's words; more of them say nothing more, and keep no other agency's out.
const DISPUTES_MAX_COUNT: usize = 32;
/// Longest account of a dispute that is read back.
const FOUND_MAX_BYTES: u64 = 64 * 1024;
/// The problem's code.
pub const OTHER_HISTORY: &str = "CHECKPOINT_OTHER_HISTORY";

/// What an agency says that it saw.
pub struct Heard<'a> {
    /// The checkpoint.
    pub seen: Seen,
    /// The log's name, as the agency has it.
    pub origin: &'a str,
    /// Who says so.
    pub by: &'a str,
    /// In what: the bytes and the signature, checked.
    pub signed: &'a wire::Signed,
    /// What that is.
    pub what: &'static str,
}

/// Whose word a dispute is about, as it was written down.
#[derive(serde::Deserialize)]
struct Found {
    by: String,
}

impl Audit {
    /// Compares what an agency saw with our history, of which `own` is a part that cannot be older.
    ///
    /// # Errors
    /// It is not of it: both sides are kept. Or the broker does not answer.
    pub async fn hear(
        &self,
        client: &mut Client,
        shards: &Shards,
        heard: &Heard<'_>,
        own: &SignedCheckpoint,
    ) -> Result<(), Problem> {
        let seen = heard.seen;
        // Of whichever shard: there is one tree.
        let same_log = shards.within(heard.origin, seen.size, &seen.root).is_ok();
        if same_log && self.knows(seen).await {
            return Ok(());
        }
        let mut given = Given::default();
        if seen.size > 0 && seen.size < own.size() && same_log {
            // A broker that refuses the proof shows none.
            given = match self.fetch_between(client, shards, (seen.size, own.size())).await {
                Ok(answer) => answer.given,
                Err(problem) if problem.is_temporary() => return Err(problem),
                Err(_) => Given::default(),
            };
        }
        match judge_seen(seen, own.note(), &given.proof, shards) {
            Err(NoContradiction::Consistent) if same_log => {
                let mut state = self.state.lock().await;
                remember_seen(&mut state, (seen.size, seen.root));
                return Ok(());
            }
            // Our side does not open with this key: nothing is compared with it, and nothing taken as proved.
            Err(error) if same_log => {
                let remedy = "The agent tries again by itself.";
                let sentence = format!("what an agency saw cannot be compared: {error}");
                return Err(Problem::new(Kind::Later, "LOG_COMPARE", sentence, remedy));
            }
            _ => {}
        }
        self.keep_dispute(heard, own, &given)?;
        let sentence = format!(
            "{} signed that it saw another history of the log than we are shown: it or the broker lies",
            heard.by
        );
        tracing::error!(
            by = heard.by,
            size = seen.size,
            "alarm: another history of the log"
        );
        Err(Problem::distrust(OTHER_HISTORY, sentence).at(self.dir.display()))
    }

    async fn knows(&self, seen: Seen) -> bool {
        let state = self.state.lock().await;
        state.proved.iter().any(|one| one.seen == (seen.size, seen.root))
    }

    fn keep_dispute(&self, heard: &Heard<'_>, own: &SignedCheckpoint, given: &Given) -> Result<(), Problem> {
        let name = Digest::of_all(&[&heard.signed.bytes, &heard.signed.signature]);
        let short: String = name.to_string().chars().take(16).collect();
        let dir = self.dir.join(format!("{DISPUTED}{}-{short}", heard.seen.size));
        if dir.is_dir() || self.disputes_with(heard.by)? >= DISPUTES_MAX_COUNT {
            return Ok(());
        }
        self.disk.make_dir(&dir)?;
        self.disk.write(&dir.join("own.note"), own.note())?;
        self.disk
            .write(&dir.join("signed.bin"), &heard.signed.encode_to_vec())?;
        self.keep_directory(&dir)?;
        let path = dir.join("found.json");
        let found = serde_json::json!({
            "what": "an agency signed that it saw another history",
            "by": heard.by,
            "in": heard.what,
            "size": heard.seen.size,
            "root": heard.seen.root,
            "proof": given.proof,
            "from_root": given.from_root,
        });
        self.disk.write(&path, &disk::to_json(&found, &path)?)
    }

    /// How many are kept of what an agency said.
    fn disputes_with(&self, by: &str) -> Result<usize, Problem> {
        let mut count = 0;
        for name in self.disputes()? {
            let found = disk::read(&self.dir.join(name).join("found.json"), FOUND_MAX_BYTES)?;
            let found: Option<Found> = found.and_then(|found| serde_json::from_slice(&found).ok());
            // Half written: it may be anybody's.
            count += usize::from(found.is_none_or(|found| found.by == by));
        }
        Ok(count)
    }

    /// The folders of what is disputed.
    pub fn disputes(&self) -> Result<Vec<String>, Problem> {
        let names = disk::list(&self.dir)?;
        let names = names.iter().map(|path| disk::name_of(path));
        Ok(names.filter(|name| name.starts_with(DISPUTED)).collect())
    }
}
