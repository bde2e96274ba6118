//! Tables of the specification: role groups, purposes (6.6), originators (6.1), lists of categories.

pub const SECRET: [&str; 10] = [
    "caw_victim", "perp_programme", "vk", "ocmw", "health", "helpline", "case_director", "fjc", "jh_offender",
    "jh_victim",
];
pub const JUSTICE: [&str; 5] = [
    "police_zone", "police_social", "prosecutor", "family_court", "youth_court",
];
pub const CARE: [&str; 7] = [
    "caw_victim", "perp_programme", "vk", "ocmw", "health", "case_director", "fjc",
];
pub const POLICE: [&str; 2] = [
    "police_zone", "police_social",
];
pub const REPORT_RIGHT: [&str; 7] = [
    "address_current", "alert", "child_concern", "facts_summary", "household", "identity", "risk_assessment",
];
pub const CHILD_REPORT: [&str; 8] = [
    "address_current", "alert", "child_concern", "contact_log", "facts_summary", "household", "identity",
    "medical_psych",
];
pub const EMERGENCY_LIST: [&str; 7] = [
    "address_current", "alert", "facts_summary", "household", "identity", "measures", "risk_assessment",
];
pub const REGISTRATION: [&str; 13] = [
    "case_director", "caw_victim", "health", "jh_offender", "jh_victim", "municipality", "ocmw",
    "perp_programme", "police_social", "police_zone", "prosecutor", "vk", "youth_court",
];

/// Purposes a role may receive for.
const PURPOSES: [(&str, &[&str]); 16] = [
    ("police_zone", &["case_consultation", "follow_up", "house_ban_execution", "prosecution",
        "safety_protection", "statistics", "triage"]),
    ("police_social", &["case_consultation", "follow_up", "safety_protection", "triage", "victim_support"]),
    ("prosecutor", &["case_consultation", "child_protection", "house_ban_execution", "offender_supervision",
        "prosecution", "safety_protection", "statistics", "triage"]),
    ("jh_offender", &["case_consultation", "house_ban_execution", "offender_supervision",
        "safety_protection"]),
    ("jh_victim", &["case_consultation", "house_ban_execution", "safety_protection", "victim_support"]),
    ("family_court", &["court_proceedings", "house_ban_execution"]),
    ("youth_court", &["child_protection", "court_proceedings"]),
    ("fjc", &["care_coordination", "case_consultation", "follow_up", "registration", "safety_protection",
        "statistics", "triage"]),
    ("case_director", &["care_coordination", "case_consultation", "follow_up", "safety_protection"]),
    ("caw_victim", &["care_coordination", "case_consultation", "follow_up", "helpline_referral",
        "safety_protection", "victim_support"]),
    ("perp_programme", &["care_coordination", "case_consultation", "offender_supervision",
        "offender_support"]),
    ("vk", &["care_coordination", "case_consultation", "child_protection", "helpline_referral",
        "safety_protection", "triage"]),
    ("ocmw", &["care_coordination", "case_consultation", "safety_protection", "victim_support"]),
    ("health", &["care_coordination", "case_consultation", "child_protection", "offender_support",
        "safety_protection", "victim_support"]),
    ("municipality", &["case_consultation", "statistics"]),
    ("helpline", &[]),
];

/// Roles that may originate a category; a minus in front: all but these.
const ORIGINATORS: [(&str, &str); 17] = [
    ("identity", "- helpline"),
    ("household", "- helpline"),
    ("address_current", "- helpline"),
    ("address_protected", "police_zone police_social prosecutor caw_victim"),
    ("facts_summary", "police_zone police_social prosecutor fjc case_director caw_victim vk ocmw health"),
    ("investigation_file", "police_zone prosecutor"),
    ("risk_assessment", "police_zone police_social prosecutor jh_offender fjc case_director caw_victim perp_programme vk"),
    ("alert", "- family_court municipality helpline"),
    ("child_concern", "- family_court youth_court municipality helpline"),
    ("medical_psych", "caw_victim perp_programme vk health"),
    ("counselling_notes", "caw_victim perp_programme vk health"),
    ("judicial_history", "prosecutor jh_offender"),
    ("measures", "police_zone police_social prosecutor jh_offender jh_victim family_court"),
    ("care_plan", "fjc case_director caw_victim"),
    ("contact_log", "police_social jh_offender jh_victim fjc case_director caw_victim perp_programme vk ocmw health"),
    ("helpline_report", "helpline"),
    ("aggregate_stats", "-"),
];

/// Purposes a role may receive for.
pub fn purposes(role: &str) -> &'static [&'static str] {
    PURPOSES.iter().find(|(r, _)| *r == role).map_or(&[], |(_, purposes)| purposes)
}

/// Whether a role may originate a category towards a recipient.
pub fn may_originate(category: &str, role: &str, recipient: &str) -> bool {
    if (category, role) == ("investigation_file", "police_zone") {
        return ["prosecutor", "police_zone"].contains(&recipient);
    }
    let list = ORIGINATORS.iter().find(|(c, _)| *c == category).map_or("", |(_, roles)| roles);
    match list.strip_prefix('-') {
        Some(but) => !but.split(' ').any(|r| r == role),
        None => list.split(' ').any(|r| r == role),
    }
}
