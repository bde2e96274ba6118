//! The broker cannot read: marked content, file name, title and person's name are nowhere in its folders, its log or
//! its memory, while the recipients have them. The same search finds the case reference.

use std::collections::BTreeSet;

use rand::RngCore;
use schakel_proto::ids::CaseRef;
use schakel_tests::system::leaves::metrics;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, text};
use schakel_tests::system::scan::{Needles, ids_in_folder, ids_in_memory, memory_is_readable};
use schakel_tests::system::told::{count, seeded, skip};

use crate::turn;

#[test]
fn c19_the_broker_holds_nothing_that_can_be_read() {
    let _turn = turn::take();
    let mut town = Town::rupel();
    let mut command = town.broker_command();
    command.args(["--log-level", "debug"]);
    town.start_broker_as(command);
    for agent in ["pz-rupel", "parket-antwerpen", "casusregisseur-rupel"] {
        town.start_agent(agent);
    }
    let process = town.broker().id();
    if let Err(why) = memory_is_readable(process) {
        return skip(&why);
    }
    let mut rng = seeded();
    let mark = format!("{:016x}", rng.next_u64());
    let texts =
        ["inhoud", "bestandsnaam", "titel", "Vermeersch-Kanarie"].map(|what| format!("{what}-{mark}"));
    let [content, name, title, person] = &texts;
    let file = town.scratch("files").join(format!("{name}.txt"));
    let document = format!("{content}\nGezien en gehoord: {person}, wonende te Boom.\n").repeat(200);
    std::fs::write(&file, &document).unwrap();
    let [police, prosecutor] = ["pz-rupel", "parket-antwerpen"].map(|id| Office::of(&town, id));
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &["pz-rupel", "parket-antwerpen", "casusregisseur-rupel"]);
    let part = Document {
        title,
        ..Document::new("facts_summary", &file)
    };
    let delivered = police.send(&Office::order(
        case,
        &["parket-antwerpen"],
        ("prosecution", "legal_duty"),
        std::slice::from_ref(&part),
    ));
    police.packet(&delivered, "settled");
    // One that stays with the broker: its recipient is not there.
    let waiting = police.send(&Office::order(
        case,
        &["pz-rupel-opvolgcel"],
        ("triage", "legal_duty"),
        &[part],
    ));
    police.packet(&waiting, "accepted");
    check_broker(&town, &texts.each_ref().map(String::as_str), *case.as_bytes());
    // The recipients have all four.
    let delivery = prosecutor.received(&delivered);
    let part = text(&delivery["parts"][0], "part");
    let out = town.scratch("out");
    let request = serde_json::json!({ "packet": delivered, "part": part, "out": out.join("opened") });
    let opened = prosecutor.ask("POST", "/v1/inbox/open", Some(&request));
    assert_eq!(std::fs::read_to_string(out.join("opened")).unwrap(), document);
    assert_eq!(opened["names"]["file_name"], format!("{name}.txt"));
    assert_eq!(opened["names"]["title"], **title);
    count(
        texts.len() as u64,
        "marks in four places of the broker, none found",
    );
}

/// None of the texts is in any place of the broker; the case reference, which it must have, is found by the same means.
fn check_broker(town: &Town, texts: &[&str], reference: [u8; 16]) {
    let process = town.broker().id();
    let needles = Needles::new(texts);
    let found = [
        ("data folder", needles.in_folder(&town.network().broker_data())),
        (
            "erasure keys",
            needles.in_folder(&town.network().broker_folder().join("erasure")),
        ),
        ("log", needles.in_folder(&town.broker_log())),
        ("memory", needles.in_memory(process)),
        ("metrics", told(&metrics(town), texts)),
    ];
    for (place, texts) in found {
        assert!(texts.is_empty(), "in the broker's {place}: {texts:?}");
    }
    // What its and the agents' processes print is read by people who may read no content.
    for log in town.logs() {
        let found = needles.in_folder(&log);
        assert!(found.is_empty(), "in {}: {found:?}", log.display());
    }
    let data = ids_in_folder(&town.network().broker_data(), &[reference]);
    assert!(data.contains(&reference), "control: data folder");
    assert!(
        ids_in_memory(process, &[reference]).contains(&reference),
        "control: memory"
    );
}

fn told(answer: &str, texts: &[&str]) -> BTreeSet<String> {
    let told = texts.iter().filter(|text| answer.contains(**text));
    told.map(|text| (*text).to_owned()).collect()
}
