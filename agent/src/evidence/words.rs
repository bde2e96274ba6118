//! What a check of evidence says to a person, in Dutch, French and English: the claim, and why it does not hold. Codes
//! are the same in every language; what has no words in it is told in English.

mod claims;
mod reasons;

use super::report::{Check, Finding, Outcome, Why};
use claims::CLAIMS;
use reasons::WHYS;

/// In this order stand the words of each.
const ORDER: [&str; 3] = ["en", "nl", "fr"];

/// Width of the column with the marks.
pub(super) const MARKS_WIDTH: usize = 6;

/// Good, failed, not applicable.
const MARKS: [[&str; 3]; 3] = [
    ["ok", "FAILED", "n/a"],
    ["goed", "FOUT", "n.v.t."],
    ["bon", "ÉCHEC", "s.o."],
];

fn place(language: &str) -> usize {
    ORDER.iter().position(|one| *one == language).unwrap_or(0)
}

fn pick(words: [&'static str; 3], language: &str) -> &'static str {
    words.get(place(language)).copied().unwrap_or_default()
}

/// Mark and sentence of a finding.
pub(super) fn line(finding: &Finding, language: &str) -> (&'static str, String) {
    let marks = MARKS.get(place(language)).copied().unwrap_or_default();
    let [ok, failed, none] = marks;
    let claim = pick(claim(finding.check), language);
    match &finding.outcome {
        Outcome::Ok => (ok, format!("{claim}.")),
        Outcome::Failed(why) => (failed, format!("{claim}: {}.", because(why, language))),
        Outcome::NotApplicable(why) => (none, format!("{claim}: {}.", because(why, language))),
    }
}

/// The last line.
pub(super) fn verdict(ok: usize, failed: usize, skipped: usize, language: &str) -> String {
    match (language, failed) {
        ("nl", 0) => format!("Alles klopt: {ok} controles goed, {skipped} niet van toepassing."),
        ("nl", _) => format!(
            "Het bewijs klopt NIET: {failed} controles fout, {ok} goed, {skipped} niet van toepassing."
        ),
        ("fr", 0) => format!("Tout est exact : {ok} vérifications bonnes, {skipped} sans objet."),
        ("fr", _) => {
            format!("La preuve n'est PAS exacte : {failed} échecs, {ok} bonnes, {skipped} sans objet.")
        }
        (_, 0) => format!("Everything holds: {ok} checks good, {skipped} not applicable."),
        (_, _) => format!(
            "The evidence does NOT hold: {failed} checks failed, {ok} good, {skipped} not applicable."
        ),
    }
}

fn because(why: &Why, language: &str) -> String {
    let ours = WHYS
        .iter()
        .find(|(code, _)| *code == why.code)
        .map(|(_, words)| pick(*words, language));
    let said = ours.or_else(|| schakel_proto::words::of(&why.code, language).map(|words| words.sentence));
    match (said, why.detail.as_str()) {
        (None, detail) => format!("{} {detail}", why.code).trim_end().to_owned(),
        (Some(said), "") => said.to_owned(),
        (Some(said), detail) => format!("{said} ({detail})"),
    }
}

/// What a check claims.
fn claim(check: Check) -> [&'static str; 3] {
    let found = CLAIMS.iter().find(|(known, _)| *known == check);
    found.map(|(_, words)| *words).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::evidence::report::why;

    #[test]
    fn every_check_and_reason_has_words_of_its_own_in_every_language() {
        for (at, language) in ORDER.iter().enumerate() {
            let claims: BTreeSet<_> = Check::ALL.iter().map(|check| claim(*check)[at]).collect();
            assert_eq!(claims.len(), Check::ALL.len(), "{language}");
            assert!(claims.iter().all(|claim| claim.len() > 15), "{language}");
            let codes: BTreeSet<_> = WHYS.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes.len(), WHYS.len());
            for (code, words) in WHYS {
                assert!(!words[at].is_empty() && !words[at].ends_with('.'), "{code}");
                assert!(at == 0 || words[at] != words[0], "{code}");
            }
        }
        let names: BTreeSet<_> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(names.len(), Check::ALL.len());
    }

    #[test]
    fn a_line_says_the_claim_and_why_it_does_not_hold() {
        let finding = Finding {
            check: Check::Part,
            about: "part-1".to_owned(),
            outcome: Outcome::Failed(why("COMMITMENT_DIFFERS").of("part-1")),
        };
        let (mark, said) = line(&finding, "nl");
        assert_eq!(mark, "FOUT");
        assert!(
            said.starts_with("De inhoud is wat de afzender heeft vastgelegd: "),
            "{said}"
        );
        assert!(said.ends_with("(part-1)."), "{said}");
        assert_ne!(line(&finding, "fr"), line(&finding, "en"));
    }
}
