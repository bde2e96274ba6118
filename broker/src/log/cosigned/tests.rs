//! What is published with a checkpoint: the lines of that checkpoint, and of no other.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::LogSecret;

use super::*;

/// Held up is what is there, until it is old enough; what was asked before is dressed with what was signed.
#[test]
fn the_newest_note_has_the_lines_of_its_own_checkpoint_only() {
    let secret = LogSecret::generate("rupel.example/log", &mut StdRng::seed_from_u64(1)).unwrap();
    let stored = |size: u64| {
        let signed = secret.sign(size, Digest::of(&size.to_be_bytes()));
        StoredCheckpoint {
            size,
            root: signed.root(),
            note: signed.note().to_vec().into(),
        }
    };
    let cosigned = Cosigned::default();
    let line = Cosignature {
        seconds: 7,
        line: "\u{2014} w AAAAAAAA".to_owned(),
    };
    let checkpoint = SignedCheckpoint::open(&stored(3).note, secret.public()).unwrap();
    cosigned.lock().candidate = Some(Candidate {
        checkpoint,
        since: Timestamp::from_millis(0),
        lines: BTreeMap::from([(AgencyId::new("pz-rupel").unwrap(), line)]),
        witnessed: false,
    });
    let dressed = cosigned.dress(&stored(3));
    assert!(dressed.starts_with(&stored(3).note) && dressed.ends_with("\u{2014} w AAAAAAAA\n".as_bytes()));
    assert_eq!(cosigned.dress(&stored(4)), stored(4).note);
    let other = secret.sign(3, Digest::of(b"another root"));
    let other = StoredCheckpoint {
        size: 3,
        root: other.root(),
        note: other.note().to_vec().into(),
    };
    assert_eq!(
        cosigned.dress(&other),
        other.note,
        "a fork is not dressed with another's lines"
    );
}

#[test]
fn a_candidate_waits_its_time_and_no_clock_set_back_prolongs_it() {
    let secret = LogSecret::generate("rupel.example/log", &mut StdRng::seed_from_u64(1)).unwrap();
    let at = Timestamp::from_millis;
    let mut candidate = Candidate {
        checkpoint: secret.sign(3, Digest::of(b"root")),
        since: at(1_000_000),
        lines: BTreeMap::new(),
        witnessed: false,
    };
    assert!(!candidate.is_over(4, at(1_000_000)));
    assert!(!candidate.is_over(4, at(1_000_000 + CANDIDATE_LIFE_MILLIS)));
    assert!(candidate.is_over(4, at(1_000_001 + CANDIDATE_LIFE_MILLIS)));
    let ahead = 1_000_000 - CANDIDATE_LIFE_MILLIS;
    assert!(
        !candidate.is_over(4, at(ahead)),
        "another broker's clock may be ahead"
    );
    assert!(candidate.is_over(4, at(ahead - 1)), "the clock was set back");
    assert!(!candidate.is_over(3, at(0)), "the log has not grown");
    candidate.witnessed = true;
    assert!(candidate.is_over(4, at(1_000_000)));
}
