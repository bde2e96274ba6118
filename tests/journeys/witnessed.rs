//! Receipts on real processes: provisional while too few witnesses are there, witnessed when there are enough, and so for
//! good.

use std::time::Duration;

use schakel_agent::evidence::verify::{Anchor, verify};
use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::{Town, now};
use schakel_tests::system::office::{Document, Office, text};
use schakel_tests::system::pack::exported;
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;
use serde_json::Value;

const FEW: &[&str] = &["pz-rupel", "parket-antwerpen", "ocmw-boom"];
const MORE: &[&str] = &["pz-rupel-opvolgcel", "casusregisseur-rupel"];

/// What an agency is told of a packet's receipts: its acceptance, and each outcome.
fn standings(office: &Office, packet: &str) -> Vec<Value> {
    let told = office.ask("GET", &format!("/v1/packets/{packet}"), None);
    let outcomes = told["outcomes"].as_array().unwrap().iter();
    outcomes
        .map(|outcome| outcome["receipt"]["standing"].clone())
        .chain([told["receipt"]["standing"].clone()])
        .collect()
}

fn standing(office: &Office, packet: &str) -> Value {
    let told = office.ask("GET", &format!("/v1/packets/{packet}"), None);
    for outcome in told["outcomes"].as_array().unwrap() {
        assert!(["witnessed", "provisional"].contains(&outcome["receipt"]["standing"].as_str().unwrap()));
    }
    told["receipt"].clone()
}

#[test]
fn l08_receipts_are_provisional_while_too_few_witnesses_are_there_and_then_witnessed_for_good() {
    let mut town = Town::running(FEW);
    let directory = town.network().directory(now()).unwrap();
    let watch = directory.log().watch();
    assert!(FEW.len() < watch.needed() && FEW.len() + MORE.len() >= watch.needed());
    let mut rng = seeded();
    let scratch = town.scratch("files");
    let file = scratch.join("feiten.txt");
    std::fs::write(&file, "Fictief verslag.").unwrap();
    let police = Office::of(&town, "pz-rupel");
    let case = CaseRef::random(&mut rng);
    police.open_case(case, FEW);
    let parts = [Document::new("facts_summary", &file)];
    let order = Office::order(case, &["parket-antwerpen"], ("prosecution", "legal_duty"), &parts);
    let packet = police.send(&order);
    let settled = police.packet(&packet, "settled");
    assert_eq!(
        text(&settled, "state"),
        "settled",
        "everything goes on without enough witnesses"
    );
    // Each of them cosigns; the three are not enough, however long they are alone.
    wait::until("a cosignature", || {
        let status = police.ask("GET", "/v1/status", None);
        (!status["witness"]["cosigned_size"].is_null()).then_some(())
    });
    std::thread::sleep(Duration::from_secs(7));
    let receipt = standing(&police, &packet);
    assert_eq!(receipt["standing"], "provisional", "{receipt:#}");
    for agency in MORE {
        town.start_agent(agency);
    }
    wait::until("witnessed receipts", || {
        let all = standings(&police, &packet);
        all.iter().all(|one| one == "witnessed").then_some(())
    });
    let receipt = standing(&police, &packet);
    assert!(
        receipt["by"].as_array().unwrap().len() >= watch.needed(),
        "{receipt:#}"
    );
    assert_eq!(receipt["words"]["fr"], "attesté par les témoins");
    let pack = exported(&town, "pz-rupel", &packet, &[]);
    let anchor = Anchor {
        authority: Some(town.network().authority().unwrap()),
        network: None,
        directory: None,
    };
    let report = verify(&pack, &anchor).unwrap();
    assert!(
        report.is_good() && report.told.iter().all(|told| told.witnessed),
        "{}",
        report.to_text("en")
    );
    // They go again: what is witnessed stays so, what comes is provisional.
    for agency in MORE {
        town.take_agent(agency).kill();
    }
    let next = police.send(&order);
    police.packet(&next, "settled");
    assert_eq!(standing(&police, &packet)["standing"], "witnessed");
    assert_eq!(standing(&police, &next)["standing"], "provisional");
}
