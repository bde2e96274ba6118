//! Golden and hostile packets by name: each file gives exactly the answer written in it. The recipes
//! make files that are missing or empty when `SCHAKEL_REGENERATE_VECTORS` is set (empty one to make it anew).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a surprise must stop the test"
)]

mod bombs;
mod catalogue;
mod ciphertexts;
mod descriptors;
mod forge;
mod garbage;
mod good;
mod inner;
mod insides;
mod key_packets;
mod manifests;
mod signatures;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use schakel_proto::openpgp::{KeyKind, SecretKeys};
use schakel_proto::packet::Defect;
use schakel_proto::time::Timestamp;
use schakel_proto::vectors::{AgencyFile, Base64, NOW, PacketVector, World, WorldFile, all};

/// How to make a vector, and what must come of it.
pub struct Recipe {
    name: &'static str,
    what: &'static str,
    submit: Option<Defect>,
    open: Option<Defect>,
    make: fn(&World) -> PacketVector,
}

/// Refused by broker and reader alike.
pub const fn hostile(
    name: &'static str,
    defect: Defect,
    what: &'static str,
    make: fn(&World) -> PacketVector,
) -> Recipe {
    Recipe {
        name,
        what,
        submit: Some(defect),
        open: Some(defect),
        make,
    }
}

/// The broker refuses it; a reader that got it all the same would say `open`.
pub const fn at_broker(
    name: &'static str,
    submit: Defect,
    open: Option<Defect>,
    what: &'static str,
    make: fn(&World) -> PacketVector,
) -> Recipe {
    Recipe {
        name,
        what,
        submit: Some(submit),
        open,
        make,
    }
}

/// The broker cannot see it; the reader refuses it.
pub const fn at_reader(
    name: &'static str,
    open: Defect,
    what: &'static str,
    make: fn(&World) -> PacketVector,
) -> Recipe {
    Recipe {
        name,
        what,
        submit: None,
        open: Some(open),
        make,
    }
}

fn recipes() -> impl Iterator<Item = &'static Recipe> {
    let all = [
        good::RECIPES,
        manifests::RECIPES,
        descriptors::RECIPES,
        signatures::RECIPES,
        key_packets::RECIPES,
        ciphertexts::RECIPES,
        insides::RECIPES,
    ];
    all.into_iter().flatten().copied().flatten()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn regenerating() -> bool {
    std::env::var_os("SCHAKEL_REGENERATE_VECTORS").is_some()
}

/// The world as on disk; made if it is missing and we regenerate.
fn world() -> World {
    let path = folder().join("world.json");
    let text = fs::read_to_string(&path).unwrap_or_default();
    if let Ok(file) = serde_json::from_str::<WorldFile>(&text)
        && !file.agencies.is_empty()
    {
        return World::new(file);
    }
    assert!(regenerating(), "world.json is missing");
    let made = Timestamp::from_millis(NOW.millis() - 86_400_000);
    let key = |id: &str, kind| {
        let keys = SecretKeys::generate(kind, &format!("{id} <{id}@rupel.example>"), made).unwrap();
        Base64(keys.to_bytes().unwrap().to_vec())
    };
    let member = |id: &str, kinds: &[KeyKind]| AgencyFile {
        id: forge::agency(id),
        secret_keys: kinds.iter().map(|kind| key(id, *kind)).collect(),
    };
    let with = |mut file: AgencyFile, more: &[SecretKeys]| {
        let bytes = |keys: &SecretKeys| Base64(keys.to_bytes().unwrap().to_vec());
        file.secret_keys.extend(more.iter().map(bytes));
        file
    };
    let agencies = vec![
        with(
            member("pz-rupel", &[KeyKind::V6]),
            &[inner::expired_keys(made), inner::revoked_keys(made)],
        ),
        member("parket-antwerpen", &[KeyKind::V6PostQuantumSigning]),
        with(
            member("caw-rupel", &[KeyKind::V6, KeyKind::V6]),
            &[inner::expired_keys(made), inner::revoked_keys(made)],
        ),
        member("jh-antwerpen-dader", &[KeyKind::V4]),
        member("ocmw-boom", &[KeyKind::V6]),
    ];
    let file = WorldFile {
        network: schakel_proto::party::NetworkName::new("rupel").unwrap(),
        agencies,
    };
    fs::write(path, serde_json::to_string_pretty(&file).unwrap() + "\n").unwrap();
    World::new(file)
}

#[test]
fn every_recipe_has_its_file_and_every_file_its_recipe() {
    let packets = folder().join("packets");
    if regenerating() {
        fs::create_dir_all(&packets).unwrap();
        let world = world();
        for recipe in recipes() {
            let path = packets.join(format!("{}.json", recipe.name));
            if fs::metadata(&path).map_or(0, |m| m.len()) == 0 {
                forge::begin(recipe.name);
                fs::write(path, text(recipe, (recipe.make)(&world))).unwrap();
            }
        }
        fs::write(folder().join("../src/vectors/list.rs"), list()).unwrap();
    }
    let files = fs::read_dir(packets)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<_> = files.collect();
    let wanted: BTreeSet<_> = recipes().map(|r| format!("{}.json", r.name)).collect();
    assert_eq!(files, wanted);
    assert_eq!(
        fs::read_to_string(folder().join("../src/vectors/list.rs")).unwrap(),
        list()
    );
}

fn text(recipe: &Recipe, made: PacketVector) -> String {
    let hostile = recipe.submit.is_some() || recipe.open.is_some();
    let vector = PacketVector {
        name: recipe.name.to_owned(),
        what: recipe.what.to_owned(),
        submit: recipe.submit.map(|d| d.code().to_owned()),
        open: recipe.open.map(|d| d.code().to_owned()),
        contents: if hostile && recipe.open.is_some() {
            Vec::new()
        } else {
            made.contents.clone()
        },
        ..made
    };
    serde_json::to_string_pretty(&vector).unwrap() + "\n"
}

fn list() -> String {
    let mut names: Vec<_> = recipes().map(|r| r.name).collect();
    names.sort_unstable();
    let line = |name: &str| format!("    include_str!(\"../../vectors/packets/{name}.json\"),\n");
    let lines: String = names.into_iter().map(line).collect();
    let head = "//! The files of `proto/vectors/packets`. Generated by `proto/tests/vectors`.\n\n";
    format!("{head}pub(super) const FILES: &[&str] = &[\n{lines}];\n")
}

#[test]
fn every_packet_gives_exactly_the_answer_written_in_it() {
    let world = World::load();
    let mut wrong = Vec::new();
    for vector in all() {
        let submit = vector.submit(&world).err().map(|e| e.code().to_owned());
        if submit != vector.submit {
            wrong.push(format!(
                "{}: submit says {submit:?}, not {:?}",
                vector.name, vector.submit
            ));
        }
        let opened = vector.open(&world);
        let open = opened.as_ref().err().map(|e| e.code().to_owned());
        if open != vector.open {
            wrong.push(format!(
                "{}: open says {open:?}, not {:?}",
                vector.name, vector.open
            ));
        }
        for ((part, content), expected) in opened.unwrap_or_default().iter().zip(&vector.contents) {
            assert_eq!(content, &expected.content.0, "{}", vector.name);
            assert_eq!(part.file_name, expected.file_name, "{}", vector.name);
            assert_eq!(part.title, expected.title, "{}", vector.name);
            assert_eq!(part.media_type, expected.media_type, "{}", vector.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_recipes_expect_what_the_files_say_and_there_are_enough_of_them() {
    let files = all();
    for recipe in recipes() {
        let file = files.iter().find(|f| f.name == recipe.name).unwrap();
        assert_eq!(
            file.submit.as_deref(),
            recipe.submit.map(Defect::code),
            "{}",
            recipe.name
        );
        assert_eq!(
            file.open.as_deref(),
            recipe.open.map(Defect::code),
            "{}",
            recipe.name
        );
        let expects_content = recipe.open.is_none();
        assert_eq!(!file.contents.is_empty(), expects_content, "{}", recipe.name);
    }
    let codes: BTreeSet<_> = files
        .iter()
        .flat_map(|f| [&f.submit, &f.open])
        .flatten()
        .collect();
    assert!(codes.len() >= 60, "{} codes are shown by a vector", codes.len());
    assert!(files.iter().filter(|f| f.is_good()).count() >= 8);
}
