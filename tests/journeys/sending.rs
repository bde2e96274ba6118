//! A police officer sends to the prosecutor, to the follow-up cell and to welfare: what may go arrives byte for byte,
//! what waits for consent is held, what may not go stays behind, and the sender sees why.

use rand::{Rng, RngCore, rngs::StdRng};
use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::told::seeded;

const ROSTER: &[&str] = &["pz-rupel", "pz-rupel-opvolgcel", "parket-antwerpen", "ocmw-boom"];

fn bytes(rng: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn police_to_prosecutor_and_welfare() {
    let town = Town::running(&["pz-rupel", "parket-antwerpen", "ocmw-boom"]);
    let mut rng = seeded();
    let scratch = town.scratch("files");
    let (small, large) = (scratch.join("feiten.txt"), scratch.join("beelden.bin"));
    let extra = usize::from(rng.random::<u16>());
    let contents = [bytes(&mut rng, 1_234), bytes(&mut rng, 3_000_000 + extra)];
    std::fs::write(&small, &contents[0]).unwrap();
    std::fs::write(&large, &contents[1]).unwrap();
    let [police, prosecutor, welfare] =
        ["pz-rupel", "parket-antwerpen", "ocmw-boom"].map(|id| Office::of(&town, id));
    let case = CaseRef::random(&mut rng);
    police.open_case(case, ROSTER);

    let parts = [
        Document::new("facts_summary", &small),
        Document::new("investigation_file", &large),
    ];
    let order = Office::order(case, &["parket-antwerpen"], ("prosecution", "legal_duty"), &parts);
    let packet = police.send(&order);
    let settled = police.packet(&packet, "settled");
    assert_eq!(text(&settled, "state"), "settled");
    assert!(
        settled["accepted"]["log_index"].is_u64(),
        "the receipt was checked: {settled:#}"
    );
    for (recipient, category, state, reason) in outcomes(&settled) {
        let said = (recipient.as_str(), state.as_str(), reason.as_str());
        assert_eq!(
            said,
            ("parket-antwerpen", "received", "OK_LEGAL_DUTY"),
            "{category}"
        );
    }
    let delivery = prosecutor.received(&packet);
    for part in delivery["parts"].as_array().unwrap() {
        let expected = usize::from(part["category"] == "investigation_file");
        let content = prosecutor.open(&packet, part["part"].as_str().unwrap(), &scratch);
        assert!(content == contents[expected], "{} differs", part["category"]);
    }

    let order = Office::order(
        case,
        &["ocmw-boom"],
        ("victim_support", "consent"),
        &[Document::new("identity", &small)],
    );
    let held = police.packet(&police.send(&order), "decided");
    let (recipient, _, state, reason) = outcomes(&held).remove(0);
    assert_eq!(
        (recipient.as_str(), state.as_str()),
        ("ocmw-boom", "held"),
        "{held:#}"
    );
    assert_eq!(reason, "HOLD_CONSENT_MISSING");
    assert!(welfare.inbox().is_empty(), "what is held is nowhere in the inbox");
}
