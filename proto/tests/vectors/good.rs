//! Good packets: every profile and kind of key, many parts, every field.

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::ids::{Digest, PacketId, StatementId};
use schakel_proto::packet::manifest::{BreakGlass, CheckpointSeen, LegalBasis, ReportConditions};
use schakel_proto::vectors::{NOW, PacketVector, World};

use super::Recipe;
use super::forge::{Forge, agency, code, fields};

const EVERYONE: &[&str] = &["parket-antwerpen", "caw-rupel", "jh-antwerpen-dader"];

const fn good(name: &'static str, what: &'static str, make: fn(&World) -> PacketVector) -> Recipe {
    Recipe {
        name,
        what,
        submit: None,
        open: None,
        make,
    }
}

pub const RECIPES: &[&[Recipe]] = &[ALL];

const ALL: &[Recipe] = &[
    good(
        "good-v6",
        "Ed25519 signature, one part for one recipient with ML-KEM-768+X25519",
        |w| Forge::plain(w).signed(),
    ),
    good(
        "good-post-quantum-signature",
        "ML-DSA-65+Ed25519 signature",
        |w| {
            Forge::good(
                w,
                "parket-antwerpen",
                &[(b"Verzonnen kantschrift.\n", &["pz-rupel"])],
                "pz-rupel",
                11,
            )
            .signed()
        },
    ),
    good(
        "good-v4-sender",
        "v4 Ed25519 signature, as GnuPG makes and verifies",
        |w| {
            Forge::good(
                w,
                "jh-antwerpen-dader",
                &[(b"Verzonnen opvolgverslag.\n", &["caw-rupel"])],
                "caw-rupel",
                12,
            )
            .signed()
        },
    ),
    good(
        "good-v4-recipient",
        "a part for a recipient that uses GnuPG: SEIPDv1, v3 key packet",
        |w| Forge::plain_v4(w).signed(),
    ),
    good(
        "good-both-profiles",
        "one part for three recipients in both profiles",
        |w| {
            let part: (&[u8], &[&str]) = (b"Verzonnen samenvatting.\n", EVERYONE);
            Forge::good(w, "pz-rupel", &[part], "jh-antwerpen-dader", 13).signed()
        },
    ),
    good(
        "good-many-parts",
        "twelve parts for three recipients, each with some of them",
        many_parts,
    ),
    good(
        "good-hidden-parts",
        "the reader gets one part of four and cannot see the others",
        |w| {
            let others: &[&str] = &["parket-antwerpen", "jh-antwerpen-dader"];
            let parts: [(&[u8], &[&str]); 4] = [
                (b"a", others),
                (b"Voor het CAW.\n", &["caw-rupel"]),
                (b"c", others),
                (b"d", &["parket-antwerpen"]),
            ];
            Forge::good(w, "pz-rupel", &parts, "caw-rupel", 14).signed()
        },
    ),
    good(
        "good-every-field",
        "every field of the manifest and the descriptor is set",
        every_field,
    ),
    good(
        "good-full-size-class",
        "header and content fill the first size class exactly: no padding",
        |w| fill(w, 0),
    ),
    good(
        "good-next-size-class",
        "one byte more than the first size class",
        |w| fill(w, 1),
    ),
    good("good-one-byte", "the shortest content", |w| {
        Forge::good(
            w,
            "pz-rupel",
            &[(b"x", &["parket-antwerpen"])],
            "parket-antwerpen",
            15,
        )
        .signed()
    }),
];

fn many_parts(world: &World) -> PacketVector {
    let texts: Vec<_> = (0..12).map(|n| format!("Verzonnen deel {n}.\n")).collect();
    let to = |n: usize| match n % 3 {
        0 => EVERYONE,
        1 => &EVERYONE[..1],
        _ => &EVERYONE[1..],
    };
    let parts: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| (text.as_bytes(), to(n)))
        .collect();
    Forge::good(world, "pz-rupel", &parts, "caw-rupel", 16).signed()
}

fn every_field(world: &World) -> PacketVector {
    let mut rng = StdRng::seed_from_u64(17);
    let mut fields = fields(world, "pz-rupel", &mut rng);
    let statement = |rng: &mut StdRng| Some(StatementId::new(NOW, rng));
    fields.legal_basis = LegalBasis {
        basis: code("report_right"),
        consultation_ref: statement(&mut rng),
        mandate_ref: statement(&mut rng),
        measure_ref: statement(&mut rng),
        report: Some(ReportConditions {
            victim_class: code("minor"),
            danger: code("serious_and_imminent"),
            cannot_protect_otherwise: true,
        }),
    };
    fields.urgency = code("immediate");
    fields.break_glass = Some(BreakGlass {
        actor: code("duty_officer"),
        danger_to: vec![code("victim"), code("child")],
        reviewer: agency("parket-antwerpen"),
        review_by: NOW.plus_millis(72 * 3_600_000),
        justification_chars: 212,
        justification_commitment: Digest::of(b"verzonnen verantwoording"),
    });
    fields.in_reply_to = Some(PacketId::new(NOW, &mut rng));
    fields.checkpoint_seen = Some(CheckpointSeen {
        origin: "rupel.schakel.example/log".to_owned(),
        size: 42,
        root: Digest::of(b"root"),
    });
    let part: (&[u8], &[&str]) = (b"Verzonnen melding.\n", &["parket-antwerpen"]);
    let mut forge = Forge::good_with(world, fields, &[part], "parket-antwerpen", rng.clone());
    let descriptor = &mut forge.parts[0].message;
    descriptor.release_ref = StatementId::new(NOW, &mut rng).to_vec().into();
    descriptor.measure_ref = StatementId::new(NOW, &mut rng).to_vec().into();
    descriptor.relevant = Some(false);
    descriptor.pseudonymous = true;
    forge.signed()
}

/// Content so long that prefix, header and content are 4,096 bytes and `more`.
fn fill(world: &World, more: usize) -> PacketVector {
    let probe = Forge::plain(world);
    let mut header = probe.header(&[0; 3000]);
    header.media_type = "text/plain; charset=utf-8".to_owned();
    let header = prost::Message::encoded_len(&header);
    let content = vec![b'v'; 4096 - 4 - header + more];
    Forge::good(
        world,
        "pz-rupel",
        &[(&content, &["parket-antwerpen"])],
        "parket-antwerpen",
        18,
    )
    .signed()
}
