//! The facts of cases as the broker last showed them: chain and signatures checked, never shorter or
//! other than what was seen before. The roster version that a packet says it saw comes from here.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::limits;
use schakel_proto::refusal::Refusal;
use schakel_proto::statement::{Fact, FactChain, ParsedStatement, StatementError, VerifiedStatement};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::directory::{Network, View};
use crate::disk::{self, Disk};
use crate::problem::{Kind, Problem};
use crate::transport::{Client, bounded};

/// Longest file of one case's facts, in bytes.
const CASE_FILE_MAX_BYTES: u64 = 64 << 20;

/// What was last seen of each case.
pub struct Facts {
    disk: Disk,
    dir: PathBuf,
    known: Mutex<HashMap<CaseRef, FactChain>>,
    /// Held from looking at what is known until it is written: the longer chain stays.
    adopting: Mutex<()>,
}

fn refused(error: StatementError) -> Problem {
    let problem = Problem::from(Refusal::from(error));
    Problem {
        kind: Kind::Distrust,
        ..problem
    }
}

impl Facts {
    /// Reads the cases on disk; each file was verified before it was written.
    pub fn open(disk: Disk, dir: PathBuf) -> Result<Self, Problem> {
        disk.make_dir(&dir)?;
        disk.sweep(&dir)?;
        let mut known = HashMap::new();
        for path in disk::list(&dir)? {
            let chain = read(&path)?;
            known.insert(chain.case_ref(), chain);
        }
        Ok(Self {
            disk,
            dir,
            known: Mutex::new(known),
            adopting: Mutex::new(()),
        })
    }

    /// The cases of which something is known, and when its last fact was accepted.
    pub fn cases(&self) -> Vec<(CaseRef, Option<Timestamp>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let last = |chain: &FactChain| chain.facts().last().map(Fact::accepted);
        known.iter().map(|(case, chain)| (*case, last(chain))).collect()
    }

    /// Lets what was seen of a case go. Idempotent.
    pub fn forget(&self, case: &CaseRef) -> Result<(), Problem> {
        let _one_at_a_time = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        self.disk.remove_file(&self.dir.join(case.to_string()))?;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(case);
        Ok(())
    }

    /// What was last seen of a case.
    pub fn known(&self, case: &CaseRef) -> Option<FactChain> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(case)
            .cloned()
    }

    /// The roster version last seen; none if no fact of the case was ever shown to us.
    pub fn roster_version(&self, case: &CaseRef) -> Option<u64> {
        self.known(case)
            .map(|chain| chain.roster_version())
            .filter(|version| *version > 0)
    }

    /// Asks the broker for the facts of a case, checks and keeps them.
    pub async fn refresh(
        &self,
        client: &mut Client,
        network: &Network,
        case: CaseRef,
        now: Timestamp,
    ) -> Result<FactChain, Problem> {
        let request = bounded(wire::GetFactsRequest {
            case_ref: case.to_vec().into(),
        });
        let asked_at = self.known(&case).map_or(0, |chain| chain.count());
        let answer = client.get_facts(request).await?.into_inner();
        let facts = answer.facts.unwrap_or_default();
        self.adopt_since(asked_at, &facts, (case, network, now))
    }

    /// Checks that these facts continue what was seen, and keeps them.
    pub fn adopt(
        &self,
        facts: &wire::CaseFacts,
        case: CaseRef,
        network: &Network,
        now: Timestamp,
    ) -> Result<FactChain, Problem> {
        self.adopt_since(u64::MAX, facts, (case, network, now))
    }

    /// As [`Facts::adopt`], of an answer to a question asked when `asked_at` facts were known. Another answer, with
    /// more facts, may have overtaken it: then it must be the beginning of what is known now, which stays.
    pub fn adopt_since(
        &self,
        asked_at: u64,
        facts: &wire::CaseFacts,
        (case, network, now): (CaseRef, &Network, Timestamp),
    ) -> Result<FactChain, Problem> {
        let _one_at_a_time = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let view = network.view()?;
        let known = self.known(&case);
        let facts = &with_known(facts, known.as_ref());
        let chain = FactChain::check(facts).map_err(refused)?;
        if chain.case_ref() != case {
            return Err(Problem::distrust(
                "FACTS_CASE",
                "the broker answered with another case's facts",
            ));
        }
        let seen = known.as_ref().map_or(0, FactChain::count);
        let before = known.as_ref().and_then(FactChain::head);
        let old = || known.iter().flat_map(FactChain::facts);
        let times_kept = old()
            .zip(chain.facts())
            .all(|(old, new)| old.accepted() == new.accepted());
        if let Some(known) = &known
            && (asked_at..seen).contains(&chain.count())
            && head_at(known, chain.count()) == chain.head()
            && times_kept
        {
            return Ok(known.clone());
        }
        if chain.count() < seen || head_at(&chain, seen) != before || !times_kept {
            let sentence = "facts that were shown before are missing or changed now";
            return Err(Problem::distrust("FACTS_REWRITTEN", sentence).at(case));
        }
        let verified: BTreeSet<u64> = old()
            .filter(|fact| fact.statement().is_some())
            .map(Fact::number)
            .collect();
        verify(&chain, &verified, network, &view, now)?;
        let shown = chain.statements().count();
        if chain.count() > seen || shown > verified.len() {
            self.disk
                .write(&self.dir.join(case.to_string()), &facts.encode_to_vec())?;
        }
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(case, chain.clone());
        Ok(chain)
    }
}

fn head_at(chain: &FactChain, count: u64) -> Option<Digest> {
    chain
        .facts()
        .iter()
        .find(|fact| fact.number() == count)
        .map(Fact::head)
}

/// The facts as the broker shows them now, and what it showed before and shows no more: who learned a fact
/// keeps it.
fn with_known(facts: &wire::CaseFacts, known: Option<&FactChain>) -> wire::CaseFacts {
    let mut facts = facts.clone();
    let known = known.map_or(&[][..], FactChain::facts);
    for (entry, fact) in facts.entries.iter_mut().zip(known) {
        if entry.statement.is_none()
            && let Some(signed) = fact.signed()
        {
            entry.statement = Some(signed.clone());
            entry.bytes_sha256.clear();
            entry.signature_sha256.clear();
        }
    }
    facts
}

/// Signatures of the facts that are shown, but for those `verified` when they came. Each is judged by the
/// directory of now, or, if its agency has left or its key was replaced since, by those of its time. That is
/// not before the time of any fact that stands before it: who has left cannot have spoken earlier afterwards.
fn verify(
    chain: &FactChain,
    verified: &BTreeSet<u64>,
    network: &Network,
    view: &View,
    now: Timestamp,
) -> Result<(), Problem> {
    let mut time: Option<Timestamp> = None;
    for fact in chain.facts() {
        let at = time.map_or(fact.accepted(), |before| before.max(fact.accepted()));
        time = Some(at);
        if fact.accepted() > now.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS) {
            let sentence = "a fact was accepted in the future";
            let problem = Problem::distrust("FACTS_TIME", sentence).at(format!("fact {}", fact.number()));
            let remedy = "Check this machine's clock. If it is right the broker's is not: tell its operator.";
            return Err(Problem {
                remedy: remedy.to_owned(),
                ..problem
            });
        }
        if let Some(signed) = fact.signed().filter(|_| !verified.contains(&fact.number())) {
            verify_one(fact.number(), signed, (at.min(now), now), network, view)?;
        }
    }
    Ok(())
}

fn verify_one(
    number: u64,
    signed: &wire::Signed,
    (at, now): (Timestamp, Timestamp),
    network: &Network,
    view: &View,
) -> Result<(), Problem> {
    let verify = |directory: &Directory, now: Timestamp| {
        let parsed = ParsedStatement::parse(signed)?;
        VerifiedStatement::verify(parsed, directory, network.name(), now).map(|_| ())
    };
    let Err(error) = verify(view.directory(), now) else {
        return Ok(());
    };
    let former = network.directories_of(at);
    if former.iter().any(|directory| verify(directory, at).is_ok()) {
        return Ok(());
    }
    Err(refused(error).at(format!("fact {number}")))
}

fn read(path: &Path) -> Result<FactChain, Problem> {
    let bytes = disk::read(path, CASE_FILE_MAX_BYTES)?.unwrap_or_default();
    let facts = wire::CaseFacts::decode(&*bytes).map_err(|e| Problem::damaged(path, e))?;
    FactChain::check(&facts).map_err(|e| Problem::damaged(path, e))
}
