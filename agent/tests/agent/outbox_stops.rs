//! The outbox on a disk that stops after every possible step: a packet is there whole or not at all, its
//! state only moves forward, and the same steps again end in the same place.

use std::path::Path;
use std::sync::OnceLock;

use schakel_agent::clock::randomness;
use schakel_agent::config::AtRest;
use schakel_agent::disk::Disk;
use schakel_agent::inbox::Inbox;
use schakel_agent::inbox::quarantine::QuarantineMax;
use schakel_agent::outbox::plan::Own;
use schakel_agent::outbox::record::{Accepted, PartState, Record, State};
use schakel_agent::outbox::seal::{Before, Context};
use schakel_agent::outbox::{Bounds, Outbox};
use schakel_agent::problem::{Kind, Problem};
use schakel_agent::request::{PartRequest, SendRequest};
use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;
use schakel_proto::ids::{CaseRef, Digest, PacketId};
use schakel_proto::statement::FactChain;

use crate::support::parcel::{CONTENT, RECIPIENT, SENDER, and_then, facts};
use crate::support::town::{Town, agency, code, now};

const BOUNDS: Bounds = Bounds {
    packets_max_count: 4,
    sealed_max_bytes: 1 << 20,
};

fn request(file: &Path) -> SendRequest {
    let part = PartRequest {
        category: code("risk_assessment"),
        file: file.to_owned(),
        name: None,
        media_type: Some("text/plain".to_owned()),
        title: "Verslag".to_owned(),
        subjects: Vec::new(),
        secrecy: code("none"),
        to: Vec::new(),
        release: None,
        measure: None,
        relevant: None,
        pseudonymous: false,
    };
    SendRequest {
        case: CaseRef::random(&mut randomness()),
        to: vec![agency(RECIPIENT), agency("casusregisseur-rupel")],
        purpose: code("safety_protection"),
        basis: code("public_interest_task"),
        urgency: code("routine"),
        expires_hours: None,
        in_reply_to: None,
        consultation: None,
        mandate: None,
        measure: None,
        report: None,
        break_glass: None,
        parts: vec![part],
    }
}

fn seal(town: &Town, outbox: &Outbox, request: &SendRequest) -> Result<Record, Problem> {
    seal_before(town, outbox, request, None)
}

/// Seals it, in the place of one that was sealed before.
fn seal_before(
    town: &Town,
    outbox: &Outbox,
    request: &SendRequest,
    before: Option<&Record>,
) -> Result<Record, Problem> {
    let (directory, keys, me) = (town.directory(), town.keys(SENDER), agency(SENDER));
    let members = [SENDER, RECIPIENT, "casusregisseur-rupel"];
    let facts = facts(town, request.case, &members);
    let facts = and_then(town, and_then(town, facts, &members, 0), &members, 0);
    let received = tempfile::tempdir().unwrap();
    let received = Inbox::open(
        Disk::default(),
        received.path(),
        AtRest::Sealed,
        QuarantineMax::default(),
    )
    .unwrap();
    let context = Context {
        directory: directory.fresh(now()).unwrap(),
        agency: &me,
        keys: &keys,
        now: now(),
        checkpoint: None,
        own: Own {
            engine: engine(),
            facts: FactChain::check(&facts).unwrap(),
            fresh: true,
        },
        received: &received,
    };
    let before = before.map(|record| Before { record });
    outbox.seal(request, &context, before.as_ref(), &mut randomness())
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::untested(&Bundle::built_in().unwrap()))
}

fn file(town: &Town) -> std::path::PathBuf {
    let file = town.folder().join("verslag.txt");
    std::fs::write(&file, CONTENT).unwrap();
    file
}

#[test]
fn d03_d06_a_packet_is_sealed_whole_or_not_at_all() {
    let town = Town::new(1);
    let request = request(&file(&town));
    let mut steps = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let disk = Disk::stopping_after(steps);
        let opened = Outbox::open(disk, path.clone(), BOUNDS);
        let sealed = opened.and_then(|outbox| seal(&town, &outbox, &request));
        let outbox = Outbox::open(Disk::default(), path.clone(), BOUNDS).unwrap();
        let all = outbox.all();
        assert!(sealed.is_err() || all.len() == 1, "stopped after {steps}");
        for record in &all {
            assert_eq!(
                (record.state, record.roster_version_seen),
                (State::Sealed, Some(3))
            );
            assert_eq!(record.outcomes.len(), 2);
            let head = outbox.head(&record.packet).unwrap();
            assert_eq!(Digest::of(&head.manifest.unwrap().bytes), record.manifest_digest);
            assert_eq!(outbox.key_packets(&record.packet).unwrap().key_packets.len(), 2);
            let folder = outbox.folder(record.packet);
            let part = record.parts[0].part;
            assert!(
                folder.join(format!("{part}.v6")).is_file(),
                "sealed for the prosecutor"
            );
            assert!(
                folder.join(format!("{part}.v4")).is_file(),
                "sealed for the agency that uses GnuPG"
            );
        }
        let left = std::fs::read_dir(&path).unwrap().count();
        assert_eq!(left, all.len(), "no half packet is left, stopped after {steps}");
        if sealed.is_ok() {
            break;
        }
        steps += 1;
        assert!(steps < 1_000, "{:?}", sealed.err());
    }
    assert!(steps > 15, "every sync, rename and creation is a step: {steps}");
}

#[test]
fn d03_d07_what_was_not_sealed_for_a_step_that_failed_is_not_sent_after_a_restart() {
    let town = Town::new(1);
    let request = request(&file(&town));
    for steps in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let opened = Outbox::open(Disk::failing_once_after(steps), path.clone(), BOUNDS);
        let sealed = opened.and_then(|outbox| seal(&town, &outbox, &request)).is_ok();
        let outbox = Outbox::open(Disk::default(), path.clone(), BOUNDS).unwrap();
        assert_eq!(outbox.all().len(), usize::from(sealed), "step {steps} failed");
        if sealed {
            assert!(steps > 15, "every sync, rename and creation is a step: {steps}");
            return;
        }
    }
}

/// What happens to a packet until it is settled; each step may be repeated.
fn script(outbox: &Outbox, packet: &PacketId) -> Result<(), Problem> {
    let accepted = Accepted {
        leaf: Digest::of(b"leaf"),
        at_ms: 5,
        log_index: None,
    };
    outbox.accepted(packet, accepted)?;
    for state in [PartState::HandedOver, PartState::Received] {
        outbox.update(packet, |record| {
            if let Some(accepted) = &mut record.accepted {
                accepted.log_index = Some(7);
            }
            for outcome in record.outcomes.iter_mut().filter(|o| !o.state.is_final()) {
                outcome.state = state;
            }
        })?;
        outbox.settle_if_proved(packet)?;
    }
    Ok(())
}

#[test]
fn d03_d06_a_packets_state_survives_a_stop_at_every_step() {
    let town = Town::new(1);
    let request = request(&file(&town));
    let mut steps = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let fresh = Outbox::open(Disk::default(), path.clone(), BOUNDS).unwrap();
        let packet = seal(&town, &fresh, &request).unwrap().packet;
        drop(fresh);
        let opened = Outbox::open(Disk::stopping_after(steps), path.clone(), BOUNDS);
        let done = opened.and_then(|outbox| script(&outbox, &packet)).is_ok();
        let outbox = Outbox::open(Disk::default(), path.clone(), BOUNDS).unwrap();
        let record = outbox.get(&packet).unwrap();
        let folder = outbox.folder(packet);
        let copy = folder.join("key-packets.bin").is_file();
        assert_eq!(
            copy,
            record.state != State::Settled,
            "the copy stays until all is proved: {steps}"
        );
        script(&outbox, &packet).unwrap();
        assert_eq!(outbox.get(&packet).unwrap().state, State::Settled);
        assert!(!folder.join("key-packets.bin").exists());
        assert_eq!(outbox.get(&packet).unwrap().sealed_bytes, 0);
        if done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 10, "every sync, rename and creation is a step: {steps}");
}

#[test]
fn d08_the_outbox_is_bounded_and_says_so() {
    let town = Town::new(1);
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(Disk::default(), dir.path().join("outbox"), BOUNDS).unwrap();
    let request = request(&file(&town));
    for _ in 0..BOUNDS.packets_max_count {
        seal(&town, &outbox, &request).unwrap();
    }
    let problem = seal(&town, &outbox, &request).unwrap_err();
    assert_eq!(
        (problem.code.as_str(), problem.kind),
        ("OUTBOX_FULL", Kind::Later)
    );
    assert!(!problem.remedy.is_empty());
}

#[test]
fn a_request_that_contradicts_itself_is_named() {
    let town = Town::new(1);
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(Disk::default(), dir.path().join("outbox"), BOUNDS).unwrap();
    let good = request(&file(&town));
    let bend = |change: &dyn Fn(&mut SendRequest)| {
        let mut bent = good.clone();
        change(&mut bent);
        seal(&town, &outbox, &bent).unwrap_err().code
    };
    assert_eq!(bend(&|r| r.to.clear()), "RECIPIENTS");
    assert_eq!(bend(&|r| r.to.push(agency(RECIPIENT))), "RECIPIENTS");
    assert_eq!(bend(&|r| r.parts.clear()), "PARTS");
    assert_eq!(bend(&|r| r.parts[0].to = vec![agency("caw-rupel")]), "RECIPIENTS");
    assert_eq!(bend(&|r| r.parts[0].to = vec![agency(RECIPIENT)]), "RECIPIENTS");
    assert_eq!(
        bend(&|r| r.parts[0].file = "relative.txt".into()),
        "PATH_RELATIVE"
    );
    assert_eq!(bend(&|r| r.expires_hours = Some(721)), "EXPIRES");
    std::fs::write(town.folder().join("leeg.txt"), b"").unwrap();
    assert_eq!(
        bend(&|r| r.parts[0].file = town.folder().join("leeg.txt")),
        "FILE_SIZE"
    );
    assert!(outbox.all().is_empty());
    assert_eq!(
        std::fs::read_dir(dir.path().join("outbox")).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

/// The broker's word that it has a packet, as the log proves it at `index`.
fn proof(index: u64) -> Accepted {
    Accepted {
        leaf: Digest::of(b"leaf"),
        at_ms: 5,
        log_index: Some(index),
    }
}

#[test]
fn d03_n02_what_the_broker_has_is_never_refused_here_and_goes_on_if_it_ended_here() {
    let town = Town::new(1);
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(Disk::default(), dir.path().join("outbox"), BOUNDS).unwrap();
    let request = request(&file(&town));
    let expired = || Problem::new(Kind::Refused, "PACKET_EXPIRED", "too late", "");
    // The answer came after all, between the look and the refusal.
    let packet = seal(&town, &outbox, &request).unwrap().packet;
    let accepted = Accepted {
        log_index: None,
        ..proof(0)
    };
    outbox.accepted(&packet, accepted).unwrap();
    outbox.refused(&packet, expired()).unwrap();
    let record = outbox.get(&packet).unwrap();
    assert_eq!((record.state, &record.refusal), (State::Accepted, &None));
    assert!(record.outcomes.iter().all(|o| o.state == PartState::Pending));
    assert!(
        outbox.folder(packet).join("key-packets.bin").is_file(),
        "the copy stays"
    );
    // It came never; the receipt comes after the refusal.
    let packet = seal(&town, &outbox, &request).unwrap().packet;
    outbox.refused(&packet, expired()).unwrap();
    assert_eq!(outbox.get(&packet).unwrap().state, State::Refused);
    outbox
        .update(&packet, |record| assert!(record.prove_accepted(proof(7))))
        .unwrap();
    let record = outbox.get(&packet).unwrap();
    assert_eq!((record.state, &record.refusal), (State::Accepted, &None));
    assert!(record.outcomes.iter().all(|o| o.state == PartState::Pending));
    outbox
        .update(&packet, |record| assert!(!record.prove_accepted(proof(7))))
        .unwrap();
    // Sealed anew meanwhile: both are at the broker, and both are told as they are, also after a restart.
    let old = seal(&town, &outbox, &request).unwrap();
    let new = seal_before(&town, &outbox, &request, Some(&old)).unwrap();
    outbox.replaced(old.packet, new.packet).unwrap();
    outbox
        .update(&old.packet, |record| assert!(record.prove_accepted(proof(9))))
        .unwrap();
    drop(outbox);
    let outbox = Outbox::open(Disk::default(), dir.path().join("outbox"), BOUNDS).unwrap();
    assert_eq!(outbox.get(&old.packet).unwrap().state, State::Accepted);
}

#[test]
fn d03_a_replacement_that_failed_half_way_is_ended_and_not_made_twice() {
    let town = Town::new(1);
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(Disk::default(), dir.path().join("outbox"), BOUNDS).unwrap();
    let request = request(&file(&town));
    let old = seal(&town, &outbox, &request).unwrap();
    assert!(!outbox.end_replacement(&old.packet).unwrap());
    assert_eq!(outbox.get(&old.packet).unwrap().state, State::Sealed);
    let new = seal_before(&town, &outbox, &request, Some(&old)).unwrap();
    // `replaced` failed: the old one is looked at once more.
    assert!(outbox.end_replacement(&old.packet).unwrap());
    let record = outbox.get(&old.packet).unwrap();
    assert_eq!(
        (record.state, record.replaced_by),
        (State::Replaced, Some(new.packet))
    );
    assert_eq!(outbox.get(&new.packet).unwrap().state, State::Sealed);
}

#[test]
fn what_was_not_sealed_the_first_time_is_not_sealed_anew_whatever_lies_there_by_then() {
    let town = Town::new(1);
    let file = file(&town);
    let kept_back = town.folder().join("dossier.txt");
    std::fs::write(&kept_back, "Voor niemand van hen.").unwrap();
    let mut request = request(&file);
    // The investigation file goes to the prosecutor, never to the case director.
    let never = PartRequest {
        category: code("investigation_file"),
        file: kept_back.clone(),
        to: vec![agency("casusregisseur-rupel")],
        ..request.parts[0].clone()
    };
    request.parts.push(never);
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(Disk::default(), dir.path().join("outbox"), BOUNDS).unwrap();
    let first = seal(&town, &outbox, &request).unwrap();
    let sealed = |record: &Record| record.parts.iter().map(|part| part.sealed).collect::<Vec<_>>();
    assert_eq!(sealed(&first), [true, false]);
    // The file is another one by now, or gone: nobody asks for it.
    std::fs::remove_file(&kept_back).unwrap();
    let third = seal_before(&town, &outbox, &request, Some(&first)).unwrap();
    assert_eq!((sealed(&third), third.state), (vec![true, false], State::Sealed));
    let own: Vec<_> = third.outcomes.iter().filter(|outcome| outcome.own).collect();
    assert_eq!((own.len(), own[0].part), (1, third.parts[1].part));
}
