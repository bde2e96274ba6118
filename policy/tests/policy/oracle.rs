//! The specification (domain.md 6.4 to 6.7) once more, as a procedure and not as rules: written from the text,
//! without a look at the policies. Engine and oracle must agree on every question.

use std::collections::BTreeSet;

use schakel_policy::matrix::{Matrix, Verdict};
use schakel_policy::question::{Party, ReceiveQuestion};

use crate::generator::{BASES, CATEGORIES, ROLES, SECRECIES, SUBJECTS};

mod bases;
mod keys;
mod obligations;
#[rustfmt::skip]
mod tables;

use tables::{EMERGENCY_LIST, POLICE};
pub use tables::{may_originate, purposes};

/// Outcome word, reason code, obligations.
pub type Verdicts = (&'static str, String, BTreeSet<String>);

fn side(party: &Party) -> &str {
    party.side.as_deref().unwrap_or(match party.role.as_str() {
        "jh_offender" | "perp_programme" => "perpetrator",
        "jh_victim" | "caw_victim" => "victim",
        "family_court" | "youth_court" | "fjc" | "case_director" | "vk" => "mixed",
        _ => "neutral",
    })
}

/// The question with the words the procedure needs.
struct Asked<'a> {
    q: &'a ReceiveQuestion,
    s: &'a str,
    r: &'a str,
    basis: &'a str,
    category: &'a str,
    figures: bool,
}

/// What the specification says of a question.
pub fn decide(q: &ReceiveQuestion, matrix: &Matrix) -> Verdicts {
    let asked = Asked {
        q,
        s: &q.sender.role,
        r: &q.recipient.role,
        basis: if BASES[..14].contains(&q.legal_basis.as_str()) {
            &q.legal_basis
        } else {
            "?"
        },
        category: &q.part.category,
        figures: q.part.category == "aggregate_stats",
    };
    let plain = |reason: &str| -> Verdicts {
        let both = ["log-denial", "tell-sender-reason"]
            .map(str::to_owned)
            .into_iter()
            .collect();
        ("deny-packet", reason.to_owned(), both)
    };
    if !asked.known() {
        return plain("DENY_UNKNOWN_VALUE");
    }
    if let Err((outcome, reason)) = asked.gates().and_then(|()| asked.part_gates(matrix)) {
        return (outcome, reason.to_owned(), asked.on_refusal(reason));
    }
    match asked.open(matrix) {
        Ok(reason) => ("deliver", reason.to_owned(), asked.on_delivery(reason)),
        Err(reason) if reason.starts_with("HOLD") => {
            let mut held = vec!["seek-consent", "park-encrypted-max-14d", "tell-sender-reason"];
            if asked.category == "alert" {
                held.push("offer-break-glass");
            }
            (
                "hold-for-consent",
                reason.to_owned(),
                held.into_iter().map(str::to_owned).collect(),
            )
        }
        Err(reason) => ("withhold", reason.to_owned(), asked.on_refusal(reason)),
    }
}

type Refused = (&'static str, &'static str);

impl Asked<'_> {
    fn known(&self) -> bool {
        let q = self.q;
        let sides = ["victim", "perpetrator", "mixed", "neutral"];
        ROLES.contains(&self.s)
            && ROLES.contains(&self.r)
            && CATEGORIES.contains(&self.category)
            && SECRECIES.contains(&q.part.source_secrecy.as_str())
            && ["open", "intake", "closed", "archived"].contains(&q.case.status.as_str())
            && ["routine", "urgent", "immediate"].contains(&q.urgency.as_str())
            && q.part
                .subjects
                .iter()
                .all(|s| SUBJECTS.contains(&s.role.as_str()))
            && q.case
                .participants
                .iter()
                .all(|p| ["active", "suspended", "left", "removed"].contains(&p.status.as_str()))
            && q.recipient.side.as_deref().is_none_or(|s| sides.contains(&s))
            && q.unknown.is_empty()
            && (q.sender.id != q.recipient.id || self.s == self.r)
    }

    fn has(&self, role: &str) -> bool {
        self.q.part.subjects.iter().any(|s| s.role == role)
    }

    fn active(&self, id: &str) -> bool {
        self.q.case.participants.iter().filter(|p| p.id == id).any(|p| {
            p.status == "active"
                && p.until.is_none_or(|end| end > self.q.now)
                && p.from.is_none_or(|start| start <= self.q.now)
        })
    }

    fn flagged(&self) -> bool {
        self.q
            .case
            .participants
            .iter()
            .any(|p| p.id == self.q.recipient.id && p.perp_side)
    }

    fn ban(&self) -> bool {
        self.q.case.measures.iter().any(|m| {
            m.kind == "house_ban"
                && ["in_force", "extended"].contains(&m.status.as_str())
                && m.valid_until.as_ref().is_none_or(|end| end.at > self.q.now)
        })
    }

    fn gates(&self) -> Result<(), Refused> {
        let deny = |reason| Err(("deny-packet", reason));
        let (q, emergency) = (self.q, self.basis == "emergency");
        if emergency && !self.complete() {
            return deny("DENY_BREAK_GLASS_INCOMPLETE");
        }
        if q.roster_version_seen
            .is_some_and(|seen| seen != q.case.roster_version)
        {
            return deny("DENY_STALE_ROSTER");
        }
        let rescue = emergency && ["police_zone", "prosecutor"].contains(&self.r);
        let closed = ["closed", "archived"].contains(&q.case.status.as_str());
        if closed && !rescue && !self.figures {
            return deny("DENY_CASE_CLOSED");
        }
        let intake = self.figures
            || rescue
            || match self.basis {
                "registration" => self.r == "fjc",
                "report_right" => self.r == "prosecutor",
                "child_protection_report" => self.r == "vk",
                "legal_duty" => ["prosecutor", "police_zone", "police_social"].contains(&self.r),
                "helpline_referral" => true,
                _ => false,
            };
        if !intake && !self.active(&q.sender.id) {
            return deny("DENY_SENDER_NOT_IN_CASE");
        }
        if !intake && !self.active(&q.recipient.id) {
            return deny("DENY_RECIPIENT_NOT_IN_CASE");
        }
        let purpose = q.purpose.as_str();
        if !purposes(self.r).contains(&purpose) || self.figures != (purpose == "statistics") {
            return deny("DENY_PURPOSE_MISMATCH");
        }
        if self.figures {
            Ok(())
        } else {
            self.basis_valid().map_err(|reason| ("deny-packet", reason))
        }
    }

    fn complete(&self) -> bool {
        let day = 24 * 3600 * 1000;
        self.q.urgency == "immediate"
            && self.q.break_glass.as_ref().is_some_and(|b| {
                b.justification_chars >= 20
                    && !b.actor.is_empty()
                    && !b.danger_to.is_empty()
                    && !b.reviewer.is_empty()
                    && b.review_by
                        .is_some_and(|at| (0..=3 * day).contains(&at.millis_since(self.q.now)))
            })
    }

    fn released(&self) -> bool {
        self.q.part.release.as_ref().is_some_and(|release| {
            release.by_role == "prosecutor"
                && release
                    .scope
                    .iter()
                    .any(|s| *s == self.q.recipient.id || *s == self.q.recipient.role)
        })
    }

    /// Investigation content that passes only with a release or in an emergency.
    fn needs_release(&self) -> bool {
        self.q.part.source_secrecy == "investigation"
            && self.s != "prosecutor"
            && self.r != "prosecutor"
            && !(POLICE.contains(&self.s) && POLICE.contains(&self.r))
    }

    fn part_gates(&self, matrix: &Matrix) -> Result<(), Refused> {
        let (q, part, emergency) = (self.q, &self.q.part, self.basis == "emergency");
        let withhold = |reason| Err(("withhold", reason));
        if !may_originate(self.category, self.s, self.r) {
            return withhold("WITHHOLD_SENDER_NOT_ENTITLED");
        }
        let theirs = side(&q.recipient);
        let confided = [
            "medical_psych",
            "counselling_notes",
            "contact_log",
            "child_concern",
        ];
        let wall = match self.category {
            "address_protected" => theirs == "perpetrator" || theirs == "mixed" || self.flagged(),
            c if confided.contains(&c) && (self.has("victim") || self.has("child")) => {
                theirs == "perpetrator" || self.flagged()
            }
            _ => false,
        };
        if wall {
            return withhold("WITHHOLD_PERP_SIDE_WALL");
        }
        if self.has("caller") {
            return withhold("WITHHOLD_CALLER_IDENTITY");
        }
        if self.cell(matrix) == Verdict::Never {
            return withhold("WITHHOLD_MATRIX_NEVER");
        }
        let stale = part.measure.as_ref().is_some_and(|m| {
            !["in_force", "extended"].contains(&m.status.as_str())
                || m.valid_until.as_ref().is_some_and(|end| end.at <= q.now)
        });
        if self.category == "measures" && stale {
            return withhold("WITHHOLD_MEASURE_EXPIRED");
        }
        let signed = q
            .case
            .consultation
            .as_ref()
            .is_some_and(|t| t.signed_by.contains(&q.recipient.id));
        if part.source_secrecy == "consultation" && !signed && !(emergency && self.category == "alert") {
            return withhold("WITHHOLD_CONSULTATION_SECRECY");
        }
        let police_emergency =
            emergency && POLICE.contains(&self.s) && EMERGENCY_LIST.contains(&self.category);
        if self.needs_release() && !self.released() && !police_emergency {
            return withhold("WITHHOLD_INVESTIGATION_SECRECY");
        }
        if self.basis == "consultation" && part.relevant == Some(false) {
            return withhold("WITHHOLD_NOT_RELEVANT");
        }
        Ok(())
    }

    fn cell(&self, matrix: &Matrix) -> Verdict {
        matrix.cells[self.category][self.r].verdict
    }
}
