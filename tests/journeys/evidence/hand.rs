//! The page that says how to check a pack by hand: its commands, run as they stand there.

use std::path::Path;
use std::process::Command;

use schakel_tests::system::pack::{command, path};
use schakel_tests::system::told;

use super::{DIRECTOR, SENDER, Scene};

const PAGE: &str = include_str!("../../../docs/format/evidence-pack.md");

/// The commands of one step: the block that begins with `# step: NAME`.
fn step(name: &str) -> String {
    let head = format!("```sh\n# step: {name}\n");
    let (_, rest) = PAGE.split_once(&head).unwrap_or_else(|| panic!("no step {name}"));
    rest.split_once("```").unwrap().0.to_owned()
}

fn has(tool: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {tool}")])
        .output()
        .unwrap()
        .status
        .success()
}

/// Runs a step in the unpacked pack; whether it succeeded, and what it said.
fn run(folder: &Path, name: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let mut shell = Command::new("sh");
    shell.args(["-euc", &step(name)]).current_dir(folder);
    shell.envs(variables.iter().copied());
    let output = shell.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

/// A step that cannot fail checks nothing: it succeeds, and after a change of one bit it does not.
fn good_then_changed(folder: &Path, name: &str, member: &str, variables: &[(&str, &str)]) {
    let (good, said) = run(folder, name, variables);
    assert!(good, "{name}: {said}");
    let member = folder.join(member);
    let before = std::fs::read(&member).unwrap();
    let mut changed = before.clone();
    changed[20.min(before.len() / 2)] ^= 1;
    std::fs::write(&member, changed).unwrap();
    let (good, said) = run(folder, name, variables);
    assert!(!good, "{name} after a change: {said}");
    std::fs::write(&member, before).unwrap();
}

#[test]
fn the_commands_of_the_page_find_a_good_pack_good_and_a_changed_one_changed() {
    let wanted = ["sha256sum", "tar", "od", "openssl", "gpg", "base64"];
    if let Some(missing) = wanted.iter().find(|tool| !has(tool)) {
        return told::skip(&format!("{missing} is not installed"));
    }
    let scene = Scene::new(DIRECTOR);
    let folder = scene.town.scratch("by-hand");
    let file = path(&scene.received);
    let (good, said) = run(&folder, "unpack", &[("PACK", file)]);
    assert!(good, "{said}");
    let (_, report) = command(&["--json", "evidence", "verify", file]);
    let report: serde_json::Value = serde_json::from_str(report.lines().next().unwrap()).unwrap();
    let told = report["told"].as_array().unwrap();
    let entry = |event: &str| {
        let found = told.iter().find(|told| told["event"] == event).unwrap();
        format!("log/{}", found["index"])
    };
    let (consigned, received) = (entry("ContentConsignment"), entry("ContentHandover"));
    let parts = std::fs::read_dir(folder.join("parts")).unwrap();
    let part = parts
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .next()
        .unwrap();
    let key = report["log_keys"][0].as_str().unwrap().to_owned();
    let signer = scene
        .town
        .network()
        .agency_keys(&schakel_tests::system::network::agency(DIRECTOR))
        .unwrap();
    let (fingerprint, home) = (signer.fingerprint().to_string(), scene.town.scratch("gnupg"));
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let author = scene
        .town
        .network()
        .agency_keys(&schakel_tests::system::network::agency(SENDER))
        .unwrap();
    let author = author.fingerprint().to_string();
    let variables = [
        ("PART", part.as_str()),
        ("ENTRY", consigned.as_str()),
        ("SIGNED", received.as_str()),
        ("SIGNER", fingerprint.as_str()),
        ("SENDER", author.as_str()),
        ("LOGKEY", key.as_str()),
        ("GNUPGHOME", path(&home)),
    ];
    let steps = [
        ("digests", "manifest.bin".to_owned()),
        ("openings", format!("openings/{part}.bin")),
        ("content", format!("parts/{part}/content.bin")),
        ("entry", format!("{consigned}/salt.bin")),
        ("decision", format!("{consigned}/shown.bin")),
        ("acknowledgement", format!("{received}/attachment.sig")),
        ("gpg", format!("{received}/attachment.bin")),
        ("checkpoint", "checkpoint.note".to_owned()),
    ];
    for (name, member) in steps {
        good_then_changed(&folder, name, &member, &variables);
    }
    if has("sq") {
        let (good, said) = run(&folder, "sq", &variables);
        assert!(good, "{said}");
    } else {
        println!("sq is not installed: the v6 signature of the manifest was not checked by hand");
    }
}
