//! What this agent knows of the network: the directory that the pinned authority signed and the policy
//! bundles that two officers signed. Kept on disk; never replaced by something older than the newest seen.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prost::Message;
use schakel_policy::bundle::{BundleSignature, OfficerEntry, SignedBundle};
use schakel_policy::engine::Engine;
use schakel_proto::directory::{Authority, Directory, DirectoryError};
use schakel_proto::ids::Digest;
use schakel_proto::limits;
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::party::{AgencyId, NetworkName, OfficerId};
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::shards::Shards;
use schakel_proto::wire;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::config::Config;
use crate::disk::{self, Disk};
use crate::former::Former;
use crate::problem::{Kind, Problem};
use crate::skew::Skew;
use crate::transport::{Client, bounded, tls::Pins};

/// Bundles remembered: a hand-over decided on one of them is understood.
const BUNDLES_REMEMBERED_MAX_COUNT: usize = 16;
/// How long a decision under a superseded bundle is still understood, in milliseconds.
const BUNDLE_GRACE_MILLIS: i64 = 60_000;
/// Refused directories kept.
const REFUSED_MAX_COUNT: usize = 16;
/// Keys are judged again this long after they were last judged, in milliseconds.
const JUDGE_AGAIN_MILLIS: i64 = 10 * 60_000;

/// One state of the network, as decisions of this agent rest on it.
pub struct View {
    directory: Directory,
    judged: Timestamp,
}

impl View {
    /// The verified directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The shards of the log: what checkpoints are judged by.
    pub fn shards(&self) -> &Shards {
        self.directory.log().shards()
    }
}

/// A policy bundle that this agent has verified.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KnownBundle {
    version: u64,
    digest: Digest,
    first_seen_ms: i64,
}

/// What must survive a restart beside the directory and the bundle themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Newest {
    directory_version: u64,
    bundles: Vec<KnownBundle>,
}

impl Newest {
    fn bundle(&self) -> Option<&KnownBundle> {
        self.bundles.iter().max_by_key(|b| b.version)
    }
}

/// The agent's knowledge of the network.
pub struct Network {
    disk: Disk,
    dir: PathBuf,
    authority: Authority,
    name: NetworkName,
    agency: AgencyId,
    own_key: Fingerprint,
    /// The names of the brokers in our settings.
    broker_names: BTreeSet<String>,
    development: bool,
    pins: Arc<Pins>,
    clock: Arc<dyn Clock>,
    skew: Skew,
    /// Held from looking at what is newest until it is written: two answers at once must not let the
    /// older one win.
    adopting: Mutex<()>,
    former: Former,
    view: RwLock<Option<Arc<View>>>,
    newest: RwLock<Newest>,
    engine: RwLock<Option<Arc<Engine>>>,
}

/// The TLS keys that a directory lists for a broker's name.
fn keys_of(directory: &Directory, name: &str) -> Vec<Digest> {
    let brokers = directory.brokers().iter().filter(|b| b.name() == name);
    brokers.flat_map(|b| b.tls_identities().iter().copied()).collect()
}

fn directory_problem(error: DirectoryError) -> Problem {
    Problem::from(Refusal::from(error))
}

impl Network {
    /// Reads what is on disk. Without a directory there nothing is sealed or accepted before the first
    /// `refresh`.
    pub fn open(
        config: &Config,
        own_key: Fingerprint,
        pins: Arc<Pins>,
        clock: Arc<dyn Clock>,
        disk: Disk,
        development: bool,
    ) -> Result<Self, Problem> {
        let keyring = disk::read(&config.authority, 1 << 20)?.unwrap_or_default();
        let authority = Authority::from_keyring(&keyring, config.authority_threshold)
            .map_err(|e| directory_problem(e).at(config.authority.display()))?;
        let dir = config.data_dir.join("network");
        disk.make_dir(&dir)?;
        disk.sweep(&dir)?;
        let newest = disk::read_json(&dir.join("newest.json"))?.unwrap_or_default();
        let network = Self {
            disk,
            former: Former::open(dir.clone())?,
            dir,
            authority,
            name: config.network.clone(),
            agency: config.agency.clone(),
            own_key,
            broker_names: config.brokers.iter().map(|broker| broker.name.clone()).collect(),
            development,
            pins,
            clock,
            skew: Skew::default(),
            adopting: Mutex::new(()),
            view: RwLock::new(None),
            newest: RwLock::new(newest),
            engine: RwLock::new(None),
        };
        network.load()?;
        Ok(network)
    }

    fn load(&self) -> Result<(), Problem> {
        let max = 2 * limits::DIRECTORY_MAX_BYTES as u64;
        let path = self.dir.join("directory.bin");
        if let Some(bytes) = disk::read(&path, max)? {
            let signed = wire::MultiSigned::decode(&*bytes).map_err(|e| Problem::damaged(&path, e))?;
            match self.adopt(&signed) {
                // Our key was replaced while we were away: the broker is asked for the directory that lists it.
                Err(problem) if matches!(&*problem.code, "KEY_NOT_LISTED" | "NOT_A_MEMBER") => {
                    tracing::warn!(code = problem.code, "the last known directory does not list us");
                }
                adopted => adopted?,
            }
        }
        let path = self.dir.join("bundle.bin");
        if let (Some(bytes), Ok(view)) = (disk::read(&path, max)?, self.view()) {
            let signed = SignedBundle::from_bytes(&bytes).map_err(|e| Problem::damaged(&path, e))?;
            // Officers may have left since: then the broker must show a bundle that holds today.
            if let Ok(engine) = self.verify_bundle(&signed, &view)
                && self.not_superseded(&engine).is_ok()
            {
                *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(engine));
            }
        }
        Ok(())
    }

    /// How far the broker's clock is from ours.
    pub fn skew(&self) -> &Skew {
        &self.skew
    }

    /// The network's name.
    pub fn name(&self) -> &NetworkName {
        &self.name
    }

    /// Our own agency.
    pub fn agency(&self) -> &AgencyId {
        &self.agency
    }

    /// The newest directory.
    pub fn view(&self) -> Result<Arc<View>, Problem> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner).clone();
        view.ok_or_else(|| {
            let remedy = "Wait until the agent has reached the broker once; see `schakel-agent status`.";
            Problem::new(
                Kind::Later,
                "NO_DIRECTORY",
                "the network's directory is not known yet",
                remedy,
            )
        })
    }

    /// The policy engine of the newest bundle, if one is known.
    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a decision made at `at` may rest on this bundle: it is one that two officers of two
    /// agencies signed, and it was the newest then.
    pub fn bundle_holds(&self, digest: &Digest, version: u64, at: Timestamp) -> bool {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        let known = newest
            .bundles
            .iter()
            .any(|b| b.digest == *digest && b.version == version);
        let superseded = newest
            .bundles
            .iter()
            .filter(|b| b.version > version)
            .map(|b| b.first_seen_ms)
            .min();
        known && superseded.is_none_or(|since| at.millis() <= since.saturating_add(BUNDLE_GRACE_MILLIS))
    }

    /// Verifies a directory and makes it the newest: durable first, then in force. One that is older
    /// than any seen is refused, whatever is on disk.
    pub fn adopt(&self, signed: &wire::MultiSigned) -> Result<(), Problem> {
        let _one_at_a_time = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let next = Directory::verify(signed, &self.authority, &self.name, now).map_err(directory_problem)?;
        let ceiling = self
            .newest
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .directory_version;
        let next = next.not_below(ceiling).map_err(directory_problem)?;
        let next = match self.view() {
            Ok(view) => Directory::accept_newer(view.directory(), next).map_err(directory_problem)?,
            Err(_) => next,
        };
        self.check_mark(&next)?;
        self.check_self(&next)?;
        if ceiling < next.version() {
            let encoded = signed.encode_to_vec();
            self.disk.write(&self.former.path(next.version()), &encoded)?;
            self.former.note(&next);
            self.disk.write(&self.dir.join("directory.bin"), &encoded)?;
            self.remember(|newest| newest.directory_version = next.version())?;
        }
        let keys = |name: &String| keys_of(&next, name);
        self.pins.set(
            self.broker_names
                .iter()
                .map(|name| (name.clone(), keys(name)))
                .collect(),
        );
        let view = View {
            directory: next,
            judged: now,
        };
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
        Ok(())
    }

    /// The directory of a former version, its keys judged as of `at`: what was verified with it then can
    /// be verified again.
    pub fn directory_at(&self, version: u64, at: Timestamp) -> Result<Directory, Problem> {
        let path = self.former.path(version);
        let bytes = disk::read(&path, 2 * limits::DIRECTORY_MAX_BYTES as u64)?
            .ok_or_else(|| Problem::damaged(&path, "this former directory is missing"))?;
        Directory::verify_encoded(&bytes, &self.authority, &self.name, at).map_err(directory_problem)
    }

    /// Versions of the directories that may have been in force at `at`, newest first.
    pub fn versions_of(&self, at: Timestamp) -> Vec<u64> {
        self.former.in_force_at(at)
    }

    /// A former directory as the authority signed it; none if it is not kept.
    pub fn signed_directory(&self, version: u64) -> Result<Option<wire::MultiSigned>, Problem> {
        let path = self.former.path(version);
        let bytes = disk::read(&path, 2 * limits::DIRECTORY_MAX_BYTES as u64)?;
        let decode =
            |bytes: Vec<u8>| wire::MultiSigned::decode(&*bytes).map_err(|e| Problem::damaged(&path, e));
        bytes.map(decode).transpose()
    }

    /// The directories that may have been in force at `at`, as far as this agent has seen them, newest first.
    pub fn directories_of(&self, at: Timestamp) -> Vec<Directory> {
        let versions = self.former.in_force_at(at).into_iter();
        let read = |version| {
            let read = self.directory_at(version, at);
            let note = |problem: &Problem| tracing::warn!(version, code = problem.code, "a former directory");
            read.inspect_err(note).ok()
        };
        versions.filter_map(read).collect()
    }

    fn check_mark(&self, directory: &Directory) -> Result<(), Problem> {
        if directory.development() == self.development {
            return Ok(());
        }
        let (sentence, remedy) = if self.development {
            (
                "the directory is of a real network, but the agent was started for development",
                "Leave out --development.",
            )
        } else {
            (
                "the directory was minted for development",
                "Start with --development, never with real cases.",
            )
        };
        Err(Problem::new(Kind::Usage, "DEVELOPMENT_MARK", sentence, remedy))
    }

    fn check_self(&self, directory: &Directory) -> Result<(), Problem> {
        let remedy = "Ask the network's authority to list this agency and its OpenPGP certificate.";
        let Some(own) = directory.agency(&self.agency) else {
            let sentence = format!("{} is not in the directory", self.agency);
            return Err(Problem::new(Kind::Usage, "NOT_A_MEMBER", sentence, remedy));
        };
        if own.certificates().any(|c| c.fingerprint() == self.own_key) {
            return Ok(());
        }
        let sentence = format!("the directory does not list our OpenPGP key for {}", self.agency);
        Err(Problem::new(Kind::Usage, "KEY_NOT_LISTED", sentence, remedy))
    }

    fn remember(&self, change: impl FnOnce(&mut Newest)) -> Result<(), Problem> {
        let mut guard = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = guard.clone();
        change(&mut next);
        let path = self.dir.join("newest.json");
        self.disk.write(&path, &disk::to_json(&next, &path)?)?;
        *guard = next;
        Ok(())
    }

    fn verify_bundle(&self, signed: &SignedBundle, view: &View) -> Result<Engine, Problem> {
        let refused = |e: schakel_policy::bundle::BundleError| {
            Problem::distrust(e.code, format!("the policy bundle is refused: {}", e.sentence)).at(e.place)
        };
        let officers = OfficerEntry::all(view.directory());
        let verified = signed
            .verify(&self.name, &officers, self.clock.now())
            .map_err(refused)?;
        Engine::new(verified.bundle()).map_err(refused)
    }

    /// Refuses rules that are older than the newest seen, or others of the same version.
    fn not_superseded(&self, engine: &Engine) -> Result<(), Problem> {
        let (version, digest) = (engine.bundle().version(), engine.bundle().digest());
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        let Some(newest) = newest.bundle() else {
            return Ok(());
        };
        if version < newest.version {
            let newest = newest.version;
            let sentence = format!("bundle {version} is older than bundle {newest}, already seen");
            return Err(Problem::distrust("BUNDLE_OLDER", sentence));
        }
        if version == newest.version && digest != newest.digest {
            let sentence = format!("there are two different bundles of version {version}");
            return Err(Problem::distrust("BUNDLE_CONTRADICTION", sentence));
        }
        Ok(())
    }

    /// Verifies a policy bundle and remembers it; one older than the newest seen is refused.
    pub fn adopt_bundle(&self, signed: &SignedBundle) -> Result<(), Problem> {
        let _one_at_a_time = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let view = self.view()?;
        let engine = self.verify_bundle(signed, &view)?;
        let (version, digest) = (engine.bundle().version(), engine.bundle().digest());
        self.not_superseded(&engine)?;
        self.disk
            .write(&self.dir.join("bundle.bin"), &signed.to_bytes())?;
        let first_seen_ms = self.clock.now().millis();
        self.remember(|newest| {
            if newest.bundles.iter().any(|b| b.version == version) {
                return;
            }
            newest.bundles.push(KnownBundle {
                version,
                digest,
                first_seen_ms,
            });
            let surplus = newest.bundles.len().saturating_sub(BUNDLES_REMEMBERED_MAX_COUNT);
            newest.bundles.drain(..surplus);
        })?;
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(engine));
        Ok(())
    }

    /// Asks the broker for a newer directory and bundle and adopts them. The first time it also compares
    /// the key that the broker showed with the directory; on failure the caller must open a new channel.
    pub async fn refresh(&self, client: &mut Client) -> Result<(), Problem> {
        let known = self.view().ok();
        let pinned = self.pins.is_set();
        let request = wire::GetDirectoryRequest {
            known_version: known.as_ref().map_or(0, |v| v.directory().version()),
        };
        let asked = self.clock.now();
        let answer = client.get_directory(bounded(request)).await?;
        self.skew.note(&answer, asked, self.clock.now());
        match (answer.into_inner().directory, known) {
            (Some(signed), _) => self
                .adopt(&signed)
                .inspect_err(|problem| self.keep_refused(&signed, problem))?,
            (None, Some(view)) if self.clock.now().millis_since(view.judged) > JUDGE_AGAIN_MILLIS => {
                self.adopt(view.directory().signed())?;
            }
            (None, Some(_)) => {}
            (None, None) => self.view().map(|_| ())?,
        }
        if !pinned {
            self.check_first_contact()?;
        }
        self.refresh_bundle(client).await
    }

    /// Keeps a directory that does not hold, as it was served: who served it cannot say that it was another.
    fn keep_refused(&self, signed: &wire::MultiSigned, problem: &Problem) {
        let encoded = signed.encode_to_vec();
        let name = Digest::of(&encoded).to_string();
        let name: String = name.chars().take(16).collect();
        let kept = || -> Result<(), Problem> {
            let all = self.dir.join("refused");
            self.disk.make_dir(&all)?;
            let dir = all.join(name);
            if dir.is_dir() || disk::list(&all)?.len() >= REFUSED_MAX_COUNT {
                return Ok(());
            }
            self.disk.make_dir(&dir)?;
            self.disk.write(&dir.join("directory.bin"), &encoded)?;
            let path = dir.join("reason.json");
            self.disk.write(&path, &disk::to_json(problem, &path)?)
        };
        if let Err(problem) = kept() {
            tracing::warn!(code = problem.code, "a refused directory could not be kept");
        }
    }

    fn check_first_contact(&self) -> Result<(), Problem> {
        let view = self.view()?;
        let seen = self.pins.last_seen();
        let listed = |(name, key): &(String, Digest)| keys_of(view.directory(), name).contains(key);
        if seen.as_ref().is_some_and(listed) {
            return Ok(());
        }
        let sentence = "the broker's TLS key is not the one in the directory";
        let name = seen.map(|(name, _)| name).unwrap_or_default();
        Err(Problem::distrust("BROKER_KEY", sentence).at(name))
    }

    async fn refresh_bundle(&self, client: &mut Client) -> Result<(), Problem> {
        let in_force = self.engine().map(|engine| engine.bundle().digest());
        let known_digest = in_force.map(|d| d.to_vec()).unwrap_or_default().into();
        let answer = client
            .get_bundle(bounded(wire::GetBundleRequest { known_digest }))
            .await?
            .into_inner();
        if answer.archive.is_empty() {
            return Ok(());
        }
        let mut signatures = Vec::new();
        for signature in answer.signatures.into_iter().take(limits::REPEATED_MAX_COUNT) {
            if let Ok(officer) = OfficerId::new(&signature.officer) {
                signatures.push(BundleSignature {
                    officer,
                    signature: signature.signature.to_vec(),
                });
            }
        }
        self.adopt_bundle(&SignedBundle {
            archive: answer.archive.to_vec(),
            signatures,
        })
    }
}
