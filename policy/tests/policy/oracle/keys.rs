//! Steps 10 and 11: what opens a cell, and the consent check.

use schakel_policy::matrix::{Matrix, Verdict};
use schakel_policy::question::{Consent, Subject};

use super::Asked;
use super::tables::{CHILD_REPORT, JUSTICE, REPORT_RIGHT, SECRET};

impl Asked<'_> {
    /// Steps 10 and 11.
    pub(super) fn open(&self, matrix: &Matrix) -> Result<&'static str, &'static str> {
        let (q, cell) = (self.q, self.cell(matrix));
        if self.figures {
            return Ok("OK_ANONYMOUS");
        }
        if self.basis == "emergency" {
            return Ok("OK_EMERGENCY");
        }
        if cell == Verdict::EmergencyOnly {
            return Err("WITHHOLD_EMERGENCY_ONLY");
        }
        match self.basis {
            "consultation" => return Ok("OK_CONSULTATION"),
            "report_right" if REPORT_RIGHT.contains(&self.category) => return Ok("OK_REPORT_RIGHT"),
            "child_protection_report" if CHILD_REPORT.contains(&self.category) => {
                return Ok("OK_CHILD_REPORT");
            }
            "helpline_referral" => return Ok("OK_HELPLINE_REFERRAL"),
            "registration" if q.part.pseudonymous && q.case.region != "vlg" => return Ok("OK_PSEUDONYMOUS"),
            _ => {}
        }
        let justice_house = self.s.starts_with("jh_") && ["mandate", "house_ban"].contains(&self.basis);
        let outside = JUSTICE.contains(&self.r) || self.r == "municipality";
        let exempt = self.category == "measures" || justice_house || self.basis == "dijh_75_basics";
        let uplift = SECRET.contains(&self.s) && outside && !exempt;
        let cell = if cell == Verdict::Deliver && uplift {
            Verdict::OnlyWithConsent
        } else {
            cell
        };
        let subjects = &q.part.subjects;
        let offender_alone = !subjects.is_empty() && subjects.iter().all(|s| s.role == "perpetrator");
        if cell == Verdict::OnlyWithConsent
            && self.s == "jh_offender"
            && self.basis == "mandate"
            && offender_alone
        {
            return Ok("OK_MANDATE");
        }
        if cell == Verdict::OnlyInCaseConsultation {
            return Err("WITHHOLD_CONSULTATION_ONLY");
        }
        if cell == Verdict::OnlyWithConsent || self.basis == "consent" {
            return self.consent().map_or(Ok("OK_CONSENT"), Err);
        }
        Ok(match self.basis {
            "legal_duty" => "OK_LEGAL_DUTY",
            "mandate" => "OK_MANDATE",
            "house_ban" => "OK_HOUSE_BAN",
            "registration" => "OK_REGISTRATION",
            "dossier_transfer" => "OK_DOSSIER_TRANSFER",
            _ => "OK_MATRIX_DELIVER",
        })
    }

    /// The consent check: what fails first, if anything.
    pub(super) fn consent(&self) -> Option<&'static str> {
        let (q, consents) = (self.q, &self.q.consents);
        if consents.is_empty() {
            return Some("HOLD_CONSENT_MISSING");
        }
        for (status, reason) in [
            ("refused", "WITHHOLD_CONSENT_REFUSED"),
            ("withdrawn", "WITHHOLD_CONSENT_WITHDRAWN"),
        ] {
            if consents.iter().any(|c| c.status == status) {
                return Some(reason);
            }
        }
        for consent in consents {
            if consent.status == "pending" {
                return Some("HOLD_CONSENT_PENDING");
            }
            if consent.expires_at.is_some_and(|end| end <= q.now) {
                return Some("HOLD_CONSENT_EXPIRED");
            }
            if !consent.informed {
                return Some("HOLD_CONSENT_NOT_INFORMED");
            }
        }
        let (mut covered, mut left) = (false, false);
        for subject in &q.part.subjects {
            if subject.role == "professional" {
                continue;
            }
            let own: Vec<&Consent> = consents.iter().filter(|c| c.subject == subject.role).collect();
            // Two persons in one role: nobody says whose consent it is, so each must fit.
            let alone = q.part.subjects.iter().filter(|s| s.role == subject.role).count() == 1;
            let wrong: Vec<_> = own.iter().filter_map(|c| self.of_subject(subject, c)).collect();
            if own.is_empty() {
                left = true;
            } else if wrong.is_empty() || (alone && wrong.len() < own.len()) {
                covered = true;
            } else {
                return Some(wrong[0]);
            }
        }
        match (covered, left) {
            (_, false) => None,
            (true, true) => Some("HOLD_CONSENT_INCOMPLETE"),
            (false, true) => Some("HOLD_CONSENT_WRONG_PERSON"),
        }
    }

    pub(super) fn of_subject(&self, subject: &Subject, consent: &Consent) -> Option<&'static str> {
        let personally = consent.given_by == subject.role && consent.capacity == "self";
        let youth_court = self.s == "vk" && self.r == "youth_court";
        match (subject.age_class.as_str(), consent.capacity.as_str()) {
            ("adult", _) if !personally => return Some("HOLD_CONSENT_WRONG_PERSON"),
            ("adult", _) => {}
            (_, "guardian") if consent.given_by == "perpetrator" => return Some("HOLD_GUARDIAN_CONFLICT"),
            ("minor_12_17", "guardian") if !consent.minor_cosign => return Some("HOLD_MINOR_COSIGN"),
            (_, "guardian") => {}
            ("minor_12_17", _) if personally => {
                if youth_court && !consent.parents_cosign {
                    return Some("HOLD_PARENTS_COSIGN");
                }
            }
            _ => return Some("HOLD_CONSENT_WRONG_PERSON"),
        }
        if subject.age_class != "adult" && youth_court && consent.form != "written" {
            return Some("HOLD_CONSENT_FORM");
        }
        let scope = &consent.scope;
        let recipient = scope
            .recipients
            .iter()
            .any(|r| *r == self.q.recipient.id || r == self.r);
        let whole = recipient
            && scope.categories.iter().any(|c| c == self.category)
            && scope.purposes.contains(&self.q.purpose);
        (!whole).then_some("HOLD_CONSENT_SCOPE")
    }
}
