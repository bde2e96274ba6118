//! The sending agent decides first: what its own rules do not let go is sealed to nobody.

use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, outcomes};
use schakel_tests::system::told::seeded;

const CELL: &str = "pz-rupel-opvolgcel";
const PARKET: &str = "parket-antwerpen";

#[test]
fn what_a_recipient_may_not_have_is_not_sealed_to_it() {
    let town = Town::running(&["pz-rupel", CELL, PARKET]);
    let mut rng = seeded();
    let [police, cell, prosecutor] = ["pz-rupel", CELL, PARKET].map(|id| Office::of(&town, id));
    let folder = town.scratch("files");
    let [summary, file] = ["samenvatting.txt", "dossier.txt"].map(|name| folder.join(name));
    std::fs::write(&summary, "Wat beiden mogen weten.").unwrap();
    std::fs::write(&file, "Wat alleen het parket mag weten.").unwrap();
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &["pz-rupel", CELL, PARKET]);
    let parts = [
        Document::new("facts_summary", &summary),
        Document::new("investigation_file", &file),
    ];
    let packet = police.send(&Office::order(
        case,
        &[CELL, PARKET],
        ("triage", "legal_duty"),
        &parts,
    ));
    for office in [&cell, &prosecutor] {
        office.received(&packet);
    }
    let record = police.packet(&packet, "settled");
    let all = outcomes(&record);
    let of = |who: &str, what: &str| {
        let one = all.iter().find(|o| o.0 == who && o.1 == what).unwrap();
        (one.2.clone(), one.3.clone())
    };
    assert_eq!(of(PARKET, "investigation_file").0, "received");
    assert_eq!(of(CELL, "facts_summary").0, "received");
    assert_eq!(
        of(CELL, "investigation_file"),
        ("withheld".to_owned(), "WITHHOLD_SENDER_NOT_ENTITLED".to_owned()),
        "{record:#}"
    );
    let own = |o: &serde_json::Value| o["own"].as_bool().unwrap();
    let decided_here: Vec<bool> = record["outcomes"].as_array().unwrap().iter().map(own).collect();
    assert_eq!(decided_here.iter().filter(|own| **own).count(), 1, "{record:#}");
    // What the broker got says the same: one key packet less than parts times recipients.
    let head = police.data().join("outbox").join(&packet).join("head.bin");
    let head: schakel_proto::wire::SubmitHead =
        prost::Message::decode(&*std::fs::read(head).unwrap()).unwrap();
    let sealed = schakel_proto::packet::parse::ParsedSubmission::parse(&head).unwrap();
    let keys: usize = sealed
        .sealings()
        .map(|sealing| sealing.key_packet_digests.len())
        .sum();
    assert!(keys >= 3, "{keys}");
    assert_eq!(cell.inbox()[0]["parts"].as_array().unwrap().len(), 1);
}

#[test]
fn what_nobody_may_have_stays_here_and_says_why() {
    let town = Town::running(&["pz-rupel"]);
    let mut rng = seeded();
    let police = Office::of(&town, "pz-rupel");
    let file = town.scratch("files").join("dossier.txt");
    std::fs::write(&file, "Voor niemand buiten de zaak.").unwrap();
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &["pz-rupel"]);
    let parts = [Document::new("measures", &file)];
    let order = Office::order(
        case,
        &["caw-rupel"],
        ("victim_support", "public_interest_task"),
        &parts,
    );
    let packet = police.send(&order);
    let record = police.packet(&packet, "settled");
    let (_, _, state, reason) = outcomes(&record).remove(0);
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("denied", "DENY_RECIPIENT_NOT_IN_CASE"),
        "{record:#}"
    );
    assert_eq!(record["refusal"]["code"], "DENIED");
    assert_eq!(
        record["refusal"]["recipients"][0]["reason"],
        "DENY_RECIPIENT_NOT_IN_CASE"
    );
    let folder = police.data().join("outbox").join(&packet);
    let kept: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(kept, ["state.json"], "nothing was sealed");
    assert!(
        !std::fs::read_to_string(town.broker_log())
            .unwrap()
            .contains(&packet),
        "the broker never heard of it"
    );
}
