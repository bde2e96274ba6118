//! Step 6: is the legal basis valid for this pair, region and moment?

use super::Asked;
use super::tables::{CARE, POLICE, REGISTRATION, SECRET};

impl Asked<'_> {
    pub(super) fn basis_valid(&self) -> Result<(), &'static str> {
        let (q, s, r) = (self.q, self.s, self.r);
        let pair = |fits: bool| if fits { Ok(()) } else { Err("DENY_NO_LEGAL_BASIS") };
        if s == "helpline" && !["helpline_referral", "emergency"].contains(&self.basis) {
            return pair(false);
        }
        match self.basis {
            "legal_duty" => pair(
                (POLICE.contains(&s) && (r == "prosecutor" || POLICE.contains(&r)))
                    || (s == "prosecutor" && POLICE.contains(&r)),
            ),
            "mandate" => self.mandate(),
            "house_ban" if !self.ban() => Err("DENY_BASIS_EXPIRED"),
            "house_ban" => pair(self.ban_pair()),
            "registration" => pair(
                REGISTRATION.contains(&s) && r == "fjc" && (q.case.region == "vlg" || q.part.pseudonymous),
            ),
            "consultation" => self.table(),
            "shared_secrecy" => pair(CARE.contains(&s) && CARE.contains(&r)),
            "report_right" => {
                pair(SECRET.contains(&s) && r == "prosecutor")?;
                self.report()
            }
            "child_protection_report" => pair(r == "vk" && self.has("child")),
            "dijh_75_basics" => {
                pair(s == "vk" && r == "youth_court" && ["identity", "household"].contains(&self.category))
            }
            "helpline_referral" => pair(
                s == "helpline" && ["caw_victim", "vk"].contains(&r) && self.category == "helpline_report",
            ),
            "dossier_transfer" => {
                let theirs = q.recipient.region.as_deref().unwrap_or(&q.case.region);
                pair(s == "fjc" && r == "fjc" && q.case.region == "vlg" && theirs == "vlg")
            }
            "public_interest_task" => pair(
                [
                    "police_zone",
                    "police_social",
                    "prosecutor",
                    "jh_offender",
                    "jh_victim",
                    "family_court",
                ]
                .contains(&s),
            ),
            "consent" | "emergency" => Ok(()),
            _ => pair(false),
        }
    }

    pub(super) fn table(&self) -> Result<(), &'static str> {
        let q = self.q;
        let table = q.case.consultation.as_ref().ok_or("DENY_CONSULTATION_NONE")?;
        if q.case.region != "vlg" && table.basis == "decree_vh" {
            return Err("DENY_NO_LEGAL_BASIS");
        }
        if table.status != "active" {
            return Err("DENY_CONSULTATION_UNSIGNED");
        }
        if table.valid_until.is_some_and(|end| end <= q.now) {
            return Err("DENY_CONSULTATION_EXPIRED");
        }
        if table.finality != "protect_integrity" {
            return Err("DENY_NO_LEGAL_BASIS");
        }
        let signed = |id: &String| table.signed_by.contains(id);
        if signed(&q.sender.id) && signed(&q.recipient.id) {
            Ok(())
        } else {
            Err("DENY_NOT_AT_TABLE")
        }
    }

    fn mandate(&self) -> Result<(), &'static str> {
        let q = self.q;
        let mandate = q.case.mandate.as_ref().ok_or("DENY_BASIS_EXPIRED")?;
        if mandate.status != "active" || mandate.until.is_some_and(|end| end <= q.now) {
            return Err("DENY_BASIS_EXPIRED");
        }
        let linked = |holder: &str, other: &str| {
            mandate.holder == holder
                && (mandate.authority == other || mandate.actors.iter().any(|a| a == other))
        };
        let (sender, recipient) = (q.sender.id.as_str(), q.recipient.id.as_str());
        if linked(sender, recipient) || linked(recipient, sender) {
            Ok(())
        } else {
            Err("DENY_NO_LEGAL_BASIS")
        }
    }

    fn ban_pair(&self) -> bool {
        let r = self.r;
        match self.s {
            "prosecutor" => [
                "police_zone",
                "police_social",
                "jh_victim",
                "jh_offender",
                "family_court",
            ]
            .contains(&r),
            "police_zone" | "police_social" | "family_court" => r == "prosecutor",
            "jh_offender" => r == "prosecutor" || r == "family_court",
            _ => false,
        }
    }

    fn report(&self) -> Result<(), &'static str> {
        let met = self.q.report.as_ref().is_some_and(|report| {
            ["minor", "vulnerable", "partner_violence"].contains(&report.victim_class.as_str())
                && ["serious_imminent", "indications_for_others"].contains(&report.danger.as_str())
                && report.cannot_protect_otherwise
        });
        if met {
            Ok(())
        } else {
            Err("DENY_REPORT_CONDITIONS")
        }
    }
}
