//! This agent as a witness of the log: at each round it asks which checkpoint is to be cosigned, proves that it is of the
//! history that this agent saw, and signs it. It never signs a smaller one than before, whatever happens in between: what
//! it signs is synced before it leaves. Then it looks which checkpoint enough others have cosigned (`witnessed`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schakel_proto::directory::Directory;
use schakel_proto::party::AgencyId;
use schakel_proto::tlog::checkpoint::{NOTE_MAX_BYTES, SignedCheckpoint};
use schakel_proto::tlog::cosignature::{Cosignature, WitnessKey, WitnessSecret, with_lines};
use schakel_proto::tlog::shards::{Opens, Shards};
use schakel_proto::wire;
use zeroize::Zeroizing;

use crate::agent::{Agent, blocking};
use crate::audit::COSIGNED;
use crate::beats::Monitor;
use crate::config::Config;
use crate::directory::Network;
use crate::disk::{self, Disk};
use crate::problem::{Kind, Problem};
use crate::transport::{Client, bounded};
use crate::witnessed::{self, Newest};

/// Pause between two rounds.
const ROUND_EVERY: Duration = Duration::from_secs(3);
/// Longest file of a witness' key, in bytes.
const KEY_FILE_MAX_BYTES: u64 = 4096;

/// The witness' key, and what it signed last.
pub struct Witness {
    disk: Disk,
    path: PathBuf,
    secret: Option<WitnessSecret>,
    /// Held from looking at what was signed until the next is synced.
    signing: Mutex<()>,
    /// The newest that enough witnesses cosigned.
    pub(crate) newest: Newest,
}

impl Witness {
    /// The witness of these settings, checked against the directory if one is known.
    ///
    /// # Errors
    /// The key does not parse, or is another than the directory lists.
    pub fn of(disk: Disk, dir: PathBuf, config: &Config, network: &Network) -> Result<Self, Problem> {
        let witness = Self::open(disk, dir, config.witness_key.as_deref())?;
        if let Ok(view) = network.view() {
            witness.check(view.directory(), network.agency())?;
        }
        Ok(witness)
    }

    /// Reads the key, if the settings name one; what was cosigned is kept in `dir`.
    ///
    /// # Errors
    /// The key's file does not parse.
    pub fn open(disk: Disk, dir: PathBuf, key: Option<&Path>) -> Result<Self, Problem> {
        disk.make_dir(&dir)?;
        let secret = key.map(read_key).transpose()?;
        Ok(Self {
            disk,
            path: dir.join(COSIGNED),
            secret,
            signing: Mutex::new(()),
            newest: Newest::default(),
        })
    }

    /// Refuses a key other than the one that the directory lists for us as a witness. A key that it does not list at all
    /// is passed over: nobody counts what it signs.
    ///
    /// # Errors
    /// `WITNESS_KEY`.
    pub fn check(&self, directory: &Directory, agency: &AgencyId) -> Result<(), Problem> {
        let listed = directory.log().watch().key(agency);
        let Some((listed, own)) = listed.zip(self.key_for(directory.log().origin())) else {
            return Ok(());
        };
        if *listed == own {
            return Ok(());
        }
        let sentence = "the directory lists another witness key for us than witness_key names";
        let remedy = "Name the file of the listed key, or have the network's authority list this one.";
        Err(Problem::new(Kind::Usage, "WITNESS_KEY", sentence, remedy))
    }

    /// Our key, as it is named in a shard of the log.
    fn key_for(&self, origin: &str) -> Option<WitnessKey> {
        let secret = self.secret.as_ref()?.for_shard(origin).ok()?;
        Some(secret.public().clone())
    }

    /// Whether this agent can cosign what counts.
    fn is_listed(&self, directory: &Directory, agency: &AgencyId) -> bool {
        let listed = directory.log().watch().key(agency);
        listed.is_some() && listed == self.key_for(directory.log().origin()).as_ref()
    }

    /// The checkpoint that was cosigned last.
    ///
    /// # Errors
    /// Its file does not read back: then nothing is cosigned any more.
    pub fn last(&self, shards: &Shards) -> Result<Option<SignedCheckpoint>, Problem> {
        let note = disk::read(&self.path, NOTE_MAX_BYTES as u64)?;
        let open = |note: Vec<u8>| shards.open(&note).map_err(|e| Problem::damaged(&self.path, e));
        note.map(open).transpose()
    }

    /// Cosigns a checkpoint that was proved to be of the history that this agent saw: none, if we have no key or have
    /// cosigned a larger one. Synced before it is given.
    ///
    /// # Errors
    /// We cosigned another root of this size; or this machine's trouble.
    pub fn cosign(
        &self,
        checkpoint: &SignedCheckpoint,
        shards: &Shards,
        seconds: u64,
    ) -> Result<Option<Cosignature>, Refused> {
        let Some(secret) = &self.secret else {
            return Ok(None);
        };
        let _one_at_a_time = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = self.last(shards)? {
            if last.size() > checkpoint.size() {
                return Ok(None);
            }
            if last.size() == checkpoint.size() && last.root() != checkpoint.root() {
                return Err(Refused::OtherRoot(Box::new(last)));
            }
        }
        let secret = secret.for_shard(checkpoint.origin());
        let signed = secret.and_then(|secret| secret.cosign(checkpoint, seconds));
        let cosignature = signed.map_err(|e| {
            let remedy = "Check this machine's clock and the witness key.";
            Problem::new(Kind::Local, "COSIGNING", e.to_string(), remedy)
        })?;
        let note = with_lines(checkpoint.note(), [cosignature.line.as_str()]);
        self.disk.write(&self.path, &note)?;
        Ok(Some(cosignature))
    }
}

/// Why nothing was cosigned.
#[derive(Debug)]
pub enum Refused {
    /// We cosigned this checkpoint, of the same size and with another root.
    OtherRoot(Box<SignedCheckpoint>),
    /// This machine's trouble.
    Problem(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

fn read_key(path: &Path) -> Result<WitnessSecret, Problem> {
    let text = Zeroizing::new(disk::read(path, KEY_FILE_MAX_BYTES)?.unwrap_or_default());
    let text = std::str::from_utf8(&text).unwrap_or_default();
    WitnessSecret::from_text(text).map_err(|e| {
        let remedy = "Name a file of the form PRIVATE+KEY+<name>+<id>+<base64>.";
        Problem::new(Kind::Usage, "WITNESS_KEY", e.to_string(), remedy).at(path.display())
    })
}

/// How the log is watched, for people: whether we are a witness, what we cosigned last, what enough witnesses did.
pub fn status(agent: &Agent) -> serde_json::Value {
    let view = agent.network.view().ok();
    let watch = view.as_ref().map(|view| view.directory().log().watch());
    let cosigned = view
        .as_ref()
        .and_then(|view| agent.witness.last(view.shards()).ok().flatten());
    let me = agent.network.agency();
    serde_json::json!({
        "named": watch.is_some_and(|watch| watch.is_named(me)),
        "cosigns": view.as_ref().is_some_and(|view| agent.witness.is_listed(view.directory(), me)),
        "cosigned_size": cosigned.map(|last| last.size()),
        "witnessed_size": agent.witness.newest.size(),
        "witnesses": watch.map(|watch| watch.count()),
        "needed": watch.map(|watch| watch.needed()),
        "disputed": agent.audit.disputes().unwrap_or_default(),
    })
}

/// Runs until the daemon ends.
pub async fn run(agent: Arc<Agent>) {
    loop {
        agent.beats.rest(Monitor::Audit, ROUND_EVERY).await;
        let (stay, client) = agent.at_broker();
        let rounds = [witnessed::note_overdue(&agent).await, round(&agent, client).await];
        for problem in rounds.into_iter().filter_map(Result::err) {
            agent.brokers().failed(stay, &problem);
            let (code, sentence) = (&problem.code, &problem.sentence);
            if problem.is_temporary() || *code == "NO_DIRECTORY" {
                tracing::debug!(code, "the witness tries again");
            } else {
                tracing::error!(code, sentence, "the witness' round did not end well");
            }
        }
    }
}

/// One round: cosigns what is held up, then takes up what enough witnesses cosigned.
async fn round(agent: &Arc<Agent>, mut client: Client) -> Result<(), Problem> {
    agent.audit.trust()?;
    let view = agent.network.view()?;
    let ask = wire::CosignRequest::default();
    let mut answer = client.cosign(bounded(ask)).await?.into_inner();
    if agent.witness.is_listed(view.directory(), agent.network.agency())
        && let Some(request) = cosigned(agent, &mut client, view.shards(), &answer.candidate).await?
    {
        answer = client.cosign(bounded(request)).await?.into_inner();
    }
    witnessed::take(agent, &mut client, &view, &answer.witnessed).await
}

/// Proves and cosigns the candidate; none: there is nothing to cosign.
async fn cosigned(
    agent: &Arc<Agent>,
    client: &mut Client,
    shards: &Shards,
    candidate: &[u8],
) -> Result<Option<wire::CosignRequest>, Problem> {
    if candidate.is_empty() {
        return Ok(None);
    }
    let checkpoint = agent.audit.opened(shards, candidate)?;
    if checkpoint.size() == 0 || is_signed(agent, &checkpoint)? {
        return Ok(None);
    }
    agent.audit.place(client, shards, &checkpoint).await?;
    let seconds = u64::try_from(agent.clock.now().millis() / 1_000).unwrap_or_default();
    let signing = {
        let (agent, shards, checkpoint) = (Arc::clone(agent), shards.clone(), checkpoint.clone());
        move || match agent.witness.cosign(&checkpoint, &shards, seconds) {
            Ok(cosignature) => Ok(cosignature),
            Err(Refused::Problem(problem)) => Err(problem),
            Err(Refused::OtherRoot(last)) => {
                let what = "we cosigned another root of this size";
                Err(agent.audit.contradict(&last, &checkpoint, what))
            }
        }
    };
    let cosignature = blocking(signing).await?;
    Ok(cosignature.map(|cosignature| wire::CosignRequest {
        size: checkpoint.size(),
        cosignature: format!("{}\n", cosignature.line).into_bytes().into(),
    }))
}

/// Whether the note that we were given has our cosignature already.
fn is_signed(agent: &Agent, checkpoint: &SignedCheckpoint) -> Result<bool, Problem> {
    let view = agent.network.view()?;
    let watch = view.directory().log().watch();
    let key = watch.key_for(agent.network.agency(), checkpoint.origin());
    Ok(key.is_some_and(|key| matches!(key.find(checkpoint), Ok(Some(_)))))
}
