//! What the log says of each round, checked from outside: which came first, and on which facts.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::evidence::{self, CheckedEvidence, Decision, Event};
use schakel_proto::ids::CaseRef;
use schakel_proto::statement::{FactChain, ParsedStatement, StatementBody};
use schakel_proto::wire;
use schakel_tests::system::network::{Town, now};
use schakel_tests::system::office::text;
use schakel_tests::system::player::Player;

use super::{POLICE, Round, STEADY};

/// Longest wait for an entry that must come.
const ENTRY_LIMIT: Duration = Duration::from_secs(30);

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// How many packets were in which state when the consent was withdrawn.
    pub states: BTreeMap<&'static str, u64>,
    /// How many were handed over before the withdrawal, not acknowledged, and withheld after it.
    pub possibly: u64,
    /// Packets that were handed over.
    pub handed: BTreeSet<String>,
}

/// Entries in the order of the log, by their place.
type Book = BTreeMap<u64, CheckedEvidence>;

/// Of one packet: its entries in order, those that speak of it.
type Pages<'a> = Vec<&'a CheckedEvidence>;

/// Checks each round.
///
/// # Panics
/// When one does not hold.
pub async fn check(town: &Town, rounds: &[Round]) -> Found {
    let mut welfare = Player::of(town, STEADY, StdRng::seed_from_u64(1));
    let book = whole(town, rounds).await;
    let mut pages: BTreeMap<String, Pages<'_>> = BTreeMap::new();
    let mut leaves = BTreeMap::new();
    for entry in book.values() {
        leaves.insert(hex::encode(entry.leaf_hash().as_bytes()), entry);
        if let Some(packet) = entry.body().packet {
            pages.entry(packet.to_string()).or_default().push(entry);
        }
    }
    let mut chains = BTreeMap::new();
    let mut found = Found::default();
    for round in rounds {
        if let Entry::Vacant(place) = chains.entry(round.case) {
            place.insert(chain(&mut welfare, round.case).await);
        }
        let withdrawal = leaves[&text(&round.withdrawal, "leaf")];
        one(
            round,
            withdrawal,
            (&pages[&round.packet], &chains[&round.case]),
            &mut found,
        );
    }
    found
}

/// The log as the sender and the CAW may see it, until every round is over in it.
async fn whole(town: &Town, rounds: &[Round]) -> Book {
    let mut book = Book::new();
    for id in [POLICE, STEADY] {
        let own = rounds.iter().filter(|round| round.by == id);
        let mut awaited: BTreeSet<String> = own.map(|round| text(&round.withdrawal, "leaf")).collect();
        // The sender is told how each packet ended.
        let sent = rounds.iter().filter(|_| id == POLICE);
        let mut open: BTreeSet<&str> = sent.map(|round| round.packet.as_str()).collect();
        let mut reader = Player::of(town, id, StdRng::seed_from_u64(1));
        let directory = town.network().directory(now()).unwrap();
        let request = wire::FollowEvidenceRequest {
            after_index_plus_one: 0,
        };
        let mut frames = reader.client.follow_evidence(request).await.unwrap().into_inner();
        let mut last = None;
        while !awaited.is_empty() || !open.is_empty() {
            let Ok(frame) = tokio::time::timeout(ENTRY_LIMIT, frames.message()).await else {
                panic!("the log of {id} lacks the end of {open:?}, and {awaited:?}");
            };
            let shown = frame.unwrap().expect("the log goes on").evidence.unwrap();
            let entry = evidence::check(&shown, directory.network(), directory.log().key()).unwrap();
            assert!(last < Some(entry.index()), "entries come in the order of the log");
            last = Some(entry.index());
            awaited.remove(&hex::encode(entry.leaf_hash().as_bytes()));
            if let (Some(packet), true) = (entry.body().packet, ends(&entry)) {
                open.remove(packet.to_string().as_str());
            }
            let same = book.entry(entry.index()).or_insert_with(|| entry.clone());
            assert_eq!(same.leaf_hash(), entry.leaf_hash(), "one log for all");
        }
    }
    book
}

/// Whether a packet of one part is over with this entry.
fn ends(entry: &CheckedEvidence) -> bool {
    match entry.body().event {
        Event::ContentHandover => true,
        Event::ContentWithheld => decision(entry).parts()[0].outcome != "hold-for-consent",
        _ => false,
    }
}

async fn chain(welfare: &mut Player, case: CaseRef) -> FactChain {
    let request = wire::GetFactsRequest {
        case_ref: case.to_vec().into(),
    };
    let answer = welfare.client.get_facts(request).await.unwrap().into_inner();
    FactChain::check(&answer.facts.unwrap()).unwrap()
}

/// The decision on the one part, wherever the entry opens it.
fn decision(entry: &CheckedEvidence) -> &Decision {
    let of = |d: &Option<&Decision>| d.is_some_and(|d| !d.parts().is_empty());
    [entry.shown(), entry.hidden()]
        .into_iter()
        .find(of)
        .flatten()
        .expect("a decision")
}

/// The leaf is the withdrawal's, and the withdrawal has the number that was answered, which is given.
fn number_of(round: &Round, withdrawal: &CheckedEvidence, chain: &FactChain) -> u64 {
    assert_eq!(withdrawal.body().event, Event::StatementAccepted);
    let stated = ParsedStatement::parse(withdrawal.attachment().unwrap()).unwrap();
    let (id, number) = (
        stated.statement().id(),
        round.withdrawal["number"].as_u64().unwrap(),
    );
    assert_eq!(id.to_string(), text(&round.withdrawal, "statement"));
    let of = |body: &StatementBody| matches!(body, StatementBody::ConsentWithdrawn { consent } if consent.to_string() == round.consent);
    assert!(of(stated.statement().body()), "another consent");
    let fact = chain.facts().iter().find(|fact| fact.number() == number).unwrap();
    assert_eq!(fact.statement().map(|s| s.id()), Some(id), "number {number}");
    number
}

/// Everything that must hold of one round.
fn one(
    round: &Round,
    withdrawal: &CheckedEvidence,
    (pages, chain): (&Pages<'_>, &FactChain),
    found: &mut Found,
) {
    let (packet, number) = (&round.packet, number_of(round, withdrawal, chain));
    let (mut before, mut consignments) = (None, BTreeMap::new());
    let (mut acknowledged, mut withheld) = (false, false);
    for entry in pages {
        let first = entry.index() < withdrawal.index();
        match entry.body().event {
            Event::ContentConsignment | Event::ContentWithheld => {
                assert!(!withheld && !acknowledged, "{packet} was decided after its end");
                let decided = decision(entry);
                on_facts(packet, decided, chain);
                // Both the place in the log and the facts that it names say which came first.
                assert_eq!(decided.facts_count() < number, first, "{packet}: on which facts?");
                let outcome = decided.parts()[0].outcome.as_str();
                if outcome == "deliver" {
                    assert!(first, "{packet} was handed over after the withdrawal");
                    consignments.insert(entry.leaf_hash(), entry.index());
                }
                withheld |= outcome == "withhold";
                if first {
                    before = Some(if outcome == "deliver" { "pushed" } else { "held" });
                }
                if outcome == "withhold" {
                    assert_eq!(
                        decided.parts()[0].reason,
                        "WITHHOLD_CONSENT_WITHDRAWN",
                        "{packet}"
                    );
                    assert!(!first, "{packet} was withheld before the withdrawal");
                }
            }
            Event::ContentHandover => {
                let said = wire::Acknowledgement::decode(&*entry.attachment().unwrap().bytes).unwrap();
                let consignment = schakel_proto::ids::Digest::try_from(&*said.consignment_leaf).unwrap();
                let at = consignments
                    .get(&consignment)
                    .expect("an acknowledgement of what was handed over");
                assert!(
                    *at < entry.index(),
                    "{packet} was acknowledged before it was handed over"
                );
                acknowledged = true;
                before = if first { Some("acknowledged") } else { before };
            }
            Event::SubmissionAcceptance => {}
            other => panic!("{packet}: {other:?}"),
        }
    }
    assert!(acknowledged != withheld, "{packet} ended in one way");
    if acknowledged {
        found.handed.insert(packet.clone());
    } else {
        // Handed over, but never acknowledged in its time, and so decided anew.
        found.possibly += u64::from(!consignments.is_empty());
    }
    let state = match before {
        None if round.offered => "on the stream",
        None => "queued",
        Some(state) => state,
    };
    *found.states.entry(state).or_default() += 1;
}

/// A decision commits to the facts that there were.
fn on_facts(packet: &str, decided: &Decision, chain: &FactChain) {
    let last = chain
        .facts()
        .iter()
        .find(|fact| fact.number() == decided.facts_count());
    assert_eq!(
        decided.facts_head(),
        last.map(|fact| fact.head()),
        "{packet}: other facts"
    );
}
