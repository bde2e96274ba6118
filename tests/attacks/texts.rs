//! Names that a sender chose, made to steer the terminal of whoever looks at them: shown harmless by the recipient's
//! command line, and in no log.

use std::process::Command;

use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::{Town, agency};
use schakel_tests::system::office::{Document, Office, text};
use schakel_tests::system::process::binary;
use schakel_tests::system::told::seeded;

/// Right-to-left override and isolate, zero width space, byte order mark, a tag; and markup.
const ODD: [char; 5] = ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{e0041}'];
const MARKUP: &str = "<script>alert(1)<";

/// What the recipient's command line prints, on both streams.
fn printed(town: &Town, words: &[&str]) -> String {
    let mut command = Command::new(binary("schakel-agent"));
    command
        .args(words)
        .arg("--config")
        .arg(town.network().agent_config(&agency("parket-antwerpen")));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    format!(
        "{}{}",
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    )
}

fn odd(text: &str) -> Vec<char> {
    let is_odd = |c: &char| ODD.contains(c) || (c.is_control() && *c != '\n');
    text.chars().filter(is_odd).collect()
}

#[test]
fn c20_names_that_steer_a_terminal_are_shown_harmless_and_logged_nowhere() {
    let town = Town::running(&["pz-rupel", "parket-antwerpen"]);
    let mut rng = seeded();
    let [police, prosecutor] = ["pz-rupel", "parket-antwerpen"].map(|id| Office::of(&town, id));
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &["pz-rupel", "parket-antwerpen"]);
    let name = format!("verslag{}{MARKUP}gpj.exe", ODD.iter().collect::<String>());
    let file = town.scratch("files").join(&name);
    std::fs::write(&file, "Verzonnen vaststellingen.").unwrap();
    let part = Document {
        title: &name,
        ..Document::new("facts_summary", &file)
    };
    let packet = police.send(&Office::order(
        case,
        &["parket-antwerpen"],
        ("prosecution", "legal_duty"),
        &[part],
    ));
    let received = prosecutor.received(&packet);
    let part = text(&received["parts"][0], "part");
    let out = town.scratch("out").join("opened");
    let opened = printed(
        &town,
        &["inbox", "open", &packet, &part, "--out", out.to_str().unwrap()],
    );
    assert!(
        opened.contains("verslag") && opened.contains(MARKUP),
        "control: the name is shown: {opened}"
    );
    let quarantined = printed(&town, &["inbox", "quarantine"]);
    for shown in [
        opened,
        printed(&town, &["inbox"]),
        printed(&town, &["status"]),
        quarantined,
    ] {
        assert!(odd(&shown).is_empty(), "{shown:?}");
    }
    police.packet(&packet, "settled");
    for log in town.logs() {
        let lines = std::fs::read_to_string(&log).unwrap();
        assert!(lines.contains("INFO"), "control: {} has lines", log.display());
        assert!(odd(&lines).is_empty(), "{}", log.display());
        assert!(!lines.contains(MARKUP), "{}", log.display());
    }
}
