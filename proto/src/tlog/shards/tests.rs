//! Shards: what lies within one, what lies beyond its end, and lists that only grow.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::tlog::checkpoint::LogSecret;

fn secret(origin: &str, seed: u64) -> LogSecret {
    LogSecret::generate(origin, &mut StdRng::seed_from_u64(seed)).unwrap()
}

fn root(of: u8) -> Digest {
    Digest::of(&[of])
}

/// Two frozen shards, of 4 and of 9 leaves, and the one in force.
fn shards() -> ([LogSecret; 3], Shards) {
    let keys = [
        secret("rupel.example/log/2026h1", 1),
        secret("rupel.example/log/2026h2", 2),
        secret("rupel.example/log/2026h2.2", 3),
    ];
    let frozen = [(0, 4), (1, 9)].map(|(which, size): (usize, u8)| {
        let note = keys[which].sign(u64::from(size), root(size));
        Frozen::new(keys[which].public().clone(), note.note()).unwrap()
    });
    let shards = Shards::new(frozen.to_vec(), keys[2].public().clone()).unwrap();
    (keys, shards)
}

#[test]
fn shard_keys_open_what_lies_within_their_shard_and_nothing_else() {
    let (keys, shards) = shards();
    let (frozen, before) = (Err(CheckpointError::Frozen), Err(CheckpointError::Before));
    for (which, size, of, expected) in [
        (0, 1, 77, Ok(())),
        (0, 4, 4, Ok(())),
        (0, 4, 77, frozen),
        (0, 5, 5, frozen),
        (0, u64::MAX, 5, frozen),
        (1, 4, 4, before),
        (1, 5, 5, Ok(())),
        (1, 9, 9, Ok(())),
        (1, 9, 8, frozen),
        (1, 10, 10, frozen),
        (2, 9, 9, before),
        (2, 10, 10, Ok(())),
        (2, u64::MAX, 10, Ok(())),
    ] {
        let note = keys[which].sign(size, root(of));
        let opened = shards.open(note.note()).map(|opened| assert_eq!(opened, note));
        assert_eq!(opened, expected, "shard {which} size {size} root {of}");
        let within = shards.within(note.origin(), size, &root(of));
        assert_eq!(within, expected);
        let forged = shards.forged(note.note());
        assert_eq!(forged.is_some(), expected == frozen, "shard {which} size {size}");
        if let Some(forged) = forged {
            assert_eq!(forged.checkpoint, note);
            assert_eq!(forged.shard.key(), keys[which].public());
        }
    }
}

#[test]
fn shard_of_another_log_or_key_opens_nothing() {
    let (_, shards) = shards();
    let other = secret("other.example/log", 1).sign(2, root(2));
    assert_eq!(shards.open(other.note()), Err(CheckpointError::Origin));
    let key = secret("rupel.example/log/2026h1", 9).sign(9, root(9));
    assert_eq!(shards.open(key.note()), Err(CheckpointError::Unsigned));
    assert_eq!(shards.forged(key.note()), None, "made up by whoever has no key");
    assert_eq!(
        shards.within("other.example/log", 2, &root(2)),
        Err(CheckpointError::Origin)
    );
}

#[test]
fn shard_lists_that_do_not_fit_are_refused() {
    let (keys, shards) = shards();
    let [one, two] = shards.frozen() else { panic!() };
    let current = || keys[2].public().clone();
    assert!(Shards::new(vec![one.clone(), one.clone()], current()).is_err());
    assert!(Shards::new(vec![two.clone(), one.clone()], current()).is_err());
    assert!(Shards::new(vec![one.clone()], one.key().clone()).is_err());
    let same_key = LogKey::new("rupel.example/log/2027h1", one.key().public()).unwrap();
    assert!(
        Shards::new(vec![one.clone()], same_key).is_err(),
        "a stolen key signs for no other shard"
    );
    let empty = keys[0].sign(0, root(0));
    let empty = Frozen::new(keys[0].public().clone(), empty.note()).unwrap();
    assert!(Shards::new(vec![empty], current()).is_err());
    assert!(Frozen::new(current(), one.last().note()).is_err());
    assert!(Shards::new(Vec::new(), current()).is_ok());
}

#[test]
fn shard_lists_only_ever_grow() {
    let (keys, third) = shards();
    let [one, two] = third.frozen() else { panic!() };
    let key = |which: usize| keys[which].public().clone();
    let first = Shards::from(key(0));
    let second = Shards::new(vec![one.clone()], key(1)).unwrap();
    for (before, after, expected) in [
        (&first, &first, true),
        (&first, &second, true),
        (&first, &third, true),
        (&second, &third, true),
        (&third, &third, true),
        (&second, &first, false),
        (&third, &second, false),
        (&first, &Shards::from(key(1)), false),
        (&second, &Shards::new(vec![one.clone()], key(2)).unwrap(), false),
        (&second, &Shards::new(vec![two.clone()], key(2)).unwrap(), false),
    ] {
        assert_eq!(before.continued_by(after), expected, "{before:?}\n{after:?}");
    }
    for (place, key) in (0..).zip(third.keys()) {
        assert_eq!(third.key(key.origin()), Some(key));
        for (earlier, before) in (0..).zip(third.keys()) {
            assert_eq!(third.follows(key, before), earlier <= place, "{earlier} {place}");
        }
    }
    assert!(!second.follows(&key(2), &key(1)) && !second.follows(&key(1), &key(2)));
    let longer = keys[0].sign(5, root(5));
    let longer = Frozen::new(key(0), longer.note()).unwrap();
    let moved = Shards::new(vec![longer, two.clone()], key(2)).unwrap();
    assert!(!second.continued_by(&moved), "an end is never moved");
}
