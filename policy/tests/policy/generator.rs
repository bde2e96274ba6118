//! Draws questions over the whole vocabulary, known values and unknown ones, so that every gate is met from
//! both sides. The same seed draws the same questions.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use schakel_policy::facts::{CaseState, Consultation, Mandate, Measure, Participant};
use schakel_policy::question::{
    BreakGlass, Consent, Part, Party, ReceiveQuestion, Release, Report, Scope, Subject,
};
use schakel_proto::time::Timestamp;

mod words;

pub use words::{BASES, CATEGORIES, PURPOSES, ROLES, SECRECIES, SUBJECTS};

const AGES: [&str; 3] = ["adult", "minor_12_17", "minor_0_11"];

/// The moment all questions are asked at: 5 October 2026, 10:00 in Brussels.
pub const NOW: Timestamp = Timestamp::from_millis(1_791_187_200_000);
const DAY: i64 = 24 * 3600 * 1000;

fn pick<'a>(rng: &mut StdRng, of: &[&'a str]) -> &'a str {
    of[rng.random_range(0..of.len())]
}

/// One time in `n`.
fn once_in(rng: &mut StdRng, n: u32) -> bool {
    rng.random_range(0..n) == 0
}

/// Past, present or future; mostly future.
fn end(rng: &mut StdRng) -> Option<Timestamp> {
    match rng.random_range(0..8) {
        0 => Some(NOW),
        1 => Some(NOW.plus_millis(-DAY)),
        2 => Some(NOW.plus_millis(1)),
        3 | 4 => None,
        _ => Some(NOW.plus_millis(7 * DAY)),
    }
}

fn word(rng: &mut StdRng, of: &[&str]) -> String {
    pick(rng, of).to_owned()
}

/// A basis that may fit the pair, or any: half of the questions would else end at step 6.
fn basis(rng: &mut StdRng, sender: &str, recipient: &str) -> String {
    if once_in(rng, 3) {
        return word(rng, &BASES);
    }
    let police = ["police_zone", "police_social"];
    let care = [
        "caw_victim",
        "perp_programme",
        "vk",
        "ocmw",
        "health",
        "case_director",
        "fjc",
    ];
    let mut fitting = vec!["consent", "emergency", "consultation"];
    if police.contains(&sender) || sender == "prosecutor" {
        fitting.extend(["legal_duty", "public_interest_task", "house_ban"]);
    }
    if ["jh_offender", "jh_victim", "family_court"].contains(&sender) {
        fitting.extend(["mandate", "public_interest_task", "house_ban"]);
    }
    if care.contains(&sender) && care.contains(&recipient) {
        fitting.extend(["shared_secrecy", "shared_secrecy"]);
    }
    match recipient {
        "prosecutor" => fitting.extend(["report_right", "mandate"]),
        "vk" => fitting.extend(["child_protection_report", "helpline_referral"]),
        "caw_victim" => fitting.push("helpline_referral"),
        "fjc" => fitting.extend(["registration", "dossier_transfer", "dossier_transfer"]),
        "youth_court" => fitting.extend(["dijh_75_basics", "consent", "consent"]),
        "jh_offender" | "perp_programme" => fitting.push("mandate"),
        _ => {}
    }
    word(rng, &fitting)
}

fn participant(rng: &mut StdRng, id: &str) -> Participant {
    let status = if once_in(rng, 12) {
        word(rng, &["suspended", "left", "removed"])
    } else {
        "active".to_owned()
    };
    Participant {
        id: id.into(),
        role: None,
        status: status.into(),
        from: if once_in(rng, 20) {
            Some(NOW.plus_millis(DAY))
        } else {
            None
        },
        until: if once_in(rng, 6) { end(rng) } else { None },
        perp_side: once_in(rng, 8),
        region: None,
    }
}

fn measure(rng: &mut StdRng) -> Measure {
    Measure {
        id: String::new(),
        kind: word(rng, &["house_ban", "house_ban", "contact_ban"]),
        status: word(rng, &["in_force", "extended", "in_force", "lifted", "ended"]),
        valid_until: end(rng).map(Into::into),
    }
}

fn case(rng: &mut StdRng) -> CaseState {
    let mut participants = Vec::new();
    for id in ["sender", "recipient", "bystander"] {
        if !once_in(rng, 12) {
            participants.push(participant(rng, id));
        }
    }
    if once_in(rng, 20) {
        // An agency that left and came back, or the other way round.
        let id = pick(rng, &["sender", "recipient"]);
        participants.push(participant(rng, id));
    }
    let seats = |rng: &mut StdRng| -> Vec<String> {
        ["sender", "recipient", "bystander"]
            .iter()
            .filter(|_| !once_in(rng, 8))
            .map(|s| (*s).to_owned())
            .collect()
    };
    CaseState {
        status: if once_in(rng, 12) {
            word(rng, &["closed", "archived", "intake"]).into()
        } else {
            "open".into()
        },
        region: word(rng, &["vlg", "vlg", "fwb", ""]).into(),
        case_type: "partner_violence".into(),
        roster_version: 4,
        opener: None,
        participants,
        consultation: (!once_in(rng, 4)).then(|| {
            Box::new(Consultation {
                id: String::new(),
                basis: word(rng, &["decree_vh", "law", "prosecutor_authorisation"]),
                status: if once_in(rng, 8) {
                    word(rng, &["draft", "ended"])
                } else {
                    "active".to_owned()
                },
                valid_until: end(rng),
                finality: if once_in(rng, 10) {
                    "other".to_owned()
                } else {
                    "protect_integrity".to_owned()
                },
                signed_by: seats(rng),
            })
        }),
        measures: (0..rng.random_range(0..3)).map(|_| measure(rng)).collect(),
        mandate: (!once_in(rng, 3)).then(|| {
            Box::new(Mandate {
                id: String::new(),
                holder: word(rng, &["sender", "recipient"]),
                authority: word(rng, &["sender", "recipient", "bystander"]),
                actors: seats(rng),
                status: if once_in(rng, 8) {
                    "ended".to_owned()
                } else {
                    "active".to_owned()
                },
                until: end(rng),
            })
        }),
        stated: schakel_policy::facts::Stated::default(),
    }
}

fn part(rng: &mut StdRng, (sender, recipient): (&str, &str)) -> Part {
    let count = rng.random_range(0..4);
    let subjects = (0..count).map(|_| Subject {
        role: if once_in(rng, 3) {
            word(rng, &SUBJECTS)
        } else {
            word(rng, &["victim", "perpetrator", "child"])
        },
        age_class: word(rng, &AGES),
        reference: None,
    });
    let subjects = subjects.collect();
    let own = |c: &&&str| crate::oracle::may_originate(c, sender, recipient);
    let own: Vec<&str> = CATEGORIES.iter().filter(own).copied().collect();
    Part {
        // Mostly what the sender may originate: step 7 would else end most of what gets past step 6.
        category: if once_in(rng, 5) {
            word(rng, &CATEGORIES)
        } else {
            word(rng, &own)
        },
        subjects,
        source_secrecy: if once_in(rng, 2) {
            "none".to_owned()
        } else {
            word(rng, &SECRECIES)
        },
        release: once_in(rng, 3).then(|| Release {
            by_role: word(rng, &["prosecutor", "prosecutor", "police_zone"]),
            scope: vec![word(rng, &["recipient", "fjc", "caw_victim", "health"])],
        }),
        measure: once_in(rng, 3).then(|| measure(rng)),
        relevant: [None, Some(true), Some(true), Some(false)][rng.random_range(0..4)],
        pseudonymous: once_in(rng, 3),
    }
}

fn consent(rng: &mut StdRng, subject: &str, question: (&str, &str, &str)) -> Consent {
    let (category, recipient_role, purpose) = question;
    let or_other = |rng: &mut StdRng, good: &str| {
        if once_in(rng, 10) {
            vec!["other".to_owned()]
        } else {
            vec![good.to_owned(), "other".to_owned()]
        }
    };
    Consent {
        subject: subject.to_owned(),
        subject_reference: None,
        given_by: if once_in(rng, 4) {
            word(rng, &SUBJECTS)
        } else {
            subject.to_owned()
        },
        capacity: word(rng, &["self", "self", "self", "guardian", "partner"]),
        status: if once_in(rng, 10) {
            word(rng, &["pending", "refused", "withdrawn"])
        } else {
            "given".to_owned()
        },
        scope: Scope {
            categories: or_other(rng, category),
            recipients: if once_in(rng, 2) {
                or_other(rng, "recipient")
            } else {
                or_other(rng, recipient_role)
            },
            purposes: or_other(rng, purpose),
        },
        informed: !once_in(rng, 12),
        form: word(rng, &["written", "oral"]),
        expires_at: end(rng).filter(|_| once_in(rng, 3)),
        minor_cosign: once_in(rng, 2),
        parents_cosign: once_in(rng, 2),
    }
}

fn break_glass(rng: &mut StdRng) -> BreakGlass {
    let or_nothing = |rng: &mut StdRng| {
        if once_in(rng, 12) {
            String::new()
        } else {
            "someone".to_owned()
        }
    };
    BreakGlass {
        actor: or_nothing(rng),
        justification_chars: [20, 20, 19, 200, 40][rng.random_range(0..5)],
        danger_to: if once_in(rng, 12) {
            Vec::new()
        } else {
            vec!["victim".to_owned()]
        },
        reviewer: or_nothing(rng),
        review_by: [
            Some(NOW),
            Some(NOW.plus_millis(3 * DAY)),
            Some(NOW.plus_millis(DAY)),
            Some(NOW.plus_millis(2 * DAY)),
            Some(NOW.plus_millis(3 * DAY + 1)),
            Some(NOW.plus_millis(-1)),
            None,
        ][if once_in(rng, 3) {
            rng.random_range(0..7)
        } else {
            rng.random_range(0..4)
        }],
    }
}

/// Sender's and recipient's role; the pairs with rules of their own more often than by chance.
fn pair(rng: &mut StdRng) -> (&'static str, &'static str) {
    match rng.random_range(0..24) {
        0 | 1 => ("vk", "youth_court"),
        2 => ("fjc", "fjc"),
        _ => (pick(rng, &ROLES), pick(rng, &ROLES)),
    }
}

fn consents(rng: &mut StdRng, part: &Part, (recipient_role, purpose): (&str, &str)) -> Vec<Consent> {
    let one = |_| {
        let subject = part.subjects.first().map_or("victim", |s| s.role.as_str());
        let subject = if once_in(rng, 3) {
            pick(rng, &SUBJECTS)
        } else {
            subject
        };
        consent(rng, subject, (&part.category, recipient_role, purpose))
    };
    let count = [0, 1, 1, 2][part.subjects.len()];
    let mut all: Vec<Consent> = (0..count).map(one).collect();
    // Now and then one for each subject, or another of the first one.
    if once_in(rng, 4) {
        let of = |subject: &Subject| consent(rng, &subject.role, (&part.category, recipient_role, purpose));
        all = part.subjects.iter().map(of).collect();
    }
    if let Some(first) = all.first().filter(|_| once_in(rng, 6)) {
        let subject = first.subject.clone();
        all.push(consent(rng, &subject, (&part.category, recipient_role, purpose)));
    }
    all
}

/// The conditions of a report, met more often than not.
fn report(rng: &mut StdRng) -> Report {
    Report {
        victim_class: word(
            rng,
            &[
                "minor",
                "vulnerable",
                "partner_violence",
                "partner_violence",
                "other",
            ],
        ),
        danger: word(
            rng,
            &[
                "serious_imminent",
                "indications_for_others",
                "serious_imminent",
                "none",
            ],
        ),
        cannot_protect_otherwise: !once_in(rng, 6),
    }
}

/// One question.
pub fn question(rng: &mut StdRng) -> ReceiveQuestion {
    let (sender_role, recipient_role) = pair(rng);
    let part = part(rng, (sender_role, recipient_role));
    let figures = part.category == "aggregate_stats";
    let purpose = match rng.random_range(0..4) {
        _ if figures && !once_in(rng, 4) => "statistics".to_owned(),
        0 => word(rng, &PURPOSES),
        _ => fitting_purpose(rng, recipient_role),
    };
    let consents = consents(rng, &part, (recipient_role, &purpose));
    let legal_basis = basis(rng, sender_role, recipient_role);
    let emergency = legal_basis == "emergency";
    let party = |rng: &mut StdRng, id: &str, role: &str| Party {
        id: id.to_owned(),
        role: role.to_owned(),
        side: once_in(rng, 10).then(|| word(rng, &["victim", "perpetrator", "mixed", "neutral"])),
        region: once_in(rng, 3).then(|| word(rng, &["vlg", "fwb"])),
    };
    let mut question = ReceiveQuestion {
        now: NOW,
        sender: party(rng, "sender", sender_role),
        recipient: party(rng, "recipient", recipient_role),
        purpose,
        legal_basis,
        urgency: if emergency && !once_in(rng, 8) {
            "immediate".to_owned()
        } else {
            word(rng, &["routine", "urgent", "immediate"])
        },
        roster_version_seen: [
            None,
            Some(4),
            Some(4),
            Some(4),
            Some(4),
            Some(4),
            Some(4),
            Some(3),
        ][rng.random_range(0..8)],
        case: Arc::new(case(rng)),
        part,
        consents,
        break_glass: (emergency && !once_in(rng, 12)).then(|| break_glass(rng)),
        report: (!once_in(rng, 4)).then(|| report(rng)),
        unknown: Vec::new(),
    };
    if once_in(rng, 40) {
        spoil(rng, &mut question);
    }
    if once_in(rng, 60) {
        // To itself; of one role, as agencies are, or of two.
        question.recipient.id = "sender".to_owned();
        if !once_in(rng, 4) {
            let side = question.recipient.side.take();
            question.recipient = Party {
                side,
                ..question.sender.clone()
            };
        }
    }
    question
}

/// A purpose the role may receive for, mostly.
fn fitting_purpose(rng: &mut StdRng, role: &str) -> String {
    let purposes = crate::oracle::purposes(role);
    if purposes.is_empty() {
        word(rng, &PURPOSES)
    } else {
        word(rng, purposes)
    }
}

/// One value that the vocabulary does not know.
fn spoil(rng: &mut StdRng, question: &mut ReceiveQuestion) {
    let strange = || "strange".to_owned();
    let case = Arc::make_mut(&mut question.case);
    match rng.random_range(0..10) {
        0 => question.sender.role = strange(),
        1 => question.recipient.role = strange(),
        2 => question.part.category = strange(),
        3 => question.part.source_secrecy = strange(),
        4 => case.status = strange().into(),
        5 => question.part.subjects.push(Subject {
            role: strange(),
            age_class: "adult".to_owned(),
            reference: None,
        }),
        6 => question.urgency = strange(),
        7 => question.unknown.push(strange()),
        8 => case.participants.push(Participant {
            id: strange().into(),
            status: strange().into(),
            ..Participant::default()
        }),
        _ => question.recipient.side = Some(strange()),
    }
}
