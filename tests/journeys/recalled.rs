//! After the hand-over: a ground that ends is known to both sides, an end that was set is kept and proved, and what must
//! not be sent on is not.

use schakel_proto::ids::{CaseRef, SubjectRef};
use schakel_tests::system::network::{Town, now};
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;
use serde_json::{Value, json};

fn about(mut order: Value, subject: SubjectRef) -> Value {
    order["parts"][0]["subjects"] = json!([{ "role": "victim", "age_class": "adult", "subject": subject }]);
    order
}

fn consent(case: CaseRef, subject: SubjectRef) -> Value {
    json!({
        "kind": "give-consent", "case": case, "subject": subject, "subject_role": "victim",
        "categories": ["identity"], "roles": ["caw_victim"], "purposes": ["victim_support"], "informed": true,
    })
}

fn disclosed(office: &Office, query: &str) -> Vec<Value> {
    let answer = office.ask("GET", &format!("/v1/disclosed{query}"), None);
    answer.as_array().unwrap().clone()
}

/// The first part of a received packet, once it is as wanted.
fn part_when(office: &Office, packet: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, || {
        let part = office.received(packet)["parts"][0].clone();
        wanted(&part).then_some(part)
    })
}

#[test]
fn a_consent_withdrawn_after_the_hand_over_is_known_to_both_and_not_to_others() {
    let town = Town::running(&["pz-rupel", "caw-rupel", "parket-antwerpen"]);
    let mut rng = seeded();
    let [police, welfare, prosecutor] =
        ["pz-rupel", "caw-rupel", "parket-antwerpen"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("contact.txt");
    std::fs::write(&file, "Te bereiken op het werk.").unwrap();
    let case = CaseRef::random(&mut rng);
    let [first, second] = [0, 1].map(|_| SubjectRef::random(&mut rng));
    police.open_case(case, &["pz-rupel", "caw-rupel", "parket-antwerpen"]);
    let order = |of| {
        let document = Document::new("identity", &file);
        about(
            Office::order(case, &["caw-rupel"], ("victim_support", "consent"), &[document]),
            of,
        )
    };
    // One consent is shown to the police, which states it; the other only to the CAW, which does.
    let own = police.state(&consent(case, first));
    let theirs = welfare.state(&consent(case, second));
    let [kept, lost] = [second, first].map(|of| police.send(&order(of)));
    for packet in [&kept, &lost] {
        welfare.received(packet);
        assert_eq!(outcomes(&police.packet(packet, "settled"))[0].2, "received");
    }
    assert!(disclosed(&police, "?ended").is_empty(), "nothing has ended yet");
    assert_eq!(disclosed(&police, "").len(), 2);

    let withdraw = |consent: &Value| json!({ "kind": "withdraw-consent", "case": case, "consent": text(consent, "statement") });
    police.state(&withdraw(&own));
    let ended = part_when(&welfare, &lost, "the recipient to be told", |part| {
        !part["ended"].is_null()
    });
    assert_eq!(
        ended["ended"]["reason"], "WITHHOLD_CONSENT_WITHDRAWN",
        "{ended:#}"
    );
    assert_eq!(ended["ended"]["obligation"], "no-further-use");
    let listed = wait::until("the sender's list", || disclosed(&police, "?ended").pop());
    assert_eq!(
        (text(&listed, "packet"), text(&listed, "disclosure")),
        (lost.clone(), "received".to_owned()),
        "{listed:#}"
    );
    assert_eq!(listed["outcome"]["ended"]["reason"], "WITHHOLD_CONSENT_WITHDRAWN");
    assert_eq!(listed["outcome"]["ended"]["own"], true, "{listed:#}");
    assert!(
        welfare.received(&kept)["parts"][0]["ended"].is_null(),
        "the other consent stands"
    );

    // Of a withdrawal that it is not shown the sender learns from the broker, for its own packet only.
    welfare.state(&withdraw(&theirs));
    let both = wait::until("the second one in the sender's list", || {
        let all = disclosed(&police, "?ended");
        (all.len() == 2).then_some(all)
    });
    let second = both.iter().find(|one| one["packet"] == kept.as_str()).unwrap();
    assert_eq!(second["outcome"]["ended"]["own"], false, "{second:#}");
    assert!(disclosed(&prosecutor, "").is_empty());

    taken_and_done(&town, &lost, &text(&ended, "part"));
}

/// People say what they did; the sender has it with evidence, and who opened it is known to have taken it.
fn taken_and_done(town: &Town, lost: &str, part: &str) {
    let [police, welfare] = ["pz-rupel", "caw-rupel"].map(|id| Office::of(town, id));
    welfare.open(lost, part, &town.scratch("out"));
    let done = json!({ "packet": lost, "part": part, "obligation": "no-further-use" });
    welfare.ask("POST", "/v1/inbox/fulfilled", Some(&done));
    let told = wait::until("the evidence at the sender", || {
        let all = disclosed(&police, "");
        let one = all.into_iter().find(|one| one["packet"] == lost)?;
        let has = one["disclosure"] == "taken" && !one["outcome"]["fulfilled"].as_array()?.is_empty();
        has.then_some(one)
    });
    assert_eq!(
        told["outcome"]["fulfilled"][0]["obligation"], "no-further-use",
        "{told:#}"
    );
    let nothing = json!({ "packet": lost, "part": part, "obligation": "dance" });
    let (status, refused) = welfare
        .try_ask("POST", "/v1/inbox/fulfilled", Some(&nothing))
        .unwrap();
    assert_eq!(
        (status, text(&refused, "code").as_str()),
        (422, "OBLIGATION_UNKNOWN")
    );
}

#[test]
fn who_leaves_the_roster_is_told_and_a_closed_case_ends_what_was_handed_over_until_it_is_open_again() {
    let town = Town::running(&["casusregisseur-rupel", "caw-rupel", "ocmw-boom"]);
    let mut rng = seeded();
    let [director, welfare, social] =
        ["casusregisseur-rupel", "caw-rupel", "ocmw-boom"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("plan.txt");
    std::fs::write(&file, "Afspraken voor deze week.").unwrap();
    let case = CaseRef::random(&mut rng);
    let subject = SubjectRef::random(&mut rng);
    let roster = ["casusregisseur-rupel", "caw-rupel", "ocmw-boom"];
    director.open_case(case, &roster);
    let mut consent = consent(case, subject);
    consent["roles"] = json!(["caw_victim", "ocmw"]);
    consent["categories"] = json!(["care_plan"]);
    consent["purposes"] = json!(["care_coordination"]);
    director.state(&consent);
    let document = Document::new("care_plan", &file);
    let parties = ("care_coordination", "shared_secrecy");
    let packet = director.send(&about(
        Office::order(case, &["caw-rupel", "ocmw-boom"], parties, &[document]),
        subject,
    ));
    let record = director.packet(&packet, "settled");
    assert!(outcomes(&record).iter().all(|o| o.2 == "received"), "{record:#}");
    let (status, answer) = director.change_roster(case, &roster[..2]);
    assert_eq!(status, 200, "{answer:#}");
    let told = part_when(&social, &packet, "who left to be told", |part| {
        !part["ended"].is_null()
    });
    assert_eq!(told["ended"]["reason"], "DENY_RECIPIENT_NOT_IN_CASE", "{told:#}");
    let facts = social.try_ask("GET", &format!("/v1/facts/{case}"), None).unwrap();
    assert_eq!(facts.1["code"], "CASE_UNKNOWN", "and told no more than that");
    let ended = |recipient: &str| {
        let all = disclosed(&director, "?ended");
        let one = all
            .into_iter()
            .find(|one| one["outcome"]["recipient"] == recipient)?;
        Some(text(&one["outcome"]["ended"], "reason"))
    };
    wait::until("the sender's list", || ended("ocmw-boom"));
    assert_eq!(ended("caw-rupel"), None);

    director.state(&json!({ "kind": "close-case", "case": case }));
    let told = part_when(&welfare, &packet, "the close", |part| !part["ended"].is_null());
    assert_eq!(told["ended"]["reason"], "DENY_CASE_CLOSED", "{told:#}");
    wait::until("the sender's list", || ended("caw-rupel"));
    director.state(&json!({ "kind": "reopen-case", "case": case }));
    part_when(&welfare, &packet, "the case to be open again", |part| {
        part["ended"].is_null()
    });
    wait::until("the sender's list", || ended("caw-rupel").is_none().then_some(()));
}

/// A part about a house ban of this length, received by the police; none if it ended before.
fn ban(town: &Town, millis: i64) -> Option<(CaseRef, String, String)> {
    let mut rng = seeded();
    let [police, prosecutor] = ["pz-rupel", "parket-antwerpen"].map(|id| Office::of(town, id));
    let file = town.scratch("files").join("huisverbod.txt");
    std::fs::write(&file, "Mag de woning niet betreden.").unwrap();
    let case = CaseRef::random(&mut rng);
    prosecutor.open_case(case, &["parket-antwerpen", "pz-rupel"]);
    let until_ms = now().plus_millis(millis).millis();
    let measure =
        json!({ "kind": "impose-measure", "case": case, "measure": "house_ban", "until_ms": until_ms });
    let measure = text(&prosecutor.state(&measure), "statement");
    let document = Document::new("measures", &file);
    let mut order = Office::order(
        case,
        &["pz-rupel"],
        ("safety_protection", "house_ban"),
        &[document],
    );
    order["measure"] = json!(measure);
    order["parts"][0]["measure"] = json!(measure);
    order["parts"][0]["subjects"][0]["role"] = json!("perpetrator");
    let packet = prosecutor.send(&order);
    let record = prosecutor.packet(&packet, "decided");
    if outcomes(&record)[0].2 != "received" {
        return None;
    }
    police.received(&packet);
    Some((case, measure, packet))
}

/// The part is gone from the recipient's disk, it says so, and its sender has the evidence.
fn is_destroyed(town: &Town, packet: &str) {
    let [police, prosecutor] = ["pz-rupel", "parket-antwerpen"].map(|id| Office::of(town, id));
    let part = part_when(&police, packet, "the part to be destroyed", |part| {
        !part["deleted_ms"].is_null()
    });
    let named = walkdir::WalkDir::new(police.data().join("inbox"))
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("part-"));
    assert_eq!(named.count(), 0, "the sealed copy is gone");
    let out = town.scratch("out").join("te-laat");
    let open = json!({ "packet": packet, "part": text(&part, "part"), "out": out });
    let (status, refused) = police.try_ask("POST", "/v1/inbox/open", Some(&open)).unwrap();
    assert_eq!((status, text(&refused, "code").as_str()), (422, "PART_DESTROYED"));
    assert!(!out.exists());
    let evidence = wait::until("the evidence at the sender", || {
        let outcome = prosecutor.ask("GET", &format!("/v1/packets/{packet}"), None)["outcomes"][0].clone();
        let done = outcome["fulfilled"].as_array()?.first()?.clone();
        Some(done)
    });
    assert!(
        text(&evidence, "obligation").starts_with("expire-at:"),
        "{evidence:#}"
    );
    assert!(evidence["log_index"].as_u64().is_some());
}

#[test]
fn at_the_end_of_a_measure_its_copy_is_destroyed_and_the_sender_has_the_evidence() {
    let mut town = Town::running(&["pz-rupel", "parket-antwerpen"]);
    // As short as this machine allows: it must be in force until it is received.
    let lengths = [5_000, 10_000, 20_000, 40_000];
    let (_, _, packet) = lengths.iter().find_map(|millis| ban(&town, *millis)).unwrap();
    // The agent is down at the end, and the broker when it comes back: nothing is forgotten.
    town.take_agent("pz-rupel").kill();
    wait::until("the end of the measure", || {
        let prosecutor = Office::of(&town, "parket-antwerpen");
        let record = prosecutor.ask("GET", &format!("/v1/packets/{packet}"), None);
        let obligations = record["outcomes"][0]["obligations"].as_array()?.clone();
        let end = obligations
            .iter()
            .find_map(|o| o.as_str()?.strip_prefix("expire-at:").map(str::to_owned))?;
        (end <= now().to_string()).then_some(())
    });
    town.take_broker().kill();
    town.start_agent("pz-rupel");
    let police = Office::of(&town, "pz-rupel");
    part_when(&police, &packet, "the part to be destroyed", |part| {
        !part["deleted_ms"].is_null()
    });
    town.start_broker();
    is_destroyed(&town, &packet);
}

#[test]
fn a_measure_lifted_before_its_end_destroys_its_copy_at_once() {
    let town = Town::running(&["pz-rupel", "parket-antwerpen"]);
    let (case, measure, packet) = ban(&town, 86_400_000).unwrap();
    let lift = json!({ "kind": "lift-measure", "case": case, "measure": measure });
    Office::of(&town, "parket-antwerpen").state(&lift);
    is_destroyed(&town, &packet);
}

#[test]
fn what_was_said_at_the_table_is_not_sent_on() {
    let town = Town::running(&["vh-antwerpen", "caw-rupel", "vk-antwerpen"]);
    let mut rng = seeded();
    let [house, welfare, children] =
        ["vh-antwerpen", "caw-rupel", "vk-antwerpen"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("tafel.txt");
    std::fs::write(&file, "Wat aan tafel gezegd mag worden.").unwrap();
    let case = CaseRef::random(&mut rng);
    house.open_case(case, &["vh-antwerpen", "caw-rupel", "vk-antwerpen"]);
    let table = house.state(&json!({ "kind": "convene-consultation", "case": case, "basis": "decree_vh" }));
    let table = text(&table, "statement");
    for office in [&house, &children, &welfare] {
        office.state(&json!({ "kind": "sign-consultation", "case": case, "consultation": table }));
    }
    let order = |to: &str, file: &std::path::Path| {
        let parts = [Document::new("risk_assessment", file)];
        let mut order = Office::order(case, &[to], ("case_consultation", "consultation"), &parts);
        order["consultation"] = json!(table);
        order
    };
    let packet = children.send(&order("caw-rupel", &file));
    let part = welfare.received(&packet)["parts"][0].clone();
    assert!(
        part["obligations"].to_string().contains("no-onward-sharing"),
        "{part:#}"
    );
    // Opened, and sent under another name: to the house it may not go, back to where it came from it may.
    let copy = town.scratch("files").join("eigen-verslag.txt");
    std::fs::write(
        &copy,
        welfare.open(&packet, &text(&part, "part"), &town.scratch("out")),
    )
    .unwrap();
    let (status, refused) = welfare
        .try_ask("POST", "/v1/packets", Some(&order("vh-antwerpen", &copy)))
        .unwrap();
    assert_eq!(
        (status, text(&refused, "code").as_str()),
        (422, "ONWARD_SHARING"),
        "{refused:#}"
    );
    assert!(
        welfare
            .ask("GET", "/v1/packets", None)
            .as_array()
            .unwrap()
            .is_empty(),
        "nothing was sealed"
    );
    welfare.send(&order("vk-antwerpen", &copy));
    // What is one's own goes to the house; so it was the content that was refused.
    std::fs::write(&copy, "Wat wijzelf zagen.").unwrap();
    welfare.send(&order("vh-antwerpen", &copy));
}
