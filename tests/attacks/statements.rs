//! Hostile statements: forged, replayed, out of order, by the wrong agency, about another's case, a consent that the
//! perpetrator's side grants itself, a roster that lets in who writes it. Each is refused with its reason, stands in
//! the log as an attempt of whoever made it, and changes nothing.

use std::collections::BTreeMap;

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::ids::{CaseRef, StatementId, SubjectRef};
use schakel_proto::refusal;
use schakel_proto::statement::{
    Audience, Consent, Consultation, FactChain, ParsedStatement, RosterEntry, StatementBody,
};
use schakel_proto::wire::{self, Signed};
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Player, code};
use schakel_tests::system::told::{count, seeded};

mod acts;

use acts::{FORGED, NOT_ENTITLED, OUT_OF_ORDER, SELF_SERVED};

const POLICE: &str = "pz-rupel";
const PROSECUTOR: &str = "parket-antwerpen";
const WELFARE: &str = "caw-rupel";
/// Supervises offenders.
const WALL: &str = "jh-antwerpen-dader";
/// Serves the perpetrator too, in this case.
const FLAGGED: &str = "ocmw-niel";
/// Takes no part in the case.
const OUTSIDER: &str = "ocmw-hemiksem";
/// Could coordinate a case, but not this one.
const DIRECTOR: &str = "casusregisseur-rupel";
const HELPLINE: &str = "lijn-1712";
const PLAYERS: [&str; 8] = [
    POLICE, PROSECUTOR, WELFARE, WALL, FLAGGED, OUTSIDER, DIRECTOR, HELPLINE,
];
/// Rejections of one member that are logged in an hour, unless set otherwise.
const LEAVES_MAX_COUNT: usize = 12;

/// The scene: a case in progress, and another one of the same police zone.
struct Scene {
    players: BTreeMap<&'static str, Player>,
    case: CaseRef,
    other: CaseRef,
    /// One that the CAW opened for itself.
    without_police: CaseRef,
    victim: SubjectRef,
    /// A consent in the case, in force.
    given: Signed,
    /// A consent in the case that was withdrawn, and its withdrawal.
    spent: Signed,
    withdrawn: Signed,
    /// A house ban in the case, a table that the prosecutor convened.
    ban: Signed,
    table: Signed,
}

fn id(signed: &Signed) -> StatementId {
    ParsedStatement::parse(signed).unwrap().statement().id()
}

fn roster(active: &[&str]) -> Vec<RosterEntry> {
    let entry = |id: &&str| RosterEntry {
        perp_side: *id == FLAGGED,
        ..RosterEntry::active(agency(id))
    };
    active.iter().map(entry).collect()
}

fn consent(subject: SubjectRef, role: &str) -> Consent {
    Consent {
        subject,
        subject_role: code(role),
        given_by: code(role),
        capacity: code("self"),
        categories: vec![code("identity")],
        recipients: Audience {
            agencies: Vec::new(),
            roles: vec![code("caw_victim"), code("jh_offender")],
        },
        purposes: vec![code("victim_support")],
        informed: true,
        form: code("oral"),
        given: now(),
        expires: None,
        minor_cosign: false,
        parents_cosign: false,
        form_digest: None,
    }
}

fn ban() -> StatementBody {
    StatementBody::MeasureImposed {
        measure: code("house_ban"),
        until: None,
    }
}

fn changed(roster_version: u64, active: &[&str]) -> StatementBody {
    StatementBody::RosterChanged {
        roster_version,
        roster: roster(active),
    }
}

fn opened(active: &[&str]) -> StatementBody {
    StatementBody::CaseOpened {
        case_type: code("partner_violence"),
        region: code("vlg"),
        roster: roster(active),
    }
}

impl Scene {
    async fn set(town: &Town, rng: &mut StdRng) -> Self {
        let player = |id: &&'static str| (*id, Player::of(town, id, StdRng::from_rng(rng)));
        let mut players: BTreeMap<_, _> = PLAYERS.iter().map(player).collect();
        let mut random = StdRng::from_rng(rng);
        let [case, other, without_police] = [0, 1, 2].map(|_| CaseRef::random(&mut random));
        let victim = SubjectRef::random(&mut random);
        let mut say = async |who: &str, case, body| {
            let player = players.get_mut(who).unwrap();
            let signed = player.statement(case, body);
            player.submit_statement(signed.clone()).await.unwrap();
            signed
        };
        say(POLICE, case, opened(&[POLICE, WELFARE, WALL, FLAGGED])).await;
        say(POLICE, other, opened(&[POLICE, DIRECTOR])).await;
        say(WELFARE, without_police, opened(&[WELFARE])).await;
        let consented = || StatementBody::ConsentGiven(consent(victim, "victim"));
        let given = say(WELFARE, case, consented()).await;
        let spent = say(WELFARE, case, consented()).await;
        let withdrawal = StatementBody::ConsentWithdrawn { consent: id(&spent) };
        let withdrawn = say(WELFARE, case, withdrawal).await;
        let ban = say(PROSECUTOR, case, ban()).await;
        let table = StatementBody::ConsultationConvened(Consultation {
            basis: code("prosecutor_authorisation"),
            finality: code("protect_integrity"),
            valid_until: None,
        });
        let table = say(PROSECUTOR, case, table).await;
        Self {
            players,
            case,
            other,
            without_police,
            victim,
            given,
            spent,
            withdrawn,
            ban,
            table,
        }
    }

    fn player(&mut self, who: &str) -> &mut Player {
        self.players.get_mut(who).unwrap()
    }

    /// What an agency says of the case, signed well.
    fn says(&mut self, who: &str, body: StatementBody) -> Signed {
        let case = self.case;
        self.player(who).statement(case, body)
    }

    /// A prosecutor's house ban, changed and signed again by the same key.
    fn changed(&mut self, change: impl FnOnce(&mut wire::Statement)) -> Signed {
        let signed = self.says(PROSECUTOR, ban());
        let mut statement = wire::Statement::decode(signed.bytes).unwrap();
        change(&mut statement);
        self.player(PROSECUTOR).sign(statement.encode_to_vec())
    }

    async fn chains(&mut self) -> Vec<FactChain> {
        let mut chains = Vec::new();
        let cases = [
            (POLICE, self.case),
            (POLICE, self.other),
            (WELFARE, self.without_police),
        ];
        for (who, case) in cases {
            let request = wire::GetFactsRequest {
                case_ref: case.to_vec().into(),
            };
            let facts = self
                .player(who)
                .client
                .get_facts(request)
                .await
                .unwrap()
                .into_inner()
                .facts;
            chains.push(FactChain::check(&facts.unwrap()).unwrap());
        }
        chains
    }
}

#[test]
fn hostile_statements_are_refused_by_name_and_stand_in_the_log_as_attempts() {
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    let mut rng = seeded();
    let number = runtime().block_on(async {
        let mut scene = Scene::set(&town, &mut rng).await;
        let before = scene.chains().await;
        let acts = [FORGED, OUT_OF_ORDER, NOT_ENTITLED, SELF_SERVED].concat();
        let (mut attempts, mut other) = (BTreeMap::<&str, Vec<String>>::new(), Vec::new());
        for (what, who, expected, act) in &acts {
            let signed = act(&mut scene);
            let refused = scene.player(who).submit_statement(signed).await.expect_err(what);
            let refusal = refusal::from_status(&refused).unwrap_or_default();
            let (code, reason) = expected.split_once(' ').unwrap_or((expected, ""));
            if refusal.code != code || !refusal.sentence.ends_with(reason) {
                other.push(format!(
                    "{what}: {expected} expected, {} came: {}",
                    refusal.code, refusal.sentence
                ));
            }
            attempts.entry(who).or_default().push(refusal.code);
        }
        assert!(other.is_empty(), "{other:#?}");
        let after = scene.chains().await;
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(
                (after.count(), after.head()),
                (before.count(), before.head()),
                "nothing was taken"
            );
        }
        for (who, codes) in attempts {
            assert_eq!(
                rejections(scene.player(who)).await,
                codes,
                "{who}'s attempts in the log"
            );
        }
        acts.len()
    });
    count(
        number as u64,
        "kinds of hostile statement refused, each an attempt in the log",
    );
}

#[test]
fn c13_replayed_statements_are_answered_as_before_and_change_nothing() {
    let town = Town::running(&[]);
    let mut rng = seeded();
    runtime().block_on(async {
        let mut scene = Scene::set(&town, &mut rng).await;
        let before = scene.chains().await;
        // The consent after its withdrawal, too: it does not come to life again.
        for signed in [scene.given.clone(), scene.spent.clone(), scene.withdrawn.clone()] {
            let first = scene
                .player(WELFARE)
                .submit_statement(signed.clone())
                .await
                .unwrap();
            let again = scene.player(WELFARE).submit_statement(signed).await.unwrap();
            assert_eq!(first, again);
        }
        let after = scene.chains().await;
        assert_eq!(
            (after[0].count(), after[0].head()),
            (before[0].count(), before[0].head())
        );
        assert_eq!(rejections(scene.player(WELFARE)).await, Vec::<String>::new());
    });
}

#[test]
fn who_tries_without_end_does_not_fill_the_log() {
    let town = Town::running(&[]);
    let mut rng = seeded();
    runtime().block_on(async {
        let mut scene = Scene::set(&town, &mut rng).await;
        for _ in 0..2 * LEAVES_MAX_COUNT {
            let signed = scene.says(WALL, ban());
            let refused = scene.player(WALL).submit_statement(signed).await.unwrap_err();
            assert_eq!(refusal::from_status(&refused).unwrap().code, "STATE_REFUSED");
        }
        let logged = rejections(scene.player(WALL)).await;
        assert_eq!(logged, vec!["STATE_REFUSED"; LEAVES_MAX_COUNT]);
        // Another member's attempts have a share of their own.
        let signed = scene.says(OUTSIDER, ban());
        scene.player(OUTSIDER).submit_statement(signed).await.unwrap_err();
        assert_eq!(rejections(scene.player(OUTSIDER)).await, ["STATE_REFUSED"]);
    });
}

/// The codes of the attempts that the log shows to their maker, in order; read up to a case that it opens now.
async fn rejections(player: &mut Player) -> Vec<String> {
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: 0,
    };
    let mut frames = player.client.follow_evidence(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Ok(frame) = tokio::time::timeout(std::time::Duration::from_secs(3), frames.message()).await {
        let Some(frame) = frame.unwrap() else { break };
        let body = wire::EvidenceBody::decode(frame.evidence.unwrap().body).unwrap();
        if body.event == "schakel:StatementRejected" {
            assert!(
                body.case_ref.is_empty(),
                "what it pretended to be about is not recorded"
            );
            found.push(body.reason);
        }
    }
    found
}
