//! Every other statement: who may make it, and who may see it (architecture.md, "Facts").

use std::sync::Arc;

use schakel_policy::question::{InspectQuestion, Said, Shown, StateQuestion, StatementKind};

use crate::engine;
use crate::generator::{NOW, ROLES};
use crate::statements::{Scene, party};

/// Who is in the scene of the tests below: id, role.
const MEMBERS: [(&str, &str); 9] = [
    ("fjc", "fjc"),
    ("cd", "case_director"),
    ("pz", "police_zone"),
    ("caw", "caw_victim"),
    ("jh", "jh_offender"),
    ("praxis", "perp_programme"),
    ("ocmw", "ocmw"),
    ("vk", "vk"),
    ("court", "family_court"),
];

fn say(scene: &Scene, speaker: (&str, &str), name: &str, said: Said) -> String {
    let question = StateQuestion {
        now: NOW,
        speaker: party(speaker.0, speaker.1),
        competent: false,
        roles: scene.roles.clone(),
        case: Some(Arc::new(scene.case.clone())),
        statement: StatementKind::Other {
            name: name.to_owned(),
            said,
        },
    };
    let permission = engine().state(&question);
    assert_eq!(
        permission.granted(),
        permission.reason() == "STATE_OK",
        "{permission:?}"
    );
    permission.reason().to_owned()
}

/// The statement's name and who, of the members and of strangers in each role, may make it on an open case.
#[test]
fn each_statement_is_made_by_those_that_the_design_names_and_nobody_else() {
    let scene = Scene::new(&MEMBERS);
    let everybody: Vec<&str> = MEMBERS.iter().map(|(id, _)| *id).collect();
    let orders = [
        "mandate_given",
        "mandate_ended",
        "measure_imposed",
        "measure_extended",
        "measure_lifted",
    ];
    let mut table: Vec<(&str, Vec<&str>, Vec<&str>)> = vec![
        ("case_closed", vec!["fjc", "cd"], vec!["prosecutor"]),
        ("case_reopened", vec!["fjc", "cd"], vec!["prosecutor"]),
        ("consultation_convened", vec!["fjc", "cd"], vec!["prosecutor"]),
        ("consultation_ended", vec!["fjc", "cd"], vec!["prosecutor"]),
        ("consultation_signed", everybody.clone(), vec![]),
        ("investigation_released", vec![], vec!["prosecutor"]),
        ("consent_withdrawn", everybody.clone(), vec![]),
        ("consent_given", everybody.clone(), vec![]),
        ("consent_refused", everybody, vec![]),
        ("dossier_transferred", vec!["fjc"], vec![]),
    ];
    table.extend(orders.map(|name| (name, vec!["court"], vec!["prosecutor", "family_court"])));
    for (name, members, strangers) in table {
        for (id, role) in MEMBERS {
            let expected = if members.contains(&id) {
                "STATE_OK"
            } else {
                "STATE_NOT_ENTITLED"
            };
            assert_eq!(
                say(&scene, (id, role), name, Said::default()),
                expected,
                "{id} says {name}"
            );
        }
        for role in ROLES {
            let expected = if strangers.contains(&role) {
                "STATE_OK"
            } else {
                "STATE_NOT_ENTITLED"
            };
            assert_eq!(
                say(&scene, ("stranger", role), name, Said::default()),
                expected,
                "{role} says {name}"
            );
        }
    }
}

#[test]
fn only_the_prosecutor_convenes_on_its_own_authorisation() {
    let scene = Scene::new(&MEMBERS);
    for (basis, fjc, prosecutor) in [
        ("decree_vh", "STATE_OK", "STATE_OK"),
        ("law", "STATE_OK", "STATE_OK"),
        ("prosecutor_authorisation", "STATE_NOT_ENTITLED", "STATE_OK"),
        ("friendship", "DENY_UNKNOWN_VALUE", "DENY_UNKNOWN_VALUE"),
    ] {
        let said = || Said {
            table_basis: Some(basis.to_owned()),
            ..Said::default()
        };
        assert_eq!(
            say(&scene, ("fjc", "fjc"), "consultation_convened", said()),
            fjc,
            "{basis}"
        );
        assert_eq!(
            say(&scene, ("parket", "prosecutor"), "consultation_convened", said()),
            prosecutor,
            "{basis}"
        );
    }
}

#[test]
fn the_perpetrator_side_states_no_consent_of_a_victim_or_child() {
    let mut scene = Scene::new(&MEMBERS);
    scene.case.participants[6].perp_side = true; // the OCMW lodges the perpetrator too
    for (subject, expected) in [
        ("victim", "STATE_SERVES_PERPETRATOR"),
        ("child", "STATE_SERVES_PERPETRATOR"),
        ("perpetrator", "STATE_OK"),
        ("neighbour", "DENY_UNKNOWN_VALUE"),
    ] {
        let said = || Said {
            subject: Some(subject.to_owned()),
            ..Said::default()
        };
        for name in ["consent_given", "consent_refused"] {
            for speaker in [
                ("jh", "jh_offender"),
                ("praxis", "perp_programme"),
                ("ocmw", "ocmw"),
            ] {
                assert_eq!(
                    say(&scene, speaker, name, said()),
                    expected,
                    "{speaker:?} {subject}"
                );
            }
        }
    }
    let victim = Said {
        subject: Some("victim".to_owned()),
        ..Said::default()
    };
    assert_eq!(
        say(&scene, ("caw", "caw_victim"), "consent_given", victim),
        "STATE_OK"
    );
    let unknown = Said {
        roles: vec!["school".to_owned()],
        ..Said::default()
    };
    assert_eq!(
        say(&scene, ("caw", "caw_victim"), "consent_given", unknown),
        "DENY_UNKNOWN_VALUE"
    );
    let unknown = Said {
        categories: vec!["gossip".to_owned()],
        ..Said::default()
    };
    assert_eq!(
        say(&scene, ("caw", "caw_victim"), "consent_given", unknown),
        "DENY_UNKNOWN_VALUE"
    );
}

#[test]
fn an_emergency_is_reviewed_by_the_one_named_and_never_by_the_one_that_broke_it() {
    let scene = Scene::new(&MEMBERS);
    for (own, named, expected) in [
        (false, true, "STATE_OK"),
        (false, false, "STATE_NOT_ENTITLED"),
        (true, true, "STATE_OWN_EMERGENCY"),
        (true, false, "STATE_OWN_EMERGENCY"),
    ] {
        let said = Said {
            own,
            named,
            ..Said::default()
        };
        assert_eq!(say(&scene, ("vk", "vk"), "break_glass_reviewed", said), expected);
    }
}

#[test]
fn a_closed_case_takes_no_new_sharing_but_a_withdrawal_always() {
    let mut scene = Scene::new(&MEMBERS);
    scene.case.status = "closed".into();
    let fjc = ("fjc", "fjc");
    for name in [
        "consultation_convened",
        "consultation_signed",
        "consent_given",
        "dossier_transferred",
    ] {
        assert_eq!(
            say(&scene, fjc, name, Said::default()),
            "STATE_CASE_CLOSED",
            "{name}"
        );
    }
    for name in [
        "consent_withdrawn",
        "consent_refused",
        "case_reopened",
        "consultation_ended",
    ] {
        assert_eq!(say(&scene, fjc, name, Said::default()), "STATE_OK", "{name}");
    }
    let nothing = StateQuestion {
        now: NOW,
        speaker: party("parket", "prosecutor"),
        competent: false,
        roles: Vec::new(),
        case: None,
        statement: StatementKind::Other {
            name: "measure_imposed".to_owned(),
            said: Said::default(),
        },
    };
    assert_eq!(engine().state(&nothing).reason(), "STATE_CASE_UNKNOWN");
    assert_eq!(
        say(&scene, fjc, "rumour_spread", Said::default()),
        "DENY_POLICY_ERROR",
        "a statement that the schema does not know is refused"
    );
}

fn see(scene: &Scene, reader: (&str, &str), shown: Shown) -> String {
    let question = InspectQuestion {
        now: NOW,
        reader: party(reader.0, reader.1),
        case: Arc::new(scene.case.clone()),
        shown,
    };
    let permission = engine().inspect(&question);
    if permission.granted() {
        "shown".to_owned()
    } else {
        permission.reason().to_owned()
    }
}

#[test]
fn participants_and_the_prosecutor_see_a_case_and_nobody_else() {
    let mut scene = Scene::new(&[("pz", "police_zone"), ("caw", "caw_victim")]);
    scene.case.participants[1].status = "suspended".into();
    let opened = || Shown {
        name: "case_opened".to_owned(),
        ..Shown::default()
    };
    assert_eq!(see(&scene, ("pz", "police_zone"), opened()), "shown");
    assert_eq!(see(&scene, ("parket", "prosecutor"), opened()), "shown");
    for outsider in [("caw", "caw_victim"), ("ocmw", "ocmw")] {
        assert_eq!(see(&scene, outsider, opened()), "INSPECT_NOT_A_PARTICIPANT");
        let own = Shown {
            speaker: true,
            covered: true,
            ..opened()
        };
        assert_eq!(
            see(&scene, outsider, own),
            "INSPECT_NOT_A_PARTICIPANT",
            "not even its own"
        );
    }
}

#[test]
fn a_consent_is_seen_by_those_it_concerns_and_not_by_the_perpetrator_side() {
    let mut scene = Scene::new(&MEMBERS);
    scene.case.participants[6].perp_side = true;
    for name in ["consent_given", "consent_refused"] {
        for (subject, covered) in [
            ("victim", false),
            ("child", false),
            ("perpetrator", false),
            ("victim", true),
        ] {
            for (id, role) in MEMBERS {
                let shown = Shown {
                    name: name.to_owned(),
                    speaker: false,
                    covered,
                    subject: Some(subject.to_owned()),
                };
                let expected = covered || ["fjc", "case_director"].contains(&role);
                assert_eq!(
                    see(&scene, (id, role), shown) == "shown",
                    expected,
                    "{id} {name} {subject} {covered}"
                );
            }
        }
    }
    let mine = Shown {
        name: "consent_given".to_owned(),
        speaker: true,
        covered: false,
        subject: Some("victim".to_owned()),
    };
    assert_eq!(see(&scene, ("caw", "caw_victim"), mine), "shown");
    let release = |covered| Shown {
        name: "investigation_released".to_owned(),
        covered,
        ..Shown::default()
    };
    assert_eq!(see(&scene, ("pz", "police_zone"), release(false)), "shown");
    assert_eq!(
        see(&scene, ("jh", "jh_offender"), release(false)),
        "INSPECT_NOT_SHOWN"
    );
    assert_eq!(see(&scene, ("jh", "jh_offender"), release(true)), "shown");
    let review = || Shown {
        name: "break_glass_reviewed".to_owned(),
        ..Shown::default()
    };
    assert_eq!(see(&scene, ("caw", "caw_victim"), review()), "shown");
    for wall in [
        ("jh", "jh_offender"),
        ("praxis", "perp_programme"),
        ("ocmw", "ocmw"),
    ] {
        assert_eq!(see(&scene, wall, review()), "INSPECT_NOT_SHOWN");
    }
    let measure = Shown {
        name: "measure_imposed".to_owned(),
        ..Shown::default()
    };
    assert_eq!(
        see(&scene, ("jh", "jh_offender"), measure),
        "shown",
        "who enforces it must know it"
    );
}
