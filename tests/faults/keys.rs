//! A recipient's key is no longer good while packets that were sealed to it are on their way.

use prost::Message;
use schakel_proto::ids::CaseRef;
use schakel_proto::wire;
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;

use crate::turn;

const POLICE: &str = "pz-rupel";
const PROSECUTOR: &str = "parket-antwerpen";

/// The prosecutor gets a new key, and the directory does not list the former one any more; its version.
fn revoke(town: &Town) -> u64 {
    let (network, id) = (town.network(), agency(PROSECUTOR));
    network.rotate_openpgp(&id, now()).unwrap();
    let only_new = |directory: &mut wire::Directory| {
        let entry = directory
            .agencies
            .iter_mut()
            .find(|entry| entry.id == PROSECUTOR)
            .unwrap();
        entry.certificates.truncate(1);
    };
    let signed = network.issue_changed(now(), only_new).unwrap();
    std::fs::write(network.directory_file(), signed.encode_to_vec()).unwrap();
    network.directory(now()).unwrap().version()
}

/// The key that a delivery was sealed to, as its sender signed it.
fn sealed_to(office: &Office, packet: &str) -> Vec<u8> {
    let folder = office.data().join("inbox").join(packet);
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    let mut hand_overs = files.filter(|file| file.file_name() == "hand-over.bin");
    let bytes = std::fs::read(hand_overs.next().unwrap().path()).unwrap();
    let opening = wire::HandOver::decode(&*bytes).unwrap().recipient.unwrap();
    wire::RecipientDescriptor::decode(opening.descriptor)
        .unwrap()
        .key
        .to_vec()
}

/// The key that the directory has senders seal to.
fn key(town: &Town) -> Vec<u8> {
    let directory = town.network().directory(now()).unwrap();
    let sealing = directory
        .agency(&agency(PROSECUTOR))
        .unwrap()
        .sealing_key()
        .unwrap();
    sealing.fingerprint().as_bytes().to_vec()
}

/// The prosecutor keeps its former key, for what it has.
fn keep_former(town: &Town) {
    let folder = town.network().agent_key_file(&agency(PROSECUTOR));
    let files = std::fs::read_dir(folder.parent().unwrap()).unwrap().flatten();
    let kept = files
        .map(|entry| entry.path())
        .find(|path| path.to_str().unwrap().contains("openpgp.key."))
        .unwrap();
    let config = town.network().agent_config(&agency(PROSECUTOR));
    let before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("former_openpgp_keys = [{kept:?}]\n{before}")).unwrap();
}

fn await_version(office: &Office, version: u64) {
    wait::until("a newer directory", || {
        let status = office.ask("GET", "/v1/status", None);
        (status["directory_version"].as_u64() == Some(version)).then_some(())
    });
}

#[test]
fn i04_a_key_revoked_while_packets_are_in_flight_gets_none_of_them() {
    let _turn = turn::take();
    let mut town = Town::running(&[POLICE, PROSECUTOR]);
    let mut rng = seeded();
    let [police, prosecutor] = [POLICE, PROSECUTOR].map(|id| Office::of(&town, id));
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &[POLICE, PROSECUTOR]);
    let file = town.scratch("files").join("feiten.txt");
    std::fs::write(&file, "Vaststellingen.").unwrap();
    let parts = [Document::new("facts_summary", &file)];
    let order = Office::order(case, &[PROSECUTOR], ("prosecution", "legal_duty"), &parts);
    let delivered = police.send(&order);
    prosecutor.received(&delivered);
    let before = police.packet(&delivered, "settled");
    assert_eq!(before["outcomes"][0]["key_revoked"], false);
    assert_eq!(prosecutor.received(&delivered)["key_revoked"], false);
    let former = key(&town);
    assert_eq!(sealed_to(&prosecutor, &delivered), former);
    town.take_agent(PROSECUTOR).stop();
    let flying: Vec<String> = (0..3).map(|_| police.send(&order)).collect();
    for packet in &flying {
        police.packet(packet, "accepted");
    }

    let version = revoke(&town);
    assert_ne!(key(&town), former);
    await_version(&police, version);
    keep_former(&town);
    town.start_agent(PROSECUTOR);

    for packet in &flying {
        let (_, _, state, reason) = outcomes(&police.packet(packet, "settled")).remove(0);
        assert_eq!(
            (state.as_str(), reason.as_str()),
            ("denied", "DENY_RECIPIENT_KEY_REVOKED"),
            "{packet}"
        );
    }
    // What was delivered before stays, and both sides see that the key it was sealed to is good no more.
    let marked = police.packet(&delivered, "settled");
    assert_eq!(marked["outcomes"][0]["key_revoked"], true);
    assert_eq!(prosecutor.received(&delivered)["key_revoked"], true);
    let after = police.send(&order);
    assert_eq!(prosecutor.received(&after)["key_revoked"], false);
    assert_eq!(
        sealed_to(&prosecutor, &after),
        key(&town),
        "the former key takes no more"
    );
    let mut inbox: Vec<String> = prosecutor.inbox().iter().map(|one| text(one, "packet")).collect();
    inbox.sort();
    assert_eq!(
        inbox,
        [delivered.clone(), after.clone()],
        "what was delivered stays, what flew did not land"
    );
    for packet in [delivered, after] {
        let part = text(&prosecutor.received(&packet)["parts"][0], "part");
        assert_eq!(
            prosecutor.open(&packet, &part, &town.scratch("out")),
            b"Vaststellingen."
        );
    }
}
