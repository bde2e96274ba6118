//! Replay: every decision in the log is made again, from the facts at the head that it commits to, the bundle
//! and directory that it names, at its own moment; and must come out the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use schakel_policy::bundle::{Bundle, SignedBundle};
use schakel_policy::engine::Engine;
use schakel_proto::directory::Directory;
use schakel_proto::evidence::{self, CheckedEvidence, Decision, Event, PartDecision};
use schakel_proto::ids::{CaseRef, PacketId, PartId};
use schakel_proto::packet::parse::{ParsedHead, Part};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::refusal::Refusal;
use schakel_proto::statement::FactChain;
use schakel_proto::tlog::shards::Shards;
use schakel_proto::wire;
use serde_json::{Value, json};

use crate::decide::{Grounds, rule, stored_head};
use crate::directory::Source;
use crate::log::publish::Evidences;
use crate::store::{CeilingOf, LoggedEntry, Store, StoredPacket};

/// Entries read at once.
const PAGE: usize = 64;
/// Cases whose facts are kept in memory at once.
const CASES_MAX_COUNT: usize = 64;
/// Differing decisions that are named; more are only counted.
const NAMED_MAX_COUNT: usize = 1000;

/// What decisions are made again from.
pub struct Archive<'a> {
    /// Everything durable.
    pub store: &'a dyn Store,
    /// The keys that salt the leaves.
    pub evidences: &'a Evidences,
    /// The network.
    pub network: &'a NetworkName,
    /// The key of the log.
    pub shards: &'a Shards,
    /// Verifies former directories.
    pub directories: &'a Source,
}

/// A decision that did not come out the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Position of its entry in the log.
    pub index: u64,
    /// The packet.
    pub packet: Option<PacketId>,
    /// For whom.
    pub recipient: Option<AgencyId>,
    /// The part; none: the decision as a whole.
    pub part: Option<PartId>,
    /// What the log has.
    pub recorded: String,
    /// What came out now.
    pub replayed: String,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    replayed: u64,
    parts: u64,
    differ: u64,
    differences: Vec<Difference>,
    /// Decisions that cannot be made again, by what is gone.
    gone: BTreeMap<&'static str, u64>,
}

/// How one decision ended.
enum Ended {
    Same(u64),
    Differs(Vec<Difference>),
    Gone(&'static str),
}

/// Makes every decision in the log again.
///
/// # Errors
/// The store cannot be read. What is wrong with single decisions is in the answer.
pub async fn replay(archive: &Archive<'_>) -> Result<Replay, Refusal> {
    let mut found = Replay::default();
    let mut shelf = Shelf::default();
    let mut next = 0;
    loop {
        let entries = archive.store.records(next, PAGE).await?;
        let Some(last) = entries.last() else {
            return Ok(found);
        };
        next = last.index + 1;
        for entry in entries {
            if entry.shown.is_none() && entry.hidden.is_none() {
                continue;
            }
            let ended = one(archive, &mut shelf, entry).await?;
            found.add(ended);
        }
    }
}

async fn one(archive: &Archive<'_>, shelf: &mut Shelf, entry: LoggedEntry) -> Result<Ended, Refusal> {
    let index = entry.index;
    let Some(shown) = archive.evidences.publish(entry).await? else {
        return Ok(Ended::Gone("erasure_key"));
    };
    let whole = |recorded: &str, replayed: &str| Difference {
        index,
        packet: None,
        recipient: None,
        part: None,
        recorded: recorded.to_owned(),
        replayed: replayed.to_owned(),
    };
    let checked = match evidence::check(&shown, archive.network, archive.shards) {
        Ok(checked) => checked,
        Err(error) => return Ok(Ended::Differs(vec![whole("an entry", &error.to_string())])),
    };
    let recorded = match Recorded::of(&checked) {
        Ok(recorded) => recorded,
        Err(what) => return Ok(Ended::Differs(vec![whole("a decision", what)])),
    };
    let differs = |replayed: String| {
        Ended::Differs(vec![Difference {
            packet: Some(recorded.packet()),
            recipient: Some(recorded.recipient().clone()),
            ..whole("a decision", &replayed)
        }])
    };
    let material = match shelf.material(archive, &recorded).await? {
        Ok(material) => material,
        Err(Missing::Gone(what)) => return Ok(Ended::Gone(what)),
        Err(Missing::Wrong(what)) => return Ok(differs(what.to_owned())),
    };
    match material.rule_again(&recorded) {
        Ok(again) => Ok(recorded.compared(index, &again)),
        Err(refusal) => Ok(differs(refusal.sentence)),
    }
}

/// A decision as the log has it, both halves together.
struct Recorded {
    case: CaseRef,
    manifest: schakel_proto::ids::Digest,
    /// The half that says on what it was made; the other says the same.
    ground: Decision,
    parts: Vec<PartDecision>,
}

impl Recorded {
    fn of(checked: &CheckedEvidence) -> Result<Self, &'static str> {
        let body = checked.body();
        if !matches!(body.event, Event::ContentConsignment | Event::ContentWithheld) {
            return Err("is in an entry of another event");
        }
        let (Some(shown), Some(hidden)) = (checked.shown(), checked.hidden()) else {
            return Err("has one half only");
        };
        let ground = |one: &Decision| {
            (
                one.packet(),
                one.recipient().clone(),
                one.at(),
                one.bundle_digest(),
                one.facts_head(),
                (one.facts_count(), one.bundle_version(), one.directory_version()),
            )
        };
        if ground(shown) != ground(hidden) {
            return Err("has halves that were made on different grounds");
        }
        let (Some(case), Some(manifest)) = (body.case, body.manifest_digest) else {
            return Err("names no case or manifest");
        };
        if body.packet != Some(shown.packet()) || body.recipient.as_ref() != Some(shown.recipient()) {
            return Err("is about another packet or recipient than its entry");
        }
        let halves = shown.parts().iter().chain(hidden.parts());
        Ok(Self {
            case,
            manifest,
            ground: shown.clone(),
            parts: halves.cloned().collect(),
        })
    }

    fn packet(&self) -> PacketId {
        self.ground.packet()
    }

    fn recipient(&self) -> &AgencyId {
        self.ground.recipient()
    }

    fn compared(&self, index: u64, again: &HashMap<PartId, wire::PartDecision>) -> Ended {
        let difference = |part: &PartDecision| {
            let now = again.get(&part.part);
            let words = |outcome: &str, reason: &str, obligations: &[String]| {
                let obligations: BTreeSet<&str> = obligations.iter().map(String::as_str).collect();
                let obligations: Vec<&str> = obligations.into_iter().collect();
                format!("{outcome} {reason} [{}]", obligations.join(" "))
            };
            let recorded = words(&part.outcome, &part.reason, &part.obligations);
            let replayed = now.map_or_else(
                || "the packet has no such part for this recipient".to_owned(),
                |now| words(&now.outcome, &now.reason, &now.obligations),
            );
            (recorded != replayed).then(|| Difference {
                index,
                packet: Some(self.packet()),
                recipient: Some(self.recipient().clone()),
                part: Some(part.part),
                recorded,
                replayed,
            })
        };
        let differences: Vec<_> = self.parts.iter().filter_map(difference).collect();
        if differences.is_empty() {
            Ended::Same(u64::try_from(self.parts.len()).unwrap_or(u64::MAX))
        } else {
            Ended::Differs(differences)
        }
    }
}

/// Why a decision cannot be made again.
enum Missing {
    /// Something it needs is no longer kept.
    Gone(&'static str),
    /// Something it needs is not what it says.
    Wrong(&'static str),
}

/// Everything that one decision was made from.
struct Material {
    engine: Arc<Engine>,
    directory: Arc<Directory>,
    chain: FactChain,
    packet: StoredPacket,
}

impl Material {
    fn rule_again(&self, recorded: &Recorded) -> Result<HashMap<PartId, wire::PartDecision>, Refusal> {
        let head: ParsedHead = stored_head(&self.packet)?;
        let recipient = recorded.recipient();
        let addressed = |id: &PartId| {
            let mut stored = self.packet.parts.iter();
            stored.any(|part| part.part == *id && part.recipients.contains(recipient))
        };
        // In the order of the packet, and all of them: some rules look at the packet as a whole.
        let ids = self.packet.parts.iter().map(|part| part.part);
        let parts: Vec<&Part> = ids.filter(addressed).filter_map(|id| head.part(&id)).collect();
        let grounds = Grounds {
            engine: &self.engine,
            directory: &self.directory,
            chain: &self.chain,
            at: recorded.ground.at(),
        };
        let ruled = rule(&grounds, &head, recipient, &parts)?;
        let ids = parts.iter().map(|part| part.id());
        Ok(ids
            .zip(ruled.parts.into_iter().map(|(_, decision)| decision))
            .collect())
    }
}

/// What was fetched for earlier decisions.
#[derive(Default)]
struct Shelf {
    engines: HashMap<u64, Arc<Engine>>,
    directories: HashMap<u64, Arc<Directory>>,
    chains: HashMap<CaseRef, FactChain>,
}

impl Shelf {
    async fn material(
        &mut self,
        archive: &Archive<'_>,
        recorded: &Recorded,
    ) -> Result<Result<Material, Missing>, Refusal> {
        let Some(packet) = archive.store.packet(recorded.packet()).await? else {
            return Ok(Err(Missing::Gone("packet")));
        };
        if packet.manifest_digest != recorded.manifest || packet.case != recorded.case {
            return Ok(Err(Missing::Wrong("the stored packet is another one")));
        }
        let Some(engine) = self.engine(archive, recorded.ground.bundle_version()).await? else {
            return Ok(Err(Missing::Gone("bundle")));
        };
        if engine.bundle().digest() != recorded.ground.bundle_digest() {
            return Ok(Err(Missing::Wrong("the kept bundle is another one")));
        }
        let Some(directory) = self.directory(archive, recorded).await? else {
            return Ok(Err(Missing::Gone("directory")));
        };
        let count = recorded.ground.facts_count();
        let chain = self.chain(archive, recorded.case, count).await?;
        if chain.count() == 0 && count > 0 {
            return Ok(Err(Missing::Gone("facts")));
        }
        let chain = chain.first(count);
        if chain.count() != count || chain.head() != recorded.ground.facts_head() {
            return Ok(Err(Missing::Wrong(
                "the facts of the case are not those that it was made on",
            )));
        }
        Ok(Ok(Material {
            engine,
            directory,
            chain,
            packet,
        }))
    }

    async fn engine(&mut self, archive: &Archive<'_>, version: u64) -> Result<Option<Arc<Engine>>, Refusal> {
        if let Some(known) = self.engines.get(&version) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(kept) = archive.store.kept(CeilingOf::Bundle, version).await? else {
            return Ok(None);
        };
        let loaded = tokio::task::spawn_blocking(move || {
            let signed = SignedBundle::from_bytes(&kept.signed)?;
            Bundle::from_archive(&signed.archive)
        });
        let Ok(Ok(bundle)) = loaded.await else {
            return Ok(None);
        };
        let engine = Arc::new(Engine::untested(&bundle));
        self.engines.insert(version, Arc::clone(&engine));
        Ok(Some(engine))
    }

    async fn directory(
        &mut self,
        archive: &Archive<'_>,
        recorded: &Recorded,
    ) -> Result<Option<Arc<Directory>>, Refusal> {
        let version = recorded.ground.directory_version();
        if let Some(known) = self.directories.get(&version) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(kept) = archive.store.kept(CeilingOf::Directory, version).await? else {
            return Ok(None);
        };
        let Ok(directory) = archive.directories.former(&kept.signed, recorded.ground.at()) else {
            return Ok(None);
        };
        if directory.version() != version || *directory.digest() != kept.digest {
            return Ok(None);
        }
        let directory = Arc::new(directory);
        self.directories.insert(version, Arc::clone(&directory));
        Ok(Some(directory))
    }

    /// The facts of a case, at least as many as the decision was made on if there are.
    async fn chain(
        &mut self,
        archive: &Archive<'_>,
        case: CaseRef,
        count: u64,
    ) -> Result<FactChain, Refusal> {
        if let Some(known) = self.chains.get(&case).filter(|known| known.count() >= count) {
            return Ok(known.clone());
        }
        if self.chains.len() >= CASES_MAX_COUNT {
            self.chains.clear();
        }
        let chain = crate::facts::stored(archive.store, case).await?;
        self.chains.insert(case, chain.clone());
        Ok(chain)
    }
}

impl Replay {
    fn add(&mut self, ended: Ended) {
        match ended {
            Ended::Same(parts) => {
                self.replayed += 1;
                self.parts += parts;
            }
            Ended::Differs(differences) => {
                self.replayed += 1;
                self.differ += 1;
                let room = NAMED_MAX_COUNT.saturating_sub(self.differences.len());
                self.differences.extend(differences.into_iter().take(room));
            }
            Ended::Gone(what) => *self.gone.entry(what).or_default() += 1,
        }
    }

    /// Decisions made again.
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// Decisions that came out otherwise.
    pub fn differ(&self) -> u64 {
        self.differ
    }

    /// The first of what differs.
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// Decisions that cannot be made again: what is gone, and how many.
    pub fn gone(&self) -> &BTreeMap<&'static str, u64> {
        &self.gone
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let text = |value: Option<String>| value.map_or(Value::Null, Value::String);
        let difference = |one: &Difference| {
            json!({
                "index": one.index,
                "packet": text(one.packet.map(|id| id.to_string())),
                "recipient": text(one.recipient.as_ref().map(ToString::to_string)),
                "part": text(one.part.map(|id| id.to_string())),
                "recorded": one.recorded, "replayed": one.replayed,
            })
        };
        json!({
            "replayed": self.replayed, "parts": self.parts, "differ": self.differ,
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
            "not_replayable": self.gone,
        })
    }
}
