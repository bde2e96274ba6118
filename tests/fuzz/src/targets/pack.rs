//! Evidence packs: the container, proofs as text, and the check of whatever is inside.

use prost::Message;
use schakel_agent::evidence::container::{Members, header};
use schakel_agent::evidence::names;
use schakel_agent::evidence::report::{Outcome, Report};
use schakel_agent::evidence::verify::{Anchor, look};
use schakel_proto::ids::Digest;
use schakel_proto::tlog::text::{InclusionText, hashes_from_text, hashes_to_text};
use schakel_proto::wire;

use super::log::all_evidence;
use crate::fixtures::{AUTHORITY, DIRECTORY, LOG, VECTORS, WORLD};
use crate::{choice, chosen, said, stable};

/// Proofs have one text form; a container gives no more than its bounds; and every pack is judged: each check has a
/// code and words fit for a terminal.
pub fn pack(input: &[u8]) {
    let (way, rest) = choice(input);
    match way % 3 {
        0 => {
            if let Some(proof) = InclusionText::parse(rest) {
                assert_eq!(proof.to_text(), rest);
            }
        }
        1 => {
            if let Some(hashes) = hashes_from_text(rest) {
                assert_eq!(hashes_to_text(&hashes).as_bytes(), rest);
            }
        }
        _ => container(rest),
    }
}

fn container(bytes: &[u8]) {
    let members = match Members::of_bytes(bytes.to_vec()) {
        Ok(members) => members,
        Err(damage) => return said(damage.what),
    };
    for name in members.names() {
        assert!(!name.starts_with(['/', '.']) && !name.contains(".."), "{name}");
        let length = members.bytes(name).unwrap().unwrap().len() as u64;
        assert!(length <= names::max_bytes(name), "{name}");
    }
    let anchor = Anchor {
        authority: Some(AUTHORITY.clone()),
        network: Some(WORLD.network.clone()),
        directory: None,
    };
    let mut report = Report::default();
    if let Err(problem) = look(&members, &anchor, &mut report) {
        return stable(&problem.code);
    }
    for finding in &report.findings {
        if let Outcome::Failed(why) | Outcome::NotApplicable(why) = &finding.outcome {
            stable(&why.code);
            said(&why.detail);
        }
        said(&finding.about);
    }
    for language in ["nl", "fr", "en"] {
        let text = report.to_text(language);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in members {
        out.extend(header(name, bytes.len() as u64, 0).unwrap());
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// A pack of a good packet with one entry, a contradiction, a dispute, and proofs as text.
pub fn packs() -> Vec<Vec<u8>> {
    let evidence = wire::Evidence::decode(&all_evidence()[0][1..]).unwrap();
    let note = LOG.sign(7, Digest::of(b"root"));
    let proof = InclusionText {
        index: 5,
        path: vec![Digest::of(b"a"), Digest::of(b"b")],
        note: note.note().to_vec(),
    };
    let directory = DIRECTORY.signed();
    let good = VECTORS.iter().find(|v| v.submit.is_none()).unwrap();
    let opening = [&good.parts[0].nonce.0[..], &good.parts[0].descriptor.0].concat();
    let proof_text = proof.to_text();
    let pack = tar(&[
        (names::DESCRIPTION, b"{\"format\":1}"),
        (names::MANIFEST, &good.manifest.bytes.0),
        (names::MANIFEST_SIGNATURE, &good.manifest.signature.0),
        ("directories/3/directory.bin", &directory.bytes),
        ("directories/3/signature-0.sig", &directory.signatures[0]),
        ("openings/part-x.bin", &opening),
        ("log/5/proof.tlog-proof", &proof_text),
        ("log/5/leaf.bin", &evidence.leaf),
        ("log/5/salt.bin", &evidence.salt),
        ("log/5/body.bin", &evidence.body),
        (names::CHECKPOINT, note.note()),
    ]);
    let other = LOG.sign(7, Digest::of(b"other root"));
    let contradiction = tar(&[
        (names::FIRST, note.note()),
        (names::SECOND, other.note()),
        (names::FOUND, b"{\"what\":\"x\",\"proof\":[]}"),
        (names::DIRECTORY, &directory.encode_to_vec()),
    ]);
    let signed = wire::Signed {
        bytes: good.manifest.bytes.0.clone().into(),
        signature: good.manifest.signature.0.clone().into(),
    };
    let dispute = tar(&[
        (names::SIGNED, &signed.encode_to_vec()),
        (names::OWN, note.note()),
        (names::FOUND, b"{\"what\":\"x\",\"by\":\"a\",\"proof\":[]}"),
        (names::DIRECTORY, &directory.encode_to_vec()),
    ]);
    let hashes = hashes_to_text(&proof.path);
    vec![
        chosen(0, &proof_text),
        chosen(1, hashes.as_bytes()),
        chosen(2, &pack),
        chosen(2, &contradiction),
        chosen(2, &dispute),
    ]
}
