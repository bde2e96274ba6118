//! Which check of a consent failed first, and for whom: the one part of the domain that Cedar cannot say,
//! because it walks lists. The order is that of domain.md 6.7, "Consent check", word by word. Whether a
//! finding opens a cell is Cedar's business.

use schakel_proto::time::Timestamp;

use crate::question::{Consent, ReceiveQuestion, Subject};

/// What the consent check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// Every subject is covered.
    Valid,
    /// There is no consent at all.
    Missing,
    /// One was refused.
    Refused,
    /// One was withdrawn.
    Withdrawn,
    /// One was asked for and not answered.
    Pending,
    /// One has ended.
    Expired,
    /// One was given without information.
    NotInformed,
    /// It was not given by the person it must come from, or no subject is covered.
    WrongPerson,
    /// The guardian who gave it is the perpetrator.
    GuardianConflict,
    /// The young person did not sign too.
    MinorCosign,
    /// The parents did not sign too.
    ParentsCosign,
    /// It is not in writing where it must be.
    Form,
    /// Category, recipient or purpose are outside its scope.
    Scope,
    /// Some subjects are covered, others not.
    Incomplete,
}

impl Finding {
    /// Every finding.
    pub const ALL: [Self; 14] = [
        Self::Valid,
        Self::Missing,
        Self::Refused,
        Self::Withdrawn,
        Self::Pending,
        Self::Expired,
        Self::NotInformed,
        Self::WrongPerson,
        Self::GuardianConflict,
        Self::MinorCosign,
        Self::ParentsCosign,
        Self::Form,
        Self::Scope,
        Self::Incomplete,
    ];

    /// `valid`, or the reason code of the check that failed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Missing => "HOLD_CONSENT_MISSING",
            Self::Refused => "WITHHOLD_CONSENT_REFUSED",
            Self::Withdrawn => "WITHHOLD_CONSENT_WITHDRAWN",
            Self::Pending => "HOLD_CONSENT_PENDING",
            Self::Expired => "HOLD_CONSENT_EXPIRED",
            Self::NotInformed => "HOLD_CONSENT_NOT_INFORMED",
            Self::WrongPerson => "HOLD_CONSENT_WRONG_PERSON",
            Self::GuardianConflict => "HOLD_GUARDIAN_CONFLICT",
            Self::MinorCosign => "HOLD_MINOR_COSIGN",
            Self::ParentsCosign => "HOLD_PARENTS_COSIGN",
            Self::Form => "HOLD_CONSENT_FORM",
            Self::Scope => "HOLD_CONSENT_SCOPE",
            Self::Incomplete => "HOLD_CONSENT_INCOMPLETE",
        }
    }

    /// Whether the person said no: nothing waits then.
    pub const fn is_a_no(self) -> bool {
        matches!(self, Self::Refused | Self::Withdrawn)
    }
}

/// The consent check of one question.
pub fn check(question: &ReceiveQuestion) -> Finding {
    let consents = question.consents.as_slice();
    let any = |status: &str| consents.iter().any(|c| c.status == status);
    if consents.is_empty() {
        return Finding::Missing;
    }
    if any("refused") {
        return Finding::Refused;
    }
    if any("withdrawn") {
        return Finding::Withdrawn;
    }
    if let Some(finding) = consents.iter().find_map(|c| unusable(c, question.now)) {
        return finding;
    }
    let (mut covered, mut uncovered) = (0_usize, 0_usize);
    for subject in question.part.subjects.iter().filter(|s| s.role != "professional") {
        // A person may have given several consents, one for each recipient or purpose: one that fits is enough,
        // if it is certain that they are this person's; else each must fit. Of those that do not, the first says why.
        let failures: Vec<_> = of_subject(consents, subject)
            .map(|consent| failure(question, subject, consent))
            .collect();
        let enough = certain(question, consents, subject) && failures.iter().any(Option::is_none);
        match failures.iter().flatten().next() {
            _ if failures.is_empty() => uncovered += 1,
            Some(first) if !enough => return *first,
            _ => covered += 1,
        }
    }
    match (covered, uncovered) {
        (_, 0) => Finding::Valid,
        (0, _) => Finding::WrongPerson,
        _ => Finding::Incomplete,
    }
}

fn unusable(consent: &Consent, now: Timestamp) -> Option<Finding> {
    if consent.status == "pending" {
        Some(Finding::Pending)
    } else if consent.expires_at.is_some_and(|end| end <= now) {
        Some(Finding::Expired)
    } else if !consent.informed {
        Some(Finding::NotInformed)
    } else {
        None
    }
}

/// Why this consent does not cover this subject; `None`: it does.
fn failure(question: &ReceiveQuestion, subject: &Subject, consent: &Consent) -> Option<Finding> {
    wrong_giver(question, subject, consent)
        .or_else(|| (!in_scope(question, consent)).then_some(Finding::Scope))
}

/// Whether the consents of the subject's role can only be the subject's own: no other subject has that role, or
/// each says whose it is.
fn certain(question: &ReceiveQuestion, consents: &[Consent], subject: &Subject) -> bool {
    let alone = question
        .part
        .subjects
        .iter()
        .filter(|other| other.role == subject.role)
        .count()
        == 1;
    let mut own = consents.iter().filter(|consent| consent.subject == subject.role);
    alone || (subject.reference.is_some() && own.all(|consent| consent.subject_reference.is_some()))
}

/// The consents about this subject: same role, and the same person where both sources say who.
fn of_subject<'a>(consents: &'a [Consent], subject: &'a Subject) -> impl Iterator<Item = &'a Consent> {
    consents.iter().filter(move |consent| {
        consent.subject == subject.role
            && match (&consent.subject_reference, &subject.reference) {
                (Some(consenting), Some(concerned)) => consenting == concerned,
                _ => true,
            }
    })
}

fn wrong_giver(question: &ReceiveQuestion, subject: &Subject, consent: &Consent) -> Option<Finding> {
    let own = consent.capacity == "self" && consent.given_by == subject.role;
    if subject.age_class == "adult" {
        return (!own).then_some(Finding::WrongPerson);
    }
    let young_person = subject.age_class == "minor_12_17";
    let guardian = consent.capacity == "guardian";
    if guardian && consent.given_by == "perpetrator" {
        return Some(Finding::GuardianConflict);
    }
    if guardian && young_person && !consent.minor_cosign {
        return Some(Finding::MinorCosign);
    }
    if !(guardian || young_person && own) {
        return Some(Finding::WrongPerson);
    }
    if question.sender.role == "vk" && question.recipient.role == "youth_court" {
        if !guardian && !consent.parents_cosign {
            return Some(Finding::ParentsCosign);
        }
        if consent.form != "written" {
            return Some(Finding::Form);
        }
    }
    None
}

fn in_scope(question: &ReceiveQuestion, consent: &Consent) -> bool {
    let scope = &consent.scope;
    scope.categories.contains(&question.part.category)
        && scope.purposes.contains(&question.purpose)
        && scope
            .recipients
            .iter()
            .any(|r| *r == question.recipient.id || *r == question.recipient.role)
}
