//! Facts at scale: a store on sled with 1,000, then 10,000, then 100,000 cases of ten statements each; what its start
//! takes in time and memory, and what one decision takes, from the rows to the ruling. docs/performance.md has the
//! table.
//!
//!     cargo bench -p schakel-tests --bench facts
//!
//! `SCHAKEL_CASES=1000,2000` sets other sizes, `SCHAKEL_FOLDER` another place for the store (5 GiB for the largest).
//! The statements are whole and parse; their signatures are one signature used again, and one erasure key stands for
//! all: neither is looked at by what is measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement that cannot be set up stops"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use prost::Message;
use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_broker::erasure::ErasureKeys;
use schakel_broker::log::entry::{EntryDraft, EntryMaker};
use schakel_broker::log::sequencer::Sequencer;
use schakel_broker::store::sled::SledStore;
use schakel_broker::store::{NewStatement, StatementAdded, Store};
use schakel_certs_dev::Network;
use schakel_policy::asking::{self, Moment};
use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;
use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId, StatementId, SubjectRef};
use schakel_proto::packet::descriptor::{PartFields, Subject};
use schakel_proto::packet::manifest::{LegalBasis, ManifestFields};
use schakel_proto::party::AgencyId;
use schakel_proto::statement::{
    Audience, Consent, Consultation, FactChain, Mandate, RosterEntry, StatementBody, StatementDraft,
    fact_head,
};
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::wire;
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::player::code;

const POLICE: &str = "pz-rupel";
const WELFARE: &str = "caw-rupel";
const PROSECUTOR: &str = "parket-antwerpen";
/// Cases filled at once: enough for full groups.
const AT_ONCE: usize = 512;
/// Decisions measured, each on a case of its own.
const DECISIONS: usize = 3_000;
/// Statements added one after the other.
const ADDED: usize = 200;

fn case(number: u64) -> CaseRef {
    CaseRef::try_from(&Digest::of(&number.to_be_bytes()).as_bytes()[..16]).unwrap()
}

/// The subject of a consent in each case.
fn subject(number: u64) -> SubjectRef {
    SubjectRef::try_from(&Digest::of(&number.to_le_bytes()).as_bytes()[16..]).unwrap()
}

fn consent(subject: SubjectRef) -> StatementBody {
    StatementBody::ConsentGiven(Consent {
        subject,
        subject_role: code("victim"),
        given_by: code("victim"),
        capacity: code("self"),
        categories: vec![code("identity"), code("address_current")],
        recipients: Audience {
            agencies: Vec::new(),
            roles: vec![code("caw_victim"), code("ocmw")],
        },
        purposes: vec![code("victim_support")],
        informed: true,
        form: code("oral"),
        given: now(),
        expires: None,
        minor_cosign: false,
        parents_cosign: false,
        form_digest: None,
    })
}

/// Ten statements as a case would have, by who may make them.
fn templates(network: &Network) -> Vec<(AgencyId, wire::Signed)> {
    let roster = [POLICE, WELFARE, PROSECUTOR].map(|id| RosterEntry::active(agency(id)));
    let opened = StatementBody::CaseOpened {
        case_type: code("partner_violence"),
        region: code("vlg"),
        roster: roster.to_vec(),
    };
    let ban = StatementBody::MeasureImposed {
        measure: code("house_ban"),
        until: None,
    };
    let table = StatementBody::ConsultationConvened(Consultation {
        basis: code("prosecutor_authorisation"),
        finality: code("protect_integrity"),
        valid_until: None,
    });
    let mandate = StatementBody::MandateGiven(Mandate {
        holder: agency("jh-antwerpen-dader"),
        actors: vec![agency(WELFARE)],
        until: None,
    });
    let released = StatementBody::InvestigationReleased(Audience {
        agencies: vec![agency(WELFARE)],
        roles: Vec::new(),
    });
    let mut said = vec![
        (POLICE, opened),
        (PROSECUTOR, ban),
        (PROSECUTOR, table),
        (PROSECUTOR, mandate),
        (PROSECUTOR, released),
    ];
    said.extend((0..5).map(|n| (WELFARE, consent(subject(n)))));
    let mut rng = StdRng::seed_from_u64(1);
    let mut sign = |(by, body)| {
        let keys = network.agency_keys(&agency(by)).unwrap();
        let draft = StatementDraft {
            network: network.spec().network.clone(),
            case_ref: case(0),
            agency: agency(by),
            body,
        };
        (agency(by), draft.sign(&keys, now(), &mut rng).unwrap().1)
    };
    said.into_iter().map(&mut sign).collect()
}

/// The template as a statement of a case, under its old signature.
fn of_case(signed: &wire::Signed, number: u64, rng: &mut StdRng) -> (StatementId, wire::Signed) {
    let mut statement = wire::Statement::decode(&*signed.bytes).unwrap();
    let id = StatementId::new(now(), rng);
    statement.case_ref = case(number).to_vec().into();
    statement.statement_id = id.to_vec().into();
    if let Some(wire::statement::Body::ConsentGiven(consent)) = &mut statement.body
        && consent.subject_ref.as_ref() == subject(0).as_bytes()
    {
        consent.subject_ref = subject(number).to_vec().into();
    }
    let bytes = statement.encode_to_vec().into();
    (
        id,
        wire::Signed {
            bytes,
            signature: signed.signature.clone(),
        },
    )
}

/// The store and what writes to it.
struct Place {
    store: Arc<dyn Store>,
    maker: EntryMaker,
    templates: Vec<(AgencyId, wire::Signed)>,
}

impl Place {
    async fn open(folder: &Path, network: &Network) -> Self {
        let keys = ErasureKeys::open(&folder.join("erasure")).unwrap();
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&folder.join("data")).await.unwrap());
        Self {
            store,
            maker: EntryMaker::new(network.spec().network.clone(), keys),
            templates: templates(network),
        }
    }

    /// Adds one statement to a case whose head and count are these; gives the new ones.
    async fn add(
        &self,
        number: u64,
        (head, count): (Option<Digest>, u64),
        which: usize,
        rng: &mut StdRng,
    ) -> (Option<Digest>, u64) {
        let (by, template) = &self.templates[which];
        let (statement, signed) = of_case(template, number, rng);
        let draft = EntryDraft {
            sender: Some(by.clone()),
            reason: "Statement".to_owned(),
            attachment: Some(signed.clone()),
            ..EntryDraft::new(Event::StatementAccepted, now())
        };
        let entry = self.maker.make(draft.concerning(by, false), rng).await.unwrap();
        let new = NewStatement {
            statement,
            case: case(number),
            agency: by.clone(),
            head: fact_head(head, &signed),
            signed,
            expected_head: head,
            expected_count: count,
            roster_version: 1,
            bundle_version: 1,
            directory_version: 1,
            reviews: None,
            accepted_at: now(),
            entry,
        };
        let after = (Some(new.head), count + 1);
        let added = self.store.add_statement(new).await.unwrap();
        assert!(matches!(added, StatementAdded::New { .. }), "{added:?}");
        after
    }

    async fn fill(&self, number: u64) {
        let mut rng = StdRng::seed_from_u64(number);
        let mut at = (None, 0);
        for which in 0..self.templates.len() {
            at = self.add(number, at, which, &mut rng).await;
        }
    }
}

fn log_key() -> LogSecret {
    LogSecret::generate("scale.example/log", &mut StdRng::seed_from_u64(1)).unwrap()
}

async fn fill(folder: &Path, network: &Network, cases: std::ops::Range<u64>) {
    let began = Instant::now();
    let place = Place::open(folder, network).await;
    let (sequencer, _log) = Sequencer::start(Arc::clone(&place.store), log_key())
        .await
        .unwrap();
    let number = cases.end - cases.start;
    futures_util::stream::iter(cases)
        .map(|number| place.fill(number))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
    sequencer.stop().await;
    place.store.close().await;
    let seconds = began.elapsed().as_secs_f64();
    eprintln!(
        "filled {number} cases in {seconds:.0} s, {:.0} statements a second",
        (number * 10) as f64 / seconds
    );
}

/// Most memory that this process had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn size(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .filter(|m| m.is_file())
        .map(|m| m.len())
        .sum::<u64>()
        >> 20
}

/// Median and 99th percentile, in microseconds.
fn spread(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e6;
    (at(50), at(99))
}

/// What the broker asks of the rules for one part on its way to the CAW.
fn question(number: u64, rng: &mut StdRng) -> (ManifestFields, PartFields) {
    let created = now();
    let manifest = ManifestFields {
        network: schakel_proto::party::NetworkName::new("rupel").unwrap(),
        packet_id: PacketId::new(created, rng),
        case_ref: case(number),
        roster_version_seen: Some(1),
        sender: agency(POLICE),
        sender_key: schakel_proto::openpgp::Fingerprint::try_from(&[6; 32][..]).unwrap(),
        created,
        expires: created.plus_millis(3_600_000),
        purpose: code("victim_support"),
        legal_basis: LegalBasis::plain(code("consent")),
        urgency: code("routine"),
        break_glass: None,
        in_reply_to: None,
        checkpoint_seen: None,
    };
    let part = PartFields {
        part_id: PartId::random(rng),
        category: code("identity"),
        subjects: vec![Subject {
            subject_ref: subject(number),
            role: code("victim"),
            age_class: code("adult"),
        }],
        source_secrecy: code("none"),
        release_ref: None,
        measure_ref: None,
        relevant: None,
        pseudonymous: false,
        commitment: Digest::of(b"commitment"),
        sealings: Vec::new(),
    };
    (manifest, part)
}

/// Opens the store as the broker does, and decides; one line of figures.
async fn measure(folder: &Path, network: &Network, cases: u64) {
    let directory = network.directory(now()).unwrap();
    let began = Instant::now();
    let place = Place::open(folder, network).await;
    let (sequencer, _log) = Sequencer::start(Arc::clone(&place.store), log_key())
        .await
        .unwrap();
    let started = began.elapsed().as_secs_f64();
    let opened = peak();
    let engine = Engine::new(&Bundle::built_in().unwrap()).unwrap();
    let mut rng = StdRng::seed_from_u64(cases);
    let (mut load, mut decide) = (Vec::new(), Vec::new());
    for _ in 0..DECISIONS {
        let number = rng.random_range(0..cases);
        let (manifest, part) = question(number, &mut rng);
        let began = Instant::now();
        let facts = place.store.facts(case(number)).await.unwrap();
        let facts = wire::CaseFacts {
            case_ref: case(number).to_vec().into(),
            entries: facts.entries,
        };
        let chain = FactChain::check(&facts).unwrap();
        load.push(began.elapsed());
        let began = Instant::now();
        let state = asking::case_or_unopened(&chain, &directory, &manifest.sender);
        let (welfare, when) = (agency(WELFARE), (Moment::HandOver, now()));
        let questions = asking::receive_questions(&manifest, &[&part], &welfare, (&directory, &state), when);
        let ruling = engine.packet(&questions);
        decide.push(began.elapsed());
        assert!(ruling.parts()[0].delivers(), "{:?}", ruling.parts()[0].reason());
        assert_eq!(chain.count(), 10);
    }
    let mut add = Vec::new();
    for _ in 0..ADDED {
        // In cases of their own, so that those measured keep their ten.
        let number = rng.random_range(u64::MAX / 2..u64::MAX);
        let began = Instant::now();
        place.add(number, (None, 0), 0, &mut rng).await;
        add.push(began.elapsed());
    }
    let ((load, load_99), (decide, decide_99), (add, _)) = (spread(load), spread(decide), spread(add));
    let statements = cases * 10;
    println!(
        "| {cases} | {statements} | {} | {started:.1} | {opened} | {} | {load:.0} ({load_99:.0}) | {decide:.0} ({decide_99:.0}) | {:.1} |",
        size(&folder.join("data")),
        peak(),
        add / 1e3
    );
    sequencer.stop().await;
    place.store.close().await;
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, folder, network, cases] = arguments.as_slice()
        && mode == "measure"
    {
        let network = Network::open(Path::new(network)).unwrap();
        return runtime.block_on(measure(Path::new(folder), &network, cases.parse().unwrap()));
    }
    let sizes = std::env::var("SCHAKEL_CASES").unwrap_or_else(|_| "1000,10000,100000".to_owned());
    let place = std::env::var_os("SCHAKEL_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new()
        .prefix("schakel-scale-")
        .tempdir_in(place)
        .unwrap();
    let town = Town::rupel();
    println!(
        "| cases | statements | store, MiB | start, s | peak after start, MiB | peak in all, MiB | facts of a case, µs (p99) | decision, µs (p99) | statement added, ms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut before = 0;
    for cases in sizes.split(',').map(|size| size.trim().parse::<u64>().unwrap()) {
        runtime.block_on(fill(folder.path(), town.network(), before..cases));
        before = cases;
        // A process of its own, so that the peak is of what a broker would hold.
        let status = Command::new(std::env::current_exe().unwrap())
            .arg("measure")
            .args([folder.path(), town.network().root()])
            .arg(cases.to_string())
            .status();
        assert!(status.unwrap().success());
    }
}
