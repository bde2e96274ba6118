//! The inbox on a disk that stops after every possible step: a hand-over is there whole or not at all, and
//! after it came again it is there once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use schakel_agent::clock::randomness;
use schakel_agent::config::AtRest;
use schakel_agent::disk::Disk;
use schakel_agent::inbox::Inbox;
use schakel_agent::inbox::accept::Answering;
use schakel_agent::inbox::quarantine::QuarantineMax;
use schakel_agent::inbox::record::Delivery;
use schakel_agent::inbox::verify::{Context, Rejection, prove, verify};
use schakel_agent::keyring::Keyring;
use schakel_agent::problem::Problem;
use schakel_proto::ids::CaseRef;
use schakel_proto::wire;
use schakel_proto::wire::receive_frame::Frame;

use crate::support::ledger::Ledger;
use crate::support::parcel::{CONTENT, Parcel, RECIPIENT, facts, parcel};
use crate::support::town::{Town, agency, now};

/// One hand-over of a parcel.
struct Handed {
    offer: wire::Offer,
    chunks: Vec<wire::Chunk>,
    hand_over: wire::HandOver,
}

fn handed(town: &Town, parcel: &Parcel, ledger: &mut Ledger, facts: &wire::CaseFacts) -> Handed {
    handed_as(parcel, ledger, parcel.decision(town, facts))
}

fn handed_as(parcel: &Parcel, ledger: &mut Ledger, decision: wire::Decision) -> Handed {
    let submission = parcel.submit(ledger);
    let consignment = parcel.consign(ledger, decision, |_| {});
    let (mut offer, mut chunks, mut hand_over) = (None, Vec::new(), None);
    for frame in parcel.hand_over(ledger, submission, consignment) {
        match frame {
            Frame::Offer(one) => offer = Some(one),
            Frame::Chunk(one) => chunks.push(one),
            Frame::HandOver(one) => hand_over = Some(one),
            _ => {}
        }
    }
    Handed {
        offer: offer.unwrap(),
        chunks,
        hand_over: hand_over.unwrap(),
    }
}

/// The answers that are still to be sent, as they would be with this keyring.
fn open_answers(town: &Town, inbox: &Inbox, keyring: &Keyring) -> Vec<(Arc<Delivery>, wire::Signed)> {
    let (directory, me) = (town.directory(), agency(RECIPIENT));
    let answering = Answering {
        network: directory.network().as_str(),
        agency: me.as_str(),
        keyring,
        checkpoint: None,
        now: now(),
    };
    inbox.open_answers(&answering).unwrap()
}

/// Takes a hand-over from its first frame to the stored answer.
fn take(town: &Town, disk: Disk, data: &Path, at_rest: AtRest, handed: &Handed) -> Result<(), Problem> {
    let keyring = Keyring::new(town.keys(RECIPIENT), Vec::new());
    take_with(town, keyring, disk, data, at_rest, handed)
}

fn take_with(
    town: &Town,
    keyring: Keyring,
    disk: Disk,
    data: &Path,
    at_rest: AtRest,
    handed: &Handed,
) -> Result<(), Problem> {
    take_slowly(town, keyring, (disk, data, at_rest), handed, || 0)
}

/// Takes it; `between` happens between the check and the answer and gives the milliseconds that pass.
fn take_slowly(
    town: &Town,
    keyring: Keyring,
    (disk, data, at_rest): (Disk, &Path, AtRest),
    handed: &Handed,
    between: impl FnOnce() -> i64,
) -> Result<(), Problem> {
    take_into(
        &Inbox::open(disk, data, at_rest, QuarantineMax::default())?,
        town,
        &keyring,
        handed,
        between,
    )
}

fn take_into(
    inbox: &Inbox,
    town: &Town,
    keyring: &Keyring,
    handed: &Handed,
    between: impl FnOnce() -> i64,
) -> Result<(), Problem> {
    let directory = town.directory();
    let me = agency(RECIPIENT);
    let mut incoming = inbox.begin(&handed.offer)?;
    for chunk in &handed.chunks {
        incoming.chunk(chunk)?;
    }
    let context = Context {
        network: directory.network(),
        agency: &me,
        directory: &directory,
        shards: directory.log().shards(),
        keys: keyring,
        now: now(),
    };
    let proved = prove(&incoming, &handed.hand_over, &context)?;
    let verified = match verify(&incoming, &handed.hand_over, proved, &context) {
        Ok(verified) => verified,
        Err(Rejection::Unproved(problem)) => return Err(problem),
        Err(Rejection::Unsound(unsound)) => panic!("not the sender's fault: {}", unsound.1),
    };
    let answering = Answering {
        network: directory.network().as_str(),
        agency: me.as_str(),
        keyring,
        checkpoint: None,
        now: now().plus_millis(between()),
    };
    inbox
        .accept(incoming, &handed.hand_over, &verified, Some(true), &answering)
        .map(|_| ())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.map(|e| e.unwrap().path());
    paths
        .flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] })
        .collect()
}

fn stops(at_rest: AtRest) {
    let town = Town::new(1);
    let case = CaseRef::random(&mut randomness());
    let (facts, mut ledger) = (facts(&town, case, &["pz-rupel", RECIPIENT]), Ledger::new(&town));
    let parcel = parcel(&town, case, 2);
    let first = handed(&town, &parcel, &mut ledger, &facts);
    let second = handed(&town, &parcel, &mut ledger, &facts);
    let keyring = Keyring::new(town.keys(RECIPIENT), Vec::new());
    let mut steps = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::stopping_after(steps);
        let done = take(&town, disk, dir.path(), at_rest, &first).is_ok();
        // Restart: what is there is whole, with an answer that can be sent.
        let inbox = Inbox::open(Disk::default(), dir.path(), at_rest, QuarantineMax::default()).unwrap();
        let open = open_answers(&town, &inbox, &keyring);
        assert_eq!(open.len(), inbox.all().len());
        for (delivery, signed) in open {
            assert_eq!(delivery.parts.len(), 2);
            let said = wire::Acknowledgement::decode(&*signed.bytes).unwrap();
            assert_eq!((said.outcome.as_str(), said.part_ids.len()), ("received", 2));
            for part in &delivery.parts {
                let file = inbox
                    .folder(delivery.packet, &delivery.consignment)
                    .join(&part.file);
                assert!(std::fs::metadata(file).unwrap().len() >= CONTENT.len() as u64);
            }
        }
        assert!(!done || inbox.all().len() == 1, "what was taken is there");
        let half = files(dir.path())
            .into_iter()
            .find(|f| f.to_string_lossy().contains("/.new-"));
        assert_eq!(half, None, "stopped after {steps}");
        assert!(files(&dir.path().join("spool")).is_empty());
        drop(inbox);
        // The broker hands it over again: each part is there once.
        take(&town, Disk::default(), dir.path(), at_rest, &second).unwrap();
        let parts = files(&dir.path().join("inbox"))
            .into_iter()
            .filter(|f| f.file_name().unwrap().to_string_lossy().starts_with("part-"));
        assert_eq!(parts.count(), 2, "stopped after {steps}");
        let inbox = Inbox::open(Disk::default(), dir.path(), at_rest, QuarantineMax::default()).unwrap();
        assert_eq!(
            open_answers(&town, &inbox, &keyring).len(),
            1,
            "only the newest answer is open"
        );
        if done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20, "every sync, rename and creation is a step: {steps}");
}

#[test]
fn d04_d06_an_inbox_sealed_at_rest_survives_a_stop_at_every_step() {
    stops(AtRest::Sealed);
}

#[test]
fn d04_d06_a_plain_inbox_survives_a_stop_at_every_step() {
    stops(AtRest::Plain);
}

#[test]
fn c12_a_plain_inbox_names_files_by_our_own_ids_and_keeps_them_private() {
    use std::os::unix::fs::PermissionsExt;
    let town = Town::new(1);
    let case = CaseRef::random(&mut randomness());
    let (facts, mut ledger) = (facts(&town, case, &["pz-rupel", RECIPIENT]), Ledger::new(&town));
    let parcel = parcel(&town, case, 1);
    let handed = handed(&town, &parcel, &mut ledger, &facts);
    let dir = tempfile::tempdir().unwrap();
    take(&town, Disk::default(), dir.path(), AtRest::Plain, &handed).unwrap();
    let name = format!("{}.bin", parcel.parts[0]);
    let file = files(dir.path())
        .into_iter()
        .find(|f| f.file_name().unwrap().to_string_lossy() == name)
        .unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), CONTENT);
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let inbox = Inbox::open(
        Disk::default(),
        dir.path(),
        AtRest::Plain,
        QuarantineMax::default(),
    )
    .unwrap();
    let delivery = inbox.all().remove(0);
    let header = inbox.kept_header(&delivery, &delivery.parts[0]).unwrap().unwrap();
    assert!(header.ends_with(&wire::SealedHeader::decode(&header[4..]).unwrap().salt));
    let names = inbox.all()[0].parts[0].names.clone().unwrap();
    assert_eq!(names.file_name, "verslag.txt");
}

#[test]
fn i05_what_was_sealed_to_a_former_key_is_opened_with_it() {
    let town = Town::new(1);
    let case = CaseRef::random(&mut randomness());
    let (facts, mut ledger) = (facts(&town, case, &["pz-rupel", RECIPIENT]), Ledger::new(&town));
    let parcel = parcel(&town, case, 1);
    let former = town.keys(RECIPIENT);
    town.network.rotate_openpgp(&agency(RECIPIENT), now()).unwrap();
    let handed = handed(&town, &parcel, &mut ledger, &facts);
    let dir = tempfile::tempdir().unwrap();
    let lost = Keyring::new(town.keys(RECIPIENT), Vec::new());
    let problem = take_with(&town, lost, Disk::default(), dir.path(), AtRest::Plain, &handed).unwrap_err();
    assert_eq!(
        problem.code, "SECRET_KEY_MISSING",
        "our own lack is not answered as the sender's fault"
    );
    let both = Keyring::new(town.keys(RECIPIENT), vec![former]);
    take_with(&town, both, Disk::default(), dir.path(), AtRest::Plain, &handed).unwrap();
    let name = format!("{}.bin", parcel.parts[0]);
    let stored = files(dir.path())
        .into_iter()
        .find(|f| f.ends_with(&name))
        .unwrap();
    assert_eq!(std::fs::read(stored).unwrap(), CONTENT);
}

#[test]
fn l06_an_answer_signed_with_a_former_key_is_signed_anew_and_kept_so() {
    let town = Town::new(1);
    let case = CaseRef::random(&mut randomness());
    let (facts, mut ledger) = (facts(&town, case, &["pz-rupel", RECIPIENT]), Ledger::new(&town));
    let parcel = parcel(&town, case, 1);
    let handed = handed(&town, &parcel, &mut ledger, &facts);
    let dir = tempfile::tempdir().unwrap();
    take(&town, Disk::default(), dir.path(), AtRest::Sealed, &handed).unwrap();
    let former = Keyring::new(town.keys(RECIPIENT), Vec::new());
    let answer = |keyring: &Keyring| {
        let inbox = Inbox::open(
            Disk::default(),
            dir.path(),
            AtRest::Sealed,
            QuarantineMax::default(),
        )
        .unwrap();
        open_answers(&town, &inbox, keyring).remove(0).1
    };
    let first = answer(&former);
    assert_eq!(first, answer(&former), "the same bytes while the key is ours");
    town.network.rotate_openpgp(&agency(RECIPIENT), now()).unwrap();
    let current = Keyring::new(town.keys(RECIPIENT), Vec::new());
    let anew = answer(&current);
    assert_ne!(first, anew);
    assert_eq!(anew, answer(&current), "signed anew once, then kept");
    let said = wire::Acknowledgement::decode(&*anew.bytes).unwrap();
    let before = wire::Acknowledgement::decode(&*first.bytes).unwrap();
    assert_eq!(
        *said.recipient_key,
        *town.keys(RECIPIENT).fingerprint().as_bytes()
    );
    assert_eq!(
        (&said.consignment_leaf, &said.outcome, &said.part_ids),
        (&before.consignment_leaf, &before.outcome, &before.part_ids)
    );
    let directory = town.directory();
    let keys = directory.agency(&agency(RECIPIENT)).unwrap();
    let keys = keys.signing_keys(&town.keys(RECIPIENT).fingerprint()).unwrap();
    keys.verify(&anew.bytes, &anew.signature, now()).unwrap();
}

#[test]
fn a_delivery_is_recorded_with_the_directory_and_the_moment_it_was_verified_with() {
    let town = Town::new(1);
    let case = CaseRef::random(&mut randomness());
    let (facts, mut ledger) = (facts(&town, case, &["pz-rupel", RECIPIENT]), Ledger::new(&town));
    let parcel = parcel(&town, case, 1);
    let handed = handed(&town, &parcel, &mut ledger, &facts);
    let dir = tempfile::tempdir().unwrap();
    let before = now();
    // Between the check and the answer a newer directory comes, and time passes.
    let keyring = Keyring::new(town.keys(RECIPIENT), Vec::new());
    let (at_rest, disk) = (AtRest::Sealed, Disk::default());
    let between = || {
        town.network.refresh(now()).unwrap();
        3_600_000
    };
    take_slowly(&town, keyring, (disk, dir.path(), at_rest), &handed, between).unwrap();
    let inbox = Inbox::open(Disk::default(), dir.path(), at_rest, QuarantineMax::default()).unwrap();
    let delivery = &inbox.all()[0];
    assert_eq!(delivery.directory_version, 1);
    assert!((before.millis()..=now().millis()).contains(&delivery.at_ms));
}

#[test]
fn p11_nothing_is_accepted_by_a_directory_that_is_out_of_date() {
    let town = Town::new(1);
    let case = CaseRef::random(&mut randomness());
    let (facts, mut ledger) = (facts(&town, case, &["pz-rupel", RECIPIENT]), Ledger::new(&town));
    let parcel = parcel(&town, case, 1);
    let handed = handed(&town, &parcel, &mut ledger, &facts);
    let dir = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(
        Disk::default(),
        dir.path(),
        AtRest::Sealed,
        QuarantineMax::default(),
    )
    .unwrap();
    let incoming = inbox.begin(&handed.offer).unwrap();
    let (me, keys) = (agency(RECIPIENT), Keyring::new(town.keys(RECIPIENT), Vec::new()));
    let short = town.network.issue_changed(now(), |directory| {
        directory.valid_until_ms = now().millis() + 60_000;
    });
    std::fs::write(town.network.directory_file(), short.unwrap().encode_to_vec()).unwrap();
    let directory = town.directory();
    let at = |now| Context {
        network: directory.network(),
        agency: &me,
        directory: &directory,
        shards: directory.log().shards(),
        keys: &keys,
        now,
    };
    assert!(prove(&incoming, &handed.hand_over, &at(now())).is_ok());
    let late = now().plus_millis(60_001);
    let problem = prove(&incoming, &handed.hand_over, &at(late)).unwrap_err();
    assert_eq!(problem.code, "DIRECTORY_EXPIRED");
    assert!(
        problem.is_temporary(),
        "it comes again, and may be accepted by a newer one"
    );
}

#[test]
fn d04_d07_a_step_that_fails_once_leaves_each_part_there_once() {
    let town = Town::new(1);
    let case = CaseRef::random(&mut randomness());
    let (facts, mut ledger) = (facts(&town, case, &["pz-rupel", RECIPIENT]), Ledger::new(&town));
    let parcel = parcel(&town, case, 2);
    let first = handed(&town, &parcel, &mut ledger, &facts);
    let second = handed(&town, &parcel, &mut ledger, &facts);
    let keyring = Keyring::new(town.keys(RECIPIENT), Vec::new());
    for steps in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::failing_once_after(steps);
        let Ok(inbox) = Inbox::open(disk, dir.path(), AtRest::Sealed, QuarantineMax::default()) else {
            continue;
        };
        // The same agent goes on, and is handed it over again.
        if take_into(&inbox, &town, &keyring, &first, || 0).is_ok() {
            assert!(steps > 20, "every sync, rename and creation is a step: {steps}");
            return;
        }
        inbox.empty_spool().unwrap();
        let left = files(&dir.path().join("inbox"));
        let unfinished = left.iter().find(|f| f.to_string_lossy().contains("/.new-"));
        assert_eq!(unfinished, None, "step {steps} failed and left it");
        take_into(&inbox, &town, &keyring, &second, || 0).unwrap();
        drop(inbox);
        Inbox::open(
            Disk::default(),
            dir.path(),
            AtRest::Sealed,
            QuarantineMax::default(),
        )
        .unwrap();
        let parts = files(&dir.path().join("inbox"))
            .into_iter()
            .filter(|f| f.file_name().unwrap().to_string_lossy().starts_with("part-"));
        assert_eq!(parts.count(), 2, "step {steps} failed");
    }
}

#[test]
fn d04_whatever_stops_us_nothing_is_answered_that_does_not_bind() {
    let town = Town::new(1);
    let case = CaseRef::random(&mut randomness());
    let (facts, mut ledger) = (facts(&town, case, &["pz-rupel", RECIPIENT]), Ledger::new(&town));
    let parcel = parcel(&town, case, 1);
    let first = handed(&town, &parcel, &mut ledger, &facts);
    let mut decision = parcel.decision(&town, &facts);
    decision.parts[0].obligations = vec!["no-forward".to_owned()];
    let second = handed_as(&parcel, &mut ledger, decision);
    let keyring = Keyring::new(town.keys(RECIPIENT), Vec::new());
    let mut steps = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        take(&town, Disk::default(), dir.path(), AtRest::Sealed, &first).unwrap();
        let disk = Disk::stopping_after(steps);
        let done = take(&town, disk, dir.path(), AtRest::Sealed, &second).is_ok();
        let inbox = Inbox::open(
            Disk::default(),
            dir.path(),
            AtRest::Sealed,
            QuarantineMax::default(),
        )
        .unwrap();
        let (_, kept) = inbox.part(parcel.sealed.packet_id, parcel.parts[0]).unwrap();
        let open = open_answers(&town, &inbox, &keyring);
        let answers_second = open.iter().any(|(delivery, _)| delivery.parts.is_empty());
        assert!(
            !answers_second || kept.obligations.contains(&"no-forward".to_owned()),
            "stopped after {steps}"
        );
        assert!(!done || answers_second, "the newest answer is open");
        if done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 8, "{steps}");
}

#[test]
fn what_is_handed_over_twice_is_bound_by_both_decisions() {
    for at_rest in [AtRest::Sealed, AtRest::Plain] {
        let town = Town::new(1);
        let case = CaseRef::random(&mut randomness());
        let (facts, mut ledger) = (facts(&town, case, &["pz-rupel", RECIPIENT]), Ledger::new(&town));
        let parcel = parcel(&town, case, 1);
        let dir = tempfile::tempdir().unwrap();
        let kept = || {
            let inbox = Inbox::open(Disk::default(), dir.path(), at_rest, QuarantineMax::default()).unwrap();
            let part = parcel.parts[0];
            inbox.part(parcel.sealed.packet_id, part).unwrap().1
        };
        let first = parcel.decision(&town, &facts);
        let before = first.parts[0].obligations.clone();
        let first = handed_as(&parcel, &mut ledger, first);
        take(&town, Disk::default(), dir.path(), at_rest, &first).unwrap();
        assert_eq!((kept().obligations, kept().mark), (before.clone(), None));
        // Before the answer is settled it is decided anew, on other facts.
        let mut second = parcel.decision(&town, &facts);
        let expiry = "expire-at:2027-01-01T00:00:00Z".to_owned();
        second.parts[0].obligations = vec!["log-access".to_owned(), "no-forward".to_owned(), expiry.clone()];
        let second = handed_as(&parcel, &mut ledger, second);
        take(&town, Disk::default(), dir.path(), at_rest, &second).unwrap();
        let expected = [before, vec!["no-forward".to_owned(), expiry]].concat();
        assert_eq!(kept().obligations, expected, "the same is not there twice");
        assert!(kept().mark.is_some(), "what must not be sent on is recognised");
        // Once more the same: nothing changes.
        let before = (kept().obligations, kept().mark);
        take(&town, Disk::default(), dir.path(), at_rest, &second).unwrap();
        assert_eq!((kept().obligations, kept().mark), before);
    }
}
