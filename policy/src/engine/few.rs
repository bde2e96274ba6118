//! Facts of which there are few values: truths, listed names, and strings that the bundle's policies name. A
//! slice is narrowed once more by those of them that it still reads, so that most of its conditions are settled
//! before a request is made. What is put in is made from the numbers of the key alone: two requests with one key
//! have one narrowed slice, and nothing of a case is kept.

use std::collections::BTreeSet;

use cedar_policy::pst::{Expr, Literal};

use super::cut::Reads;
use super::narrow::Fixed;
use super::receiving::{Receiving, literal};
use super::request::{Derived, long};
use super::vocabulary::Vocabulary;
use crate::consent::Finding;

/// Facts that are true or false, in the order of their bits.
pub(crate) const TRUTHS: [&str; 7] = [
    "sender_active",
    "recipient_active",
    "recipient_flagged",
    "measure_in_force",
    "measure_ends",
    "relevant",
    "pseudonymous",
];

/// Facts that are strings.
const STRINGS: [&str; 3] = ["purpose", "region", "consent.finding"];

/// Most roles that subjects have: as many as there are bits, but one.
const SUBJECTS_MAX: u16 = 63;

/// The strings that policies name, in order; and all findings of the consent check.
#[derive(Debug, Default)]
pub(crate) struct Words(Vec<String>);

impl Words {
    /// From the conditions of all policies.
    pub(crate) fn new<'a>(conditions: impl Iterator<Item = &'a Expr>) -> Self {
        let mut words: BTreeSet<String> = Finding::ALL.iter().map(|one| one.as_str().to_owned()).collect();
        conditions.for_each(|expr| collect(expr, &mut words));
        Self(words.into_iter().collect())
    }

    /// From 1; 0: no policy names it.
    fn number(&self, word: &str) -> u16 {
        let at = self.0.binary_search_by(|known| known.as_str().cmp(word));
        at.map_or(0, |at| u16::try_from(at + 1).unwrap_or(0))
    }

    fn word(&self, number: u16) -> Option<&str> {
        let at = usize::from(number).checked_sub(1)?;
        self.0.get(at).map(String::as_str)
    }
}

/// A string that is missed is evaluated each time: nothing else depends on it.
fn collect(expr: &Expr, words: &mut BTreeSet<String>) {
    match expr {
        Expr::Literal(Literal::String(word)) => {
            words.insert(word.to_string());
        }
        Expr::UnaryOp { expr, .. } | Expr::Like { expr, .. } => collect(expr, words),
        Expr::BinaryOp { left, right, .. } => {
            collect(left, words);
            collect(right, words);
        }
        Expr::IfThenElse {
            cond,
            then_expr,
            else_expr,
        } => {
            for expr in [cond, then_expr, else_expr] {
                collect(expr, words);
            }
        }
        Expr::Set(members) => members.iter().for_each(|one| collect(one, words)),
        _ => {}
    }
}

/// The values of one request, in numbers; 0: not read, or none of the few.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Few {
    /// Two bits each: whether it is read, and what it is.
    truths: u16,
    /// Whether it is read, and a bit for each role by its number.
    subjects: u64,
    urgency: u16,
    strings: [u16; 3],
    /// Whether the roster seen is the present one: 1 no, 2 yes.
    roster: u8,
}

impl Few {
    /// Of a request, as far as the slice reads it.
    pub(crate) fn new(
        asked: &Receiving<'_>,
        (vocabulary, words): (&Vocabulary, &Words),
        (derived, finding): (&Derived, Finding),
        reads: Reads,
    ) -> Self {
        let (question, mut few) = (asked.question, Self::default());
        for (bit, name) in TRUTHS.into_iter().enumerate() {
            if reads.fact(name) {
                few.truths |= (1 | u16::from(asked.truth(derived, name)) << 1) << (2 * bit);
            }
        }
        if reads.fact("subjects") {
            let roles = question.part.subjects.iter();
            let numbers = roles.map(|subject| vocabulary.number("SubjectRole", &subject.role));
            few.subjects = numbers
                .map(|number| (1..=SUBJECTS_MAX).contains(&number).then(|| 1_u64 << number))
                .try_fold(1, |all, bit| Some(all | bit?))
                .unwrap_or(0);
        }
        if reads.fact("urgency") {
            few.urgency = vocabulary.number("Urgency", &question.urgency);
        }
        let strings = [
            ("purpose", question.purpose.as_str()),
            ("region", question.case.region.as_str()),
            ("consent", finding.as_str()),
        ];
        few.strings = strings.map(|(name, word)| {
            let there = !word.is_empty() && reads.fact(name);
            if there { words.number(word) } else { 0 }
        });
        if let Some(seen) = question.roster_version_seen
            && reads.fact("roster_version_seen")
            && reads.fact("roster_version")
        {
            few.roster = 1 + u8::from(long(seen) == long(question.case.roster_version));
        }
        few
    }

    /// What every request with these numbers has in common.
    pub(crate) fn fixed(&self, vocabulary: &Vocabulary, words: &Words, nested: bool) -> Fixed {
        let mut values = Vec::new();
        for (bit, name) in TRUTHS.into_iter().enumerate() {
            let two = self.truths >> (2 * bit);
            if two & 1 != 0 {
                values.push((name, Literal::Bool(two & 2 != 0)));
            }
        }
        let numbered = |kind: &'static str, number: u16| vocabulary.numbered(kind, number).map(literal);
        values.extend(numbered("Urgency", self.urgency).map(|urgency| ("urgency", urgency)));
        for (name, number) in STRINGS.into_iter().zip(self.strings) {
            values.extend(
                words
                    .word(number)
                    .map(|word| (name, Literal::String(word.into()))),
            );
        }
        let subjects = (self.subjects != 0).then(|| {
            let there = (1..=SUBJECTS_MAX).filter(|number| self.subjects >> number & 1 != 0);
            there
                .filter_map(|number| numbered("SubjectRole", number))
                .collect()
        });
        Fixed {
            values,
            sets: subjects.into_iter().map(|roles| ("subjects", roles)).collect(),
            same: (self.roster != 0).then_some(("roster_version_seen", "roster_version", self.roster == 2)),
            nested,
            ..Fixed::default()
        }
    }
}
