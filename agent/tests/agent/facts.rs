//! The facts of a case: each judged by the directory of its time, and never other than they were.

use schakel_agent::clock::randomness;
use schakel_agent::directory::Network;
use schakel_agent::disk::Disk;
use schakel_agent::facts::Facts;
use schakel_agent::problem::Problem;
use schakel_proto::ids::CaseRef;
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::statement::{RosterEntry, StatementBody, StatementDraft, fact_head};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::network::{open, served};
use crate::support::parcel::{RECIPIENT, SENDER};
use crate::support::town::{Town, agency, code, now};

const HOUR_MILLIS: i64 = 3_600_000;

/// The facts of one case, one after the other.
struct Case<'a> {
    town: &'a Town,
    case: CaseRef,
    facts: wire::CaseFacts,
}

impl<'a> Case<'a> {
    fn new(town: &'a Town) -> Self {
        let case = CaseRef::random(&mut randomness());
        let facts = wire::CaseFacts {
            case_ref: case.to_vec().into(),
            entries: Vec::new(),
        };
        Self { town, case, facts }
    }

    /// The next roster, made and accepted at `at`.
    fn then(mut self, by: &str, keys: &SecretKeys, (made, accepted): (Timestamp, Timestamp)) -> Self {
        let number = self.facts.entries.len() as u64 + 1;
        let roster = vec![
            RosterEntry::active(agency(by)),
            RosterEntry::active(agency("vh-antwerpen")),
        ];
        let body = match number {
            1 => StatementBody::CaseOpened {
                case_type: code("partner_violence"),
                region: code("vlg"),
                roster,
            },
            roster_version => StatementBody::RosterChanged {
                roster_version,
                roster,
            },
        };
        let draft = StatementDraft {
            network: self.town.network.spec().network.clone(),
            case_ref: self.case,
            agency: agency(by),
            body,
        };
        let (_, signed) = draft.sign(keys, made, &mut randomness()).unwrap();
        let before = self.facts.entries.last().map(|e| (&*e.head).try_into().unwrap());
        self.facts.entries.push(wire::FactEntry {
            number,
            head: fact_head(before, &signed).to_vec().into(),
            statement: Some(signed),
            accepted_ms: accepted.millis(),
            ..wire::FactEntry::default()
        });
        self
    }

    /// What an agent that never saw the case makes of it at `at`.
    fn seen(&self, network: &Network, at: Timestamp) -> Result<u64, Problem> {
        let dir = tempfile::tempdir().unwrap();
        let facts = Facts::open(Disk::default(), dir.path().to_owned()).unwrap();
        facts
            .adopt(&self.facts, self.case, network, at)
            .map(|chain| chain.count())
    }
}

#[test]
fn i07_a_statement_of_a_former_member_is_judged_by_the_directory_of_its_time() {
    let town = Town::new(1);
    let (first, keys) = (served(&town), town.keys(SENDER));
    let without = town
        .network
        .issue_changed(now(), |d| d.agencies.retain(|a| a.id != SENDER))
        .unwrap();
    let network = open(&town, true).unwrap();
    network.adopt(&first).unwrap();
    let begin = (now(), now());
    let case = Case::new(&town).then(SENDER, &keys, begin);
    assert_eq!(case.seen(&network, now()).unwrap(), 1);
    network.adopt(&without).unwrap();
    assert_eq!(
        case.seen(&network, now()).unwrap(),
        1,
        "the agency has left since"
    );
    let again = open(&town, true).unwrap();
    assert_eq!(case.seen(&again, now()).unwrap(), 1, "also after a restart");

    // After it has left it can say nothing more, now or as of then.
    let later = now().plus_millis(30 * HOUR_MILLIS);
    let late = now().plus_millis(26 * HOUR_MILLIS);
    let case = Case::new(&town).then(SENDER, &keys, (late, late));
    assert_eq!(case.seen(&network, later).unwrap_err().code, "STATEMENT_AGENCY");
    let other = town.keys(RECIPIENT);
    let case = Case::new(&town)
        .then(RECIPIENT, &other, (late, late))
        .then(SENDER, &keys, begin);
    assert_eq!(case.seen(&network, later).unwrap_err().code, "STATEMENT_AGENCY");
    // Nor can anybody in its name.
    let case = Case::new(&town).then(SENDER, &other, begin);
    assert_eq!(case.seen(&network, now()).unwrap_err().code, "STATEMENT_AGENCY");
}

#[test]
fn l02_facts_that_change_or_come_from_the_future_are_refused() {
    let town = Town::new(1);
    let network = open(&town, true).unwrap();
    network.adopt(&served(&town)).unwrap();
    let keys = town.keys(SENDER);
    let case = Case::new(&town).then(SENDER, &keys, (now(), now()));
    let dir = tempfile::tempdir().unwrap();
    let facts = Facts::open(Disk::default(), dir.path().to_owned()).unwrap();
    facts.adopt(&case.facts, case.case, &network, now()).unwrap();
    let mut moved = case.facts.clone();
    moved.entries[0].accepted_ms += 60_000;
    let problem = facts.adopt(&moved, case.case, &network, now()).unwrap_err();
    assert_eq!(
        problem.code, "FACTS_REWRITTEN",
        "accepted at another time than before"
    );
    let mut gone = case.facts.clone();
    gone.entries.clear();
    let problem = facts.adopt(&gone, case.case, &network, now()).unwrap_err();
    assert_eq!(problem.code, "FACTS_REWRITTEN");
    let ahead = now().plus_millis(HOUR_MILLIS);
    let case = Case::new(&town).then(SENDER, &keys, (now(), ahead));
    assert_eq!(case.seen(&network, now()).unwrap_err().code, "FACTS_TIME");
}

#[test]
fn an_answer_that_another_overtook_is_no_rewriting() {
    let town = Town::new(1);
    let network = open(&town, true).unwrap();
    network.adopt(&served(&town)).unwrap();
    let (keys, at) = (town.keys(SENDER), (now(), now()));
    let shorter = Case::new(&town).then(SENDER, &keys, at).then(SENDER, &keys, at);
    let early = shorter.facts.clone();
    let case = shorter.then(SENDER, &keys, at);
    let dir = tempfile::tempdir().unwrap();
    let facts = Facts::open(Disk::default(), dir.path().to_owned()).unwrap();
    facts.adopt(&case.facts, case.case, &network, now()).unwrap();
    let late = |asked_at, facts_shown: &wire::CaseFacts| {
        facts
            .adopt_since(asked_at, facts_shown, (case.case, &network, now()))
            .map(|chain| chain.count())
    };
    // Asked when no more than it shows was known, it is late; the longer chain stays.
    assert_eq!(late(0, &early).unwrap(), 3);
    assert_eq!(late(2, &early).unwrap(), 3);
    // Asked when more was known, it hides something; and it must show the same beginning.
    assert_eq!(late(3, &early).unwrap_err().code, "FACTS_REWRITTEN");
    let mut moved = early.clone();
    moved.entries[0].accepted_ms += 60_000;
    assert_eq!(late(0, &moved).unwrap_err().code, "FACTS_REWRITTEN");
    let other = Case {
        case: case.case,
        facts: wire::CaseFacts {
            entries: Vec::new(),
            ..early.clone()
        },
        town: &town,
    };
    let other = other.then(SENDER, &keys, at);
    assert_eq!(late(0, &other.facts).unwrap_err().code, "FACTS_REWRITTEN");
    assert_eq!(facts.known(&case.case).unwrap().count(), 3);
}
