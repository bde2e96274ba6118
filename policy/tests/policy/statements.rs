//! Who may open a case, change its roster, and see its statements (architecture.md, "Facts").

use std::sync::Arc;

use schakel_policy::facts::{CaseState, Participant};
use schakel_policy::question::{Party, StateQuestion, StatementKind};
use schakel_proto::time::Timestamp;

use crate::engine;
use crate::generator::{NOW, ROLES};

pub fn party(id: &str, role: &str) -> Party {
    Party {
        id: id.to_owned(),
        role: role.to_owned(),
        ..Party::default()
    }
}

fn member(id: &str) -> Participant {
    Participant {
        id: id.into(),
        status: "active".into(),
        ..Participant::default()
    }
}

fn roles(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(id, role)| ((*id).to_owned(), (*role).to_owned()))
        .collect()
}

pub struct Scene {
    pub case: CaseState,
    pub roles: Vec<(String, String)>,
}

impl Scene {
    pub fn new(members: &[(&str, &str)]) -> Self {
        let roster = members.iter().map(|(id, _)| member(id)).collect();
        Self {
            case: CaseState::opened(members[0].0, "partner_violence", "vlg", roster),
            roles: roles(members),
        }
    }

    fn change(&self, speaker: Party, competent: bool, version: u64, roster: Vec<Participant>) -> String {
        let question = StateQuestion {
            now: NOW,
            speaker,
            competent,
            roles: self.roles.clone(),
            case: Some(Arc::new(self.case.clone())),
            statement: StatementKind::RosterChanged { version, roster },
        };
        let permission = engine().state(&question);
        assert_eq!(permission.granted(), permission.reason() == "STATE_OK");
        permission.reason().to_owned()
    }

    fn with(&self, more: &[Participant]) -> Vec<Participant> {
        self.case.participants.iter().chain(more).cloned().collect()
    }
}

#[test]
fn every_member_but_helpline_and_municipality_opens_a_case_that_names_it() {
    let engine = engine();
    let open = |role: &str, roster: &[&str], case: Option<Arc<CaseState>>| {
        let question = StateQuestion {
            now: NOW,
            speaker: party("me", role),
            competent: false,
            roles: Vec::new(),
            case,
            statement: StatementKind::CaseOpened {
                roster: roster.iter().map(|s| (*s).to_owned()).collect(),
            },
        };
        engine.state(&question).reason().to_owned()
    };
    for role in ROLES {
        let expected = if ["helpline", "municipality"].contains(&role) {
            "STATE_NOT_ENTITLED"
        } else {
            "STATE_OK"
        };
        assert_eq!(open(role, &["me", "other"], None), expected, "{role}");
    }
    assert_eq!(open("police_zone", &["other"], None), "STATE_OPENER_NOT_NAMED");
    let known = Some(Arc::new(CaseState::opened(
        "x",
        "partner_violence",
        "vlg",
        vec![],
    )));
    assert_eq!(open("police_zone", &["me"], known), "STATE_CASE_EXISTS");
    assert_eq!(open("school", &["me"], None), "DENY_UNKNOWN_VALUE");
}

#[test]
fn the_coordinator_keeps_the_roster_and_without_one_the_opener() {
    let scene = Scene::new(&[
        ("pz", "police_zone"),
        ("regisseur", "case_director"),
        ("caw", "caw_victim"),
    ]);
    let wider = scene.with(&[member("ocmw")]);
    let change = |speaker: Party| scene.change(speaker, false, 2, wider.clone());
    assert_eq!(change(party("regisseur", "case_director")), "STATE_OK");
    assert_eq!(change(party("parket", "prosecutor")), "STATE_OK");
    assert_eq!(
        change(party("pz", "police_zone")),
        "STATE_NOT_ENTITLED",
        "there is a coordinator"
    );
    assert_eq!(change(party("caw", "caw_victim")), "STATE_NOT_ENTITLED");
    assert_eq!(
        change(party("veilig-huis", "fjc")),
        "STATE_NOT_ENTITLED",
        "not on the roster"
    );

    let mut without = Scene::new(&[("pz", "police_zone"), ("caw", "caw_victim")]);
    let wider = without.with(&[member("ocmw")]);
    assert_eq!(
        without.change(party("pz", "police_zone"), false, 2, wider.clone()),
        "STATE_OK"
    );
    assert_eq!(
        without.change(party("caw", "caw_victim"), false, 2, wider.clone()),
        "STATE_NOT_ENTITLED"
    );
    assert_eq!(
        without.change(party("pz", "police_zone"), false, 3, wider.clone()),
        "STATE_STALE_ROSTER"
    );
    assert_eq!(
        without.change(party("pz", "police_zone"), false, 1, wider.clone()),
        "STATE_STALE_ROSTER"
    );
    without.case.status = "closed".into();
    assert_eq!(
        without.change(party("pz", "police_zone"), false, 2, wider),
        "STATE_CASE_CLOSED"
    );
}

#[test]
fn a_coordinator_that_left_coordinates_no_more() {
    let mut scene = Scene::new(&[("pz", "police_zone"), ("regisseur", "case_director")]);
    scene.case.participants[1].status = "left".into();
    let wider = scene.with(&[member("ocmw")]);
    assert_eq!(
        scene.change(party("pz", "police_zone"), false, 2, wider.clone()),
        "STATE_OK"
    );
    assert_eq!(
        scene.change(party("regisseur", "case_director"), false, 2, wider),
        "STATE_NOT_ENTITLED"
    );
}

#[test]
fn nobody_adds_itself_but_prosecutor_and_competent_zone() {
    let scene = Scene::new(&[("pz", "police_zone"), ("regisseur", "case_director")]);
    let joined = |id: &str| scene.with(&[member(id)]);
    assert_eq!(
        scene.change(party("parket", "prosecutor"), false, 2, joined("parket")),
        "STATE_OK"
    );
    assert_eq!(
        scene.change(party("pz-2", "police_zone"), true, 2, joined("pz-2")),
        "STATE_OK"
    );
    assert_eq!(
        scene.change(party("pz-2", "police_zone"), false, 2, joined("pz-2")),
        "STATE_NOT_ENTITLED"
    );
    let both = scene.with(&[member("pz-2"), member("friend")]);
    assert_eq!(
        scene.change(party("pz-2", "police_zone"), true, 2, both),
        "STATE_NOT_ENTITLED"
    );
    assert_eq!(
        scene.change(party("caw", "caw_victim"), true, 2, joined("caw")),
        "STATE_NOT_ENTITLED"
    );

    // An opener that lifts its own suspension, end or flag gives itself something.
    let mut own = Scene::new(&[("pz", "police_zone"), ("caw", "caw_victim")]);
    own.case.participants[0].perp_side = true;
    let mut cleared = own.case.participants.clone();
    cleared[0].perp_side = false;
    assert_eq!(
        own.change(party("pz", "police_zone"), false, 2, cleared),
        "STATE_ADDS_ITSELF"
    );
    own.case.participants[0].until = Some(Timestamp::from_millis(NOW.millis() + 1));
    let mut longer = own.case.participants.clone();
    longer[0].until = None;
    assert_eq!(
        own.change(party("pz", "police_zone"), false, 2, longer),
        "STATE_ADDS_ITSELF"
    );
}

#[test]
fn a_roster_needs_a_case() {
    let engine = engine();
    let question = StateQuestion {
        now: NOW,
        speaker: party("parket", "prosecutor"),
        competent: false,
        roles: Vec::new(),
        case: None,
        statement: StatementKind::RosterChanged {
            version: 1,
            roster: vec![member("parket")],
        },
    };
    assert_eq!(engine.state(&question).reason(), "STATE_CASE_UNKNOWN");
}
