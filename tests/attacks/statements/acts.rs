//! The hostile statements, one by one.

use prost::Message;
use schakel_proto::ids::{CaseRef, PacketId};
use schakel_proto::party::OfficerId;
use schakel_proto::statement::{Audience, Consultation, Mandate, StatementBody};
use schakel_proto::wire::{self, Signed};
use schakel_tests::system::network::{agency, now};
use schakel_tests::system::player::code;

use super::{
    DIRECTOR, FLAGGED, HELPLINE, OUTSIDER, POLICE, PROSECUTOR, Scene, WALL, WELFARE, ban, changed, consent,
    id, opened, roster,
};

/// What is done, by whom, the code that it must give with the policy's reason in it, and how.
pub type Act = (&'static str, &'static str, &'static str, fn(&mut Scene) -> Signed);

/// Forged, and malformed.
pub const FORGED: &[Act] = &[
    ("the signature altered", PROSECUTOR, "STATEMENT_SIGNATURE", |s| {
        let mut signed = s.says(PROSECUTOR, ban());
        let mut signature = signed.signature.to_vec();
        *signature.last_mut().unwrap() ^= 1;
        signed.signature = signature.into();
        signed
    }),
    (
        "another case, the signature kept",
        PROSECUTOR,
        "STATEMENT_SIGNATURE",
        |s| {
            let (signed, other) = (s.says(PROSECUTOR, ban()), s.other);
            let mut statement = wire::Statement::decode(signed.bytes).unwrap();
            statement.case_ref = other.to_vec().into();
            Signed {
                bytes: statement.encode_to_vec().into(),
                signature: signed.signature,
            }
        },
    ),
    (
        "another's key under one's own name",
        PROSECUTOR,
        "STATEMENT_SIGNATURE",
        |s| {
            let bytes = s.says(PROSECUTOR, ban()).bytes.to_vec();
            s.player(POLICE).sign(bytes)
        },
    ),
    (
        "a key that is not the agency's",
        PROSECUTOR,
        "STATEMENT_KEY",
        |s| {
            let of_police = s.says(POLICE, ban()).bytes;
            let key = wire::Statement::decode(of_police).unwrap().agency_key;
            s.changed(|statement| statement.agency_key = key)
        },
    ),
    (
        "in the prosecutor's name, by the police",
        POLICE,
        "STATEMENT_SIGNATURE",
        |s| {
            let of_prosecutor = s.says(PROSECUTOR, ban()).bytes;
            let mut statement = wire::Statement::decode(of_prosecutor).unwrap();
            POLICE.clone_into(&mut statement.agency);
            let of_police = wire::Statement::decode(s.says(POLICE, ban()).bytes).unwrap();
            statement.agency_key = of_police.agency_key;
            s.player(PROSECUTOR).sign(statement.encode_to_vec())
        },
    ),
    (
        "the prosecutor's own words, brought by another",
        POLICE,
        "STATEMENT_NOT_CALLER",
        |s| s.says(PROSECUTOR, ban()),
    ),
    ("of another network", PROSECUTOR, "STATEMENT_NETWORK", |s| {
        s.changed(|statement| "elders".clone_into(&mut statement.network))
    }),
    ("of another type", PROSECUTOR, "STATEMENT_MALFORMED", |s| {
        s.changed(|statement| "schakel.v1.Manifest".clone_into(&mut statement.r#type))
    }),
    ("made in the future", PROSECUTOR, "STATEMENT_FUTURE", |s| {
        s.changed(|statement| statement.made_ms += 3_600_000)
    }),
    ("dated back", PROSECUTOR, "STATEMENT_MALFORMED", |s| {
        s.changed(|statement| statement.made_ms -= 3_600_000)
    }),
    ("saying nothing", PROSECUTOR, "STATEMENT_MALFORMED", |s| {
        s.changed(|statement| statement.body = None)
    }),
    ("rubbish", PROSECUTOR, "STATEMENT_MALFORMED", |s| {
        s.player(PROSECUTOR).sign(vec![0xff; 300])
    }),
];

/// Replayed, and out of order.
pub const OUT_OF_ORDER: &[Act] = &[
    (
        "an id again, for other words",
        PROSECUTOR,
        "STATEMENT_ID_REUSED",
        |s| {
            let id = id(&s.ban);
            s.changed(|statement| statement.statement_id = id.to_vec().into())
        },
    ),
    (
        "a consent replayed by another",
        POLICE,
        "STATEMENT_NOT_CALLER",
        |s| s.given.clone(),
    ),
    ("a case opened again", POLICE, "CASE_ALREADY_OPEN", |s| {
        s.says(POLICE, opened(&[POLICE]))
    }),
    (
        "the roster of a case that is not open",
        POLICE,
        "CASE_NOT_OPEN",
        |s| {
            let case = CaseRef::random(&mut s.player(POLICE).rng);
            s.player(POLICE).statement(case, changed(2, &[POLICE]))
        },
    ),
    (
        "a measure in a case that is not open",
        PROSECUTOR,
        "STATEMENT_OUT_OF_PLACE",
        |s| {
            let case = CaseRef::random(&mut s.player(PROSECUTOR).rng);
            s.player(PROSECUTOR).statement(case, ban())
        },
    ),
    ("a roster version left out", POLICE, "STALE_ROSTER", |s| {
        s.says(POLICE, changed(3, &[POLICE, WELFARE]))
    }),
    (
        "a closed case's last word first: reopened",
        PROSECUTOR,
        "STATEMENT_OUT_OF_PLACE",
        |s| s.says(PROSECUTOR, StatementBody::CaseReopened),
    ),
    ("a withdrawal again", WELFARE, "STATEMENT_OUT_OF_PLACE", |s| {
        let consent = id(&s.spent);
        s.says(WELFARE, StatementBody::ConsentWithdrawn { consent })
    }),
    (
        "a withdrawal of what was never given",
        WELFARE,
        "STATEMENT_OUT_OF_PLACE",
        |s| {
            let consent = id(&s.ban);
            s.says(WELFARE, StatementBody::ConsentWithdrawn { consent })
        },
    ),
    (
        "a measure of another case lifted",
        PROSECUTOR,
        "STATEMENT_OUT_OF_PLACE",
        |s| {
            let (case, measure) = (s.other, id(&s.ban));
            let lifted = StatementBody::MeasureLifted { measure };
            s.player(PROSECUTOR).statement(case, lifted)
        },
    ),
];

/// By the wrong agency, or about another's case.
pub const NOT_ENTITLED: &[Act] = &[
    (
        "a house ban by the CAW",
        WELFARE,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| s.says(WELFARE, ban()),
    ),
    (
        "a house ban lifted by the police",
        POLICE,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let measure = id(&s.ban);
            s.says(POLICE, StatementBody::MeasureLifted { measure })
        },
    ),
    (
        "a mandate by its holder",
        WALL,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let mandate = Mandate {
                holder: agency(WALL),
                actors: vec![agency(WELFARE)],
                until: None,
            };
            s.says(WALL, StatementBody::MandateGiven(mandate))
        },
    ),
    (
        "the investigation released by the police",
        POLICE,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let to = Audience {
                agencies: vec![agency(WALL)],
                roles: Vec::new(),
            };
            s.says(POLICE, StatementBody::InvestigationReleased(to))
        },
    ),
    (
        "a dossier transferred by the CAW",
        WELFARE,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            s.says(
                WELFARE,
                StatementBody::DossierTransferred { to: agency(DIRECTOR) },
            )
        },
    ),
    (
        "a case closed by a mere participant",
        WELFARE,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| s.says(WELFARE, StatementBody::CaseClosed),
    ),
    (
        "a table convened by the CAW",
        WELFARE,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let table = Consultation {
                basis: code("decree_vh"),
                finality: code("protect_integrity"),
                valid_until: None,
            };
            s.says(WELFARE, StatementBody::ConsultationConvened(table))
        },
    ),
    (
        "a table signed from outside",
        OUTSIDER,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let consultation = id(&s.table);
            s.says(OUTSIDER, StatementBody::ConsultationSigned { consultation })
        },
    ),
    (
        "another's case closed",
        OUTSIDER,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| s.says(OUTSIDER, StatementBody::CaseClosed),
    ),
    (
        "a consent withdrawn from outside",
        OUTSIDER,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let consent = id(&s.given);
            s.says(OUTSIDER, StatementBody::ConsentWithdrawn { consent })
        },
    ),
    (
        "a helpline opens a case",
        HELPLINE,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let case = CaseRef::random(&mut s.player(HELPLINE).rng);
            s.player(HELPLINE).statement(case, opened(&[HELPLINE]))
        },
    ),
    ("a case opened for others", OUTSIDER, "STATEMENT_MALFORMED", |s| {
        let case = CaseRef::random(&mut s.player(OUTSIDER).rng);
        let own = s.player(OUTSIDER).statement(case, opened(&[OUTSIDER, WALL]));
        let mut statement = wire::Statement::decode(own.bytes).unwrap();
        let Some(wire::statement::Body::CaseOpened(opened)) = &mut statement.body else {
            unreachable!()
        };
        opened.roster.retain(|entry| entry.agency != OUTSIDER);
        s.player(OUTSIDER).sign(statement.encode_to_vec())
    }),
    (
        "a review of an emergency that never was",
        WELFARE,
        "STATE_REFUSED (STATE_OWN_EMERGENCY)",
        |s| {
            let packet = PacketId::new(now(), &mut s.player(WELFARE).rng);
            let review = StatementBody::BreakGlassReviewed {
                packet,
                reviewer: OfficerId::new("nazicht").unwrap(),
                finding: code("justified"),
            };
            s.says(WELFARE, review)
        },
    ),
];

/// Consent that somebody grants itself, and rosters that let in who writes them.
pub const SELF_SERVED: &[Act] = &[
    (
        "the victim's consent, by the perpetrator's side",
        WALL,
        "STATE_REFUSED (STATE_SERVES_PERPETRATOR)",
        |s| {
            let consent = consent(s.victim, "victim");
            s.says(WALL, StatementBody::ConsentGiven(consent))
        },
    ),
    (
        "a child's consent, by a flagged participant",
        FLAGGED,
        "STATE_REFUSED (STATE_SERVES_PERPETRATOR)",
        |s| {
            let consent = consent(s.victim, "child");
            s.says(FLAGGED, StatementBody::ConsentGiven(consent))
        },
    ),
    (
        "the victim's refusal, by the perpetrator's side",
        WALL,
        "STATE_REFUSED (STATE_SERVES_PERPETRATOR)",
        |s| {
            let consent = consent(s.victim, "victim");
            s.says(WALL, StatementBody::ConsentRefused(consent))
        },
    ),
    (
        "the victim's consent, from outside",
        OUTSIDER,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let consent = consent(s.victim, "victim");
            s.says(OUTSIDER, StatementBody::ConsentGiven(consent))
        },
    ),
    (
        "an outsider lets itself in",
        OUTSIDER,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| s.says(OUTSIDER, changed(2, &[POLICE, WELFARE, WALL, FLAGGED, OUTSIDER])),
    ),
    (
        "the police zone lets itself in, and another with it",
        POLICE,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let case = s.without_police;
            s.player(POLICE)
                .statement(case, changed(2, &[WELFARE, POLICE, OUTSIDER]))
        },
    ),
    (
        "a case director lets itself in",
        DIRECTOR,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| s.says(DIRECTOR, changed(2, &[POLICE, WELFARE, WALL, FLAGGED, DIRECTOR])),
    ),
    (
        "a participant takes off its own flag",
        FLAGGED,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| {
            let mut entries = roster(&[POLICE, WELFARE, WALL, FLAGGED]);
            entries.iter_mut().for_each(|entry| entry.perp_side = false);
            let body = StatementBody::RosterChanged {
                roster_version: 2,
                roster: entries,
            };
            s.says(FLAGGED, body)
        },
    ),
    (
        "a participant has the others out",
        WALL,
        "STATE_REFUSED (STATE_NOT_ENTITLED)",
        |s| s.says(WALL, changed(2, &[WALL])),
    ),
];
