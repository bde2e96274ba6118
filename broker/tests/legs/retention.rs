//! Retention by a clock that is moved: each kind goes when its time is over and not a moment before, and what stays is
//! whole.

use std::sync::Arc;

use schakel_broker::admin::Ask;
use schakel_broker::clock::{Clock, SetClock};
use schakel_broker::config::Config;
use schakel_broker::retention::{Place, Swept, sweep};
use schakel_broker::serve::Running;
use schakel_broker::store::{Filed, Known};
use schakel_proto::evidence::{self, Body, Event};
use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::party::OfficerId;
use schakel_proto::statement::StatementBody;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::proof::check_inclusion;
use schakel_proto::wire;
use serde_json::Value;

use crate::oversight::{ask, receive};
use crate::packet::{Client, Sealed, code, new_case, refusal, state, submit};
use crate::peer::{Ground, agency, now};
use crate::several::{self, Site, at_each_site};

const POLICE: &str = "pz-rupel";
const PARKET: &str = "parket-antwerpen";

/// A network whose broker keeps packets for two years, acts for three, closed cases for four, those with an emergency for
/// six, and those that nobody closes for eight.
struct Kept {
    ground: Ground,
    clock: Arc<SetClock>,
    broker: Running,
    place: Place,
}

impl Kept {
    async fn new() -> Self {
        Self::on(None).await
    }

    /// On a store that others use too.
    async fn on(site: Option<&Site>) -> Self {
        let ground = Ground::new();
        let file = ground.network.broker_config();
        let mut text = std::fs::read_to_string(&file).unwrap();
        text.push_str(
            "\n[retention]\npacket_years = 2\nact_years = 3\ncase_years = 4\nemergency_years = 6\n\
             idle_case_years = 8\n",
        );
        std::fs::write(&file, text).unwrap();
        let clock = Arc::new(SetClock::at(now()));
        let broker = match site {
            Some(site) => site.broker_at(&ground, "a", clock.clone()).await,
            None => ground.broker_at(clock.clone()).await,
        };
        Self {
            ground,
            clock,
            broker,
            place: Place::default(),
        }
    }

    /// The clock shows this moment, and there is a directory of that day.
    async fn at(&self, at: Timestamp) {
        self.ground.network.refresh(at).unwrap();
        self.clock.set(at);
        schakel_broker::activate::refresh(self.broker.state()).await;
        assert!(self.broker.state().directories.current().fresh(at).is_ok());
    }

    /// Rounds until there is nothing more: what went.
    async fn sweep(&mut self) -> Swept {
        let mut all = Swept::default();
        for _ in 0..100 {
            let one = sweep(self.broker.state(), &mut self.place).await.unwrap();
            all.cases += one.cases;
            all.packets += one.packets;
            all.entries += one.entries;
            if !one.more {
                return all;
            }
        }
        panic!("no end of it: {all:?}");
    }

    /// Nothing goes a moment before, and this much at the moment.
    async fn goes_at(&mut self, moment: Timestamp, expected: (u64, u64, u64)) {
        self.at(moment.plus_millis(-1)).await;
        let early = self.sweep().await;
        assert_eq!(early, Swept::default(), "before {moment}");
        self.clock.set(moment);
        let went = self.sweep().await;
        assert_eq!((went.cases, went.packets, went.entries), expected, "at {moment}");
        assert_eq!(self.sweep().await, Swept::default());
        self.whole().await;
    }

    /// Every leaf stands where it stood, under the newest checkpoint, and nothing of the store contradicts the log.
    async fn whole(&self) -> Value {
        let shared = self.broker.state();
        for pending in shared.store.pending(1_024).await.unwrap() {
            shared.log.wait_for(pending.leaf_hash).await.unwrap();
        }
        let records = shared.store.records(0, 1_000).await.unwrap();
        for (index, one) in (0..).zip(&records) {
            let (size, root) = (one.checkpoint.size, one.checkpoint.root);
            check_inclusion(leaf_hash(&one.leaf), index, size, &one.inclusion, &root).unwrap();
        }
        let found = ask(&self.ground, Ask::Verify).await;
        assert_eq!(found["wrong"], 0, "{found:#}");
        found
    }

    /// What an agency is shown, each proved.
    async fn shown(&self, who: &str) -> Vec<Body> {
        let shared = self.broker.state();
        let store = shared.store.as_ref();
        let all = shared.evidences.since(store, &agency(who), 0, 1_000).await;
        let directory = self.ground.network.directory(self.clock.now()).unwrap();
        let (network, key) = (&self.ground.network.spec().network, directory.log().key());
        let check = |one: &wire::Evidence| evidence::check(one, network, key).unwrap().body().clone();
        all.unwrap().0.iter().map(check).collect()
    }

    async fn entries(&self, case: CaseRef) -> usize {
        let store = &self.broker.state().store;
        let page = store.filed(Filed::Case(case), None, 1_000).await.unwrap();
        page.found.len()
    }

    fn key(&self, case: CaseRef, end: &str) -> bool {
        let folder = Config::load(&self.ground.network.broker_config())
            .unwrap()
            .erasure_dir;
        let name: String = case.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        folder.join(format!("{name}.{end}")).exists()
    }
}

/// A case with two delivered packets: figures, which are no contact, and facts after them, the case's last contact.
async fn case(kept: &Kept, police: &mut Client) -> (CaseRef, [Sealed; 2]) {
    let (ground, case) = (&kept.ground, new_case());
    state(police, ground.opening(POLICE, case, &[POLICE, PARKET]))
        .await
        .unwrap();
    let parts = ["alert", "facts_summary"].map(|category| (category, &b"gevaar"[..], &[PARKET][..]));
    let packets = parts.map(|part| ground.seal(POLICE, case, &[PARKET], &[part]));
    for sealed in &packets {
        submit(police, sealed.frames()).await.unwrap();
        receive(ground, &kept.broker, PARKET, sealed, true).await;
    }
    (case, packets)
}

async fn close(kept: &Kept, police: &mut Client, case: CaseRef) {
    let closing = kept.ground.statement(POLICE, case, StatementBody::CaseClosed);
    state(police, closing).await.unwrap();
}

/// An emergency, handed over and reviewed.
async fn emergency(kept: &Kept, police: &mut Client, case: CaseRef) {
    let parts = [("alert", &b"hij is onderweg"[..], &[PARKET][..])];
    let sealed = kept
        .ground
        .seal_emergency((POLICE, PARKET), case, (&[PARKET], &parts), |_| {});
    submit(police, sealed.frames()).await.unwrap();
    receive(&kept.ground, &kept.broker, PARKET, &sealed, true).await;
    let body = StatementBody::BreakGlassReviewed {
        packet: sealed.packet.packet_id,
        reviewer: OfficerId::new("beleid-parket-antwerpen").unwrap(),
        finding: code("justified"),
    };
    let mut parket = kept.ground.client(kept.broker.address(), PARKET).await;
    let review = kept.ground.statement(PARKET, case, body);
    state(&mut parket, review).await.unwrap();
    // The last contact of the case is another.
    let parts = [("measures", &b"huisverbod"[..], &[PARKET][..])];
    let sealed = kept.ground.seal(POLICE, case, &[PARKET], &parts);
    submit(police, sealed.frames()).await.unwrap();
    receive(&kept.ground, &kept.broker, PARKET, &sealed, true).await;
}

#[tokio::test]
async fn l12_n14_each_kind_goes_when_its_time_is_over_and_what_stays_is_whole() {
    let mut kept = Kept::new().await;
    let mut police = kept.ground.client(kept.broker.address(), POLICE).await;
    let (closed, packets) = case(&kept, &mut police).await;
    close(&kept, &mut police, closed).await;
    let (open, _) = case(&kept, &mut police).await;
    let (urgent, _) = case(&kept, &mut police).await;
    emergency(&kept, &mut police, urgent).await;
    close(&kept, &mut police, urgent).await;
    // Refused, and looked up: two acts.
    let stranger = kept.ground.opening(POLICE, open, &[POLICE]);
    assert_eq!(
        refusal(&state(&mut police, stranger).await.unwrap_err()).code,
        "CASE_ALREADY_OPEN"
    );
    let began = kept.clock.now();
    assert_eq!(kept.whole().await["gone"], serde_json::json!({}));
    let before = [kept.shown(POLICE).await, kept.shown(PARKET).await];

    // A clock that runs away erases nothing: there is no directory of such a day.
    kept.clock.set(began.after_years(50));
    assert_eq!(kept.sweep().await, Swept::default());
    assert_eq!(kept.broker.state().alarms.count("RETENTION_WAITS"), 1);

    // Packets: but not what broke the glass, nor the last contact of a case.
    let known = |sealed: &Sealed| {
        let digest = Digest::of(&sealed.packet.head().manifest.unwrap().bytes);
        (sealed.packet.packet_id, digest)
    };
    kept.goes_at(began.after_years(2), (0, 4, 0)).await;
    let store = Arc::clone(&kept.broker.state().store);
    let (gone, digest) = known(&packets[0]);
    assert!(store.packet(gone).await.unwrap().is_none() && store.outcome(gone).await.unwrap().is_none());
    assert!(matches!(store.known(gone, digest).await.unwrap(), Known::Same(_)));
    assert!(store.packet(known(&packets[1]).0).await.unwrap().is_some());
    // Its evidence is shown and proved as before.
    for (who, before) in [POLICE, PARKET].iter().zip(&before) {
        let all = kept.shown(who).await;
        assert!(before.iter().all(|body| all.contains(body)), "{who}");
    }
    // Sent again it is too old, and it is not delivered a second time.
    let again = submit(&mut police, packets[0].frames()).await.unwrap_err();
    assert!(!refusal(&again).code.is_empty());

    // Acts: the refused statement, the look for damage at the beginning.
    let acts = acts_until(&kept, began).await;
    assert_eq!(acts, 2);
    kept.goes_at(began.after_years(3), (0, 0, acts)).await;

    the_cases(&mut kept, [closed, urgent, open], began).await;
    let left = kept.shown(PARKET).await;
    assert!(left.iter().all(|one| one.case.is_none()), "{left:#?}");
    kept.broker.stop().await.unwrap();
}

/// How many acts were logged up to a moment.
async fn acts_until(kept: &Kept, moment: Timestamp) -> u64 {
    let filter = schakel_broker::admin::Filter::default();
    let rows = Ask::Entries {
        filter,
        after: None,
        last: None,
        limit: 1_000,
        export: false,
    };
    let listed = ask(&kept.ground, rows).await;
    let acts = listed["entries"].as_array().unwrap().iter().filter(|one| {
        let event = one["event"].as_str().unwrap();
        let at = one["at_ms"].as_i64().unwrap();
        ["schakel:AdminAct", "schakel:StatementRejected"].contains(&event) && at <= moment.millis()
    });
    u64::try_from(acts.count()).unwrap()
}

/// A closed case goes; the one with an emergency later; the one that nobody closed last.
async fn the_cases(kept: &mut Kept, [closed, urgent, open]: [CaseRef; 3], began: Timestamp) {
    let store = Arc::clone(&kept.broker.state().store);
    for (case, years) in [(closed, 4), (urgent, 6), (open, 8)] {
        let entries = u64::try_from(kept.entries(case).await).unwrap();
        let told = |all: &[Body]| all.iter().filter(|one| one.event == Event::KeyDestroyed).count();
        let before = told(&kept.shown(PARKET).await);
        assert!(entries >= 7 && kept.key(case, "key"));
        gone_with_its_acts(kept, (case, entries), began.after_years(years)).await;
        assert!(!kept.key(case, "key") && kept.key(case, "erased"));
        let all = kept.shown(PARKET).await;
        assert!(all.iter().all(|one| one.case != Some(case)));
        assert_eq!(told(&all), before + 1);
        assert_eq!(store.facts(case).await.unwrap().count(), 0);
    }
}

/// A case goes at its moment; what the operator looked up years before goes as well.
async fn gone_with_its_acts(kept: &mut Kept, (case, entries): (CaseRef, u64), moment: Timestamp) {
    kept.at(moment.plus_millis(-1)).await;
    kept.sweep().await;
    assert_eq!(
        u64::try_from(kept.entries(case).await).unwrap(),
        entries,
        "before {moment}"
    );
    kept.clock.set(moment);
    let went = kept.sweep().await;
    assert_eq!((went.cases, kept.entries(case).await), (1, 0), "at {moment}");
    assert!(went.entries >= entries);
    kept.whole().await;
}

#[tokio::test]
async fn l12_what_was_erased_by_hand_goes_a_day_later_and_its_evidence_of_others_stays() {
    let mut kept = Kept::new().await;
    let mut police = kept.ground.client(kept.broker.address(), POLICE).await;
    let (erased, packets) = case(&kept, &mut police).await;
    close(&kept, &mut police, erased).await;
    let (other, _) = case(&kept, &mut police).await;
    kept.whole().await;
    let before = kept.shown(POLICE).await;
    let erasing = ask(
        &kept.ground,
        Ask::Erase {
            case: erased.to_string(),
        },
    );
    assert!(erasing.await["leaf"].is_string());
    assert_eq!(kept.sweep().await, Swept::default());
    assert!(kept.entries(erased).await > 0);
    let entries = u64::try_from(kept.entries(erased).await).unwrap();
    kept.at(now().plus_millis(24 * 3_600_000)).await;
    let went = kept.sweep().await;
    assert_eq!((went.cases, went.packets, went.entries), (0, 0, entries));
    let found = kept.whole().await;
    assert_eq!(
        found["gone"],
        serde_json::json!({ "an entry whose retention had ended": entries })
    );
    let all = kept.shown(POLICE).await;
    let others = before.iter().filter(|one| one.case == Some(other));
    assert!(others.clone().count() >= 7, "{before:#?}");
    assert!(others.clone().all(|one| all.contains(one)));
    // A word that comes late finds nothing, and changes nothing.
    let again = police.recall(kept.ground.recall(POLICE, &packets[0])).await;
    assert_eq!(refusal(&again.unwrap_err()).code, "PACKET_UNKNOWN");
    let reopening = kept.ground.statement(POLICE, erased, StatementBody::CaseReopened);
    assert!(state(&mut police, reopening).await.is_err());
    assert_eq!(kept.entries(erased).await, 0);
    kept.broker.stop().await.unwrap();
}

/// Rounds at both at the same moment, until there is nothing more at either: what went at them together.
async fn both(kept: &Kept, other: &Running, at: Timestamp) -> Swept {
    kept.at(at).await;
    schakel_broker::activate::refresh(other.state()).await;
    assert!(other.state().directories.current().fresh(at).is_ok());
    let (mut all, mut places) = (Swept::default(), (Place::default(), Place::default()));
    for _ in 0..100 {
        let (one, two) = (kept.broker.state(), other.state());
        let (one, two) = tokio::join!(sweep(one, &mut places.0), sweep(two, &mut places.1));
        for went in [one.unwrap(), two.unwrap()] {
            all.cases += went.cases;
            all.packets += went.packets;
            all.entries += went.entries;
            all.more = went.more;
        }
        if !all.more {
            return all;
        }
    }
    panic!("no end of it: {all:?}");
}

at_each_site!(l12_of_two_brokers_one_lets_each_thing_go_and_it_is_said_once);

async fn l12_of_two_brokers_one_lets_each_thing_go_and_it_is_said_once(site: Site) {
    let kept = Kept::on(Some(&site)).await;
    let other = site.broker_at(&kept.ground, "b", kept.clock.clone()).await;
    let mut police = kept.ground.client(other.address(), POLICE).await;
    let mut cases = Vec::new();
    for _ in 0..2 {
        cases.push(case(&kept, &mut police).await.0);
    }
    // Nobody fetches this one: both end it.
    let parts = [("measures", &b"huisverbod"[..], &[PARKET][..])];
    for one in &cases {
        let sealed = kept.ground.seal(POLICE, *one, &[PARKET], &parts);
        submit(&mut police, sealed.frames()).await.unwrap();
        close(&kept, &mut police, *one).await;
    }
    let began = kept.clock.now();
    kept.at(began.plus_millis(20 * 24 * 3_600_000)).await;
    let sweeps = [kept.broker.state(), other.state()].map(|state| schakel_broker::expire::sweep(state));
    for swept in futures_util::future::join_all(sweeps).await {
        swept.unwrap();
    }
    let count = async |event: Event| {
        let events = several::events(&kept.ground, &kept.broker).await;
        several::count(&events, event)
    };
    assert_eq!(count(Event::Expired).await, 2);
    let mut went = Swept::default();
    for years in [3, 4, 5] {
        let one = both(&kept, &other, began.after_years(years)).await;
        went.cases += one.cases;
        went.packets += one.packets;
        went.entries += one.entries;
    }
    assert_eq!((went.cases, count(Event::KeyDestroyed).await), (2, 2));
    let said = kept.shown(POLICE).await;
    assert!(said.iter().all(|one| one.case.is_none()), "{said:#?}");
    // More that went than was said would be wrong, and is looked for.
    kept.whole().await;
    let erased = several::left_out(&kept.ground, &kept.broker, Event::RecordsErased).await;
    assert_eq!(erased, went.packets + went.entries);
    kept.broker.stop().await.unwrap();
    other.stop().await.unwrap();
}
