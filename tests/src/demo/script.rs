//! What is sent in the network `rupel`, and what must come of it (domain.md 8.1). All persons are fictional.

/// A document and what is said of it.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Category code.
    pub category: &'static str,
    /// File in `tests/documents`.
    pub file: &'static str,
    /// Its content.
    pub content: &'static [u8],
    /// Media type.
    pub media: &'static str,
    /// Title inside the seal.
    pub title: &'static str,
    /// Secrecy of its source.
    pub secrecy: &'static str,
    /// Roles of the persons it is about.
    pub subjects: &'static [&'static str],
}

/// How a part ends for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It lies in the recipient's inbox and the recipient has signed for it.
    Received,
    /// It waits at the broker, sealed.
    Held,
    /// It stays with the sender; neither broker nor recipient knows anything of it.
    Withheld,
    /// The packet is refused for this recipient, by the sender's own rules.
    Denied,
}

impl End {
    /// Whether the sender's own rules let it be sealed for the recipient.
    pub const fn leaves_the_sender(self) -> bool {
        matches!(self, Self::Received | Self::Held)
    }

    /// The word that the agent uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Held => "held",
            Self::Withheld => "withheld",
            Self::Denied => "denied",
        }
    }
}

/// What must come of one part for one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The recipient.
    pub recipient: &'static str,
    /// Which part, counted from 0.
    pub part: usize,
    /// How it ends.
    pub end: End,
    /// Reason code.
    pub reason: &'static str,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// What it shows.
    pub name: &'static str,
    /// Who sends.
    pub sender: &'static str,
    /// To whom.
    pub to: &'static [&'static str],
    /// Purpose code.
    pub purpose: &'static str,
    /// Legal basis code.
    pub basis: &'static str,
    /// The documents.
    pub parts: &'static [Part],
    /// What must come of it.
    pub expected: &'static [Expected],
}

macro_rules! document {
    ($file:literal, $category:literal, $media:literal, $title:literal, $secrecy:literal, $subjects:expr) => {
        Part {
            category: $category,
            file: $file,
            content: include_bytes!(concat!("../../documents/", $file)),
            media: $media,
            title: $title,
            secrecy: $secrecy,
            subjects: $subjects,
        }
    };
}

const BOTH: &[&str] = &["victim", "perpetrator"];

const fn expected(recipient: &'static str, part: usize, end: End, reason: &'static str) -> Expected {
    Expected {
        recipient,
        part,
        end,
        reason,
    }
}

/// The agencies that run. The other ones of the network are in the directory, but nothing goes to them.
pub const AGENTS: &[&str] = &[
    "pz-rupel",
    "pz-rupel-opvolgcel",
    "parket-antwerpen",
    "casusregisseur-rupel",
    "caw-rupel",
    "ocmw-schelle",
];

/// The agencies on the case's roster, the opener first. OCMW Schelle is not.
pub const ROSTER: &[&str] = &[
    "pz-rupel",
    "pz-rupel-opvolgcel",
    "parket-antwerpen",
    "casusregisseur-rupel",
    "caw-rupel",
    "ocmw-boom",
];

/// Agencies whose inbox is plain at rest, so that the search of their disks would find what came.
pub const PLAIN: &[&str] = &["casusregisseur-rupel", "caw-rupel", "ocmw-schelle"];

/// The packets, in order.
pub const PACKETS: &[Packet] = &[
    Packet {
        name: "1. De feiten naar het parket",
        sender: "pz-rupel",
        to: &["parket-antwerpen"],
        purpose: "prosecution",
        basis: "legal_duty",
        parts: &[document!(
            "feiten-schelselei.pdf",
            "facts_summary",
            "application/pdf",
            "Samenvatting van de feiten, Schelselei Boom",
            "investigation",
            BOTH
        )],
        expected: &[expected("parket-antwerpen", 0, End::Received, "OK_LEGAL_DUTY")],
    },
    Packet {
        name: "2. Naar de opvolgcel van de zone",
        sender: "pz-rupel",
        to: &["pz-rupel-opvolgcel"],
        purpose: "follow_up",
        basis: "legal_duty",
        parts: &[
            document!(
                "identiteit.json",
                "identity",
                "application/json",
                "Identiteit en veilig contact",
                "none",
                BOTH
            ),
            document!(
                "risicotaxatie.odt",
                "risk_assessment",
                "application/vnd.oasis.opendocument.text",
                "Risicotaxatie partnergeweld",
                "none",
                BOTH
            ),
        ],
        expected: &[
            expected("pz-rupel-opvolgcel", 0, End::Received, "OK_LEGAL_DUTY"),
            expected("pz-rupel-opvolgcel", 1, End::Received, "OK_LEGAL_DUTY"),
        ],
    },
    Packet {
        name: "3. Doorverwijzing zonder toestemming",
        sender: "pz-rupel-opvolgcel",
        to: &["caw-rupel"],
        purpose: "victim_support",
        basis: "public_interest_task",
        parts: &[document!(
            "doorverwijzing.json",
            "identity",
            "application/json",
            "Doorverwijzing naar slachtofferhulp",
            "none",
            &["victim"]
        )],
        expected: &[expected("caw-rupel", 0, End::Held, "HOLD_CONSENT_MISSING")],
    },
    Packet {
        name: "4. Naar wie niet aan de zaak deelneemt",
        sender: "casusregisseur-rupel",
        to: &["ocmw-schelle"],
        purpose: "care_coordination",
        basis: "shared_secrecy",
        parts: &[document!(
            "plan-van-aanpak.txt",
            "care_plan",
            "text/plain; charset=utf-8",
            "Plan van aanpak voor het gezin",
            "none",
            &["victim"]
        )],
        expected: &[expected(
            "ocmw-schelle",
            0,
            End::Denied,
            "DENY_RECIPIENT_NOT_IN_CASE",
        )],
    },
    Packet {
        name: "5. Een deel alleen voor het parket",
        sender: "pz-rupel",
        to: &["parket-antwerpen", "casusregisseur-rupel"],
        purpose: "safety_protection",
        basis: "public_interest_task",
        parts: &[
            document!(
                "contactfiche.txt",
                "identity",
                "text/plain; charset=utf-8",
                "Contactfiche van het gezin",
                "none",
                BOTH
            ),
            document!(
                "proces-verbaal-verhoor.pdf",
                "investigation_file",
                "application/pdf",
                "Uittreksel proces-verbaal van verhoor",
                "investigation",
                BOTH
            ),
        ],
        expected: &[
            expected("parket-antwerpen", 0, End::Received, "OK_MATRIX_DELIVER"),
            expected("parket-antwerpen", 1, End::Received, "OK_MATRIX_DELIVER"),
            expected("casusregisseur-rupel", 0, End::Received, "OK_MATRIX_DELIVER"),
            expected(
                "casusregisseur-rupel",
                1,
                End::Withheld,
                "WITHHOLD_SENDER_NOT_ENTITLED",
            ),
        ],
    },
];

/// A text that stands in a document and nowhere else in this program's own output.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// The document's file, and so the part.
    pub file: &'static str,
    /// The text.
    pub text: &'static str,
}

/// Marked plaintext: one sentence of each document, as it stands in its bytes.
pub const MARKS: &[Mark] = &[
    Mark {
        file: "feiten-schelselei.pdf",
        text: "na een oproep van een buurvrouw",
    },
    Mark {
        file: "identiteit.json",
        text: "Basisschool De Steenbakkerij",
    },
    Mark {
        file: "risicotaxatie.odt",
        text: "dwingende controle is waarschijnlijk",
    },
    Mark {
        file: "doorverwijzing.json",
        text: "zij wil eerst zelf nadenken",
    },
    Mark {
        file: "plan-van-aanpak.txt",
        text: "bewaart een reservesleutel",
    },
    Mark {
        file: "contactfiche.txt",
        text: "verblijft sinds 15 november bij zijn broer",
    },
    Mark {
        file: "proces-verbaal-verhoor.pdf",
        text: "Ik wilde niet dat zij vertrok",
    },
];

/// Names of (fictional) persons in the documents.
pub const PERSONS: &[&str] = &["Liesbeth Verdonckere", "Koenraad Aerbeydts"];

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> impl Iterator<Item = &'static Part> {
        PACKETS.iter().flat_map(|packet| packet.parts)
    }

    fn holds(content: &[u8], text: &str) -> bool {
        content
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    #[test]
    fn every_mark_stands_in_its_document_and_in_no_other() {
        for part in parts() {
            let marks: Vec<_> = MARKS
                .iter()
                .filter(|mark| holds(part.content, mark.text))
                .collect();
            assert_eq!(marks.iter().map(|m| m.file).collect::<Vec<_>>(), [part.file]);
        }
        for person in PERSONS {
            assert!(parts().any(|part| holds(part.content, person)), "{person}");
        }
    }

    #[test]
    fn every_part_has_an_expected_end_for_every_recipient() {
        for packet in PACKETS {
            for recipient in packet.to {
                for part in 0..packet.parts.len() {
                    let found = packet
                        .expected
                        .iter()
                        .filter(|e| e.recipient == *recipient && e.part == part);
                    assert_eq!(found.count(), 1, "{} {recipient} {part}", packet.name);
                }
            }
        }
    }
}
