//! Obligations (6.7).

use std::collections::BTreeSet;

use super::Asked;
use super::tables::{JUSTICE, POLICE, SECRET};

impl Asked<'_> {
    pub(super) fn on_refusal(&self, reason: &str) -> BTreeSet<String> {
        let mut all = vec!["log-denial", "tell-sender-reason"];
        if self.category == "alert" {
            all.push("offer-break-glass");
        }
        all.extend(match reason {
            "DENY_STALE_ROSTER" => Some("refresh-roster"),
            "DENY_CASE_CLOSED" => Some("propose-reopen-or-new-registration"),
            "WITHHOLD_PERP_SIDE_WALL" if self.category == "address_protected" => Some("existence-flag-only"),
            "WITHHOLD_CALLER_IDENTITY" => Some("pseudonymous-only"),
            "WITHHOLD_MEASURE_EXPIRED" => Some("request-current-measure"),
            _ => None,
        });
        all.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn on_delivery(&self, reason: &str) -> BTreeSet<String> {
        let q = self.q;
        let mut all: Vec<String> = vec!["log-access".to_owned(), "purpose-bound".to_owned()];
        let mut add = |list: &[&str]| all.extend(list.iter().map(|o| (*o).to_owned()));
        let justice = JUSTICE.contains(&self.r);
        if !self.figures {
            if SECRET.contains(&self.r) {
                add(&["recipient-secrecy-352"]);
            }
            add(of_reason(reason));
            if reason == "OK_HELPLINE_REFERRAL" || self.category == "helpline_report" {
                add(&["pseudonymous-only"]);
            }
            if (POLICE.contains(&self.s) || self.s == "prosecutor") && !justice {
                add(&["police-origin-shield"]);
            }
            match self.category {
                "medical_psych" => add(&["health-access-list"]),
                "address_protected" => add(&["no-forward", "mask-in-shared-dossier"]),
                "risk_assessment" | "facts_summary" => add(&["mark-fact-vs-opinion"]),
                _ => {}
            }
            let criminal = [
                "facts_summary",
                "judicial_history",
                "investigation_file",
                "measures",
            ];
            if criminal.contains(&self.category) && !justice {
                add(&["criminal-data-access-list"]);
            }
            if self.has("child") {
                add(&["child-interest-check"]);
            }
        }
        if reason == "OK_EMERGENCY" && ["closed", "archived"].contains(&q.case.status.as_str()) {
            add(&["propose-reopen-or-new-registration"]);
        }
        if self.needs_release() {
            add(&[if self.released() {
                "prosecutor-release-ref"
            } else {
                "notify-prosecutor"
            }]);
        }
        let no = ["refused", "withdrawn"];
        if reason == "OK_CONSULTATION" && q.consents.len() == 1 && no.contains(&q.consents[0].status.as_str())
        {
            add(&["record-dissent"]);
        }
        let end = q.part.measure.as_ref().and_then(|m| m.valid_until.as_ref());
        if let (Some(end), "measures") = (end, self.category) {
            add(&[&format!("expire-at:{}", end.text)]);
        }
        all.into_iter().collect()
    }
}

fn of_reason(reason: &str) -> &'static [&'static str] {
    match reason {
        "OK_CONSULTATION" => &[
            "consultation-secrecy-353-2",
            "no-onward-sharing",
            "offence-bound-use",
        ],
        "OK_REGISTRATION" => &["registration-secrecy-353-2", "minimise"],
        "OK_PSEUDONYMOUS" => &["pseudonymous-only", "minimise"],
        "OK_CONSENT" => &["record-consent-ref"],
        "OK_REPORT_RIGHT" => &["report-conditions-record"],
        "OK_CHILD_REPORT" => &["inform-family-within-30-workdays-unless-harmful"],
        "OK_EMERGENCY" => &[
            "break-glass-record",
            "review-within-72h",
            "notify-dpo",
            "notify-case-director",
            "inform-subject-when-safe",
            "minimise",
        ],
        _ => &[],
    }
}
