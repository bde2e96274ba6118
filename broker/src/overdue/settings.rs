//! `[overdue]` of broker.toml: from when on a part is unread for too long, a family without contact for too long.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::config::{ConfigError, Source};

const MINUTE_MILLIS: i64 = 60 * 1000;
const DAY_MILLIS: i64 = 24 * 60 * MINUTE_MILLIS;
/// Longest limit for an unread part: the longest life of a packet.
const UNREAD_MAX_MINUTES: u64 = 30 * 24 * 60;
/// Longest time without contact.
const REVISIT_MAX_DAYS: u64 = 366;
/// What concerns somebody's safety, and after how many minutes it must have been read.
const UNREAD_DEFAULT: [(&str, u64); 4] = [
    ("alert", 120),
    ("child_concern", 120),
    ("measures", 120),
    ("risk_assessment", 120),
];
/// Days after which a family must have been contacted.
const REVISIT_DEFAULT_DAYS: u64 = 60;

/// The section as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverdueText {
    #[serde(default)]
    unread_minutes: BTreeMap<String, Spanned<u64>>,
    revisit_days: Option<Spanned<u64>>,
}

/// One category's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unread {
    millis: i64,
    /// Where the operator wrote it; 0: nowhere.
    line: usize,
}

/// From when on something is overdue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    file: PathBuf,
    unread: BTreeMap<String, Unread>,
    revisit_millis: i64,
}

/// The section, or the defaults. A category named replaces its default; 0 switches it off.
pub(crate) fn read(source: &Source<'_>, text: &OverdueText) -> Result<Settings, ConfigError> {
    let within = |value: &Spanned<u64>, (least, most): (u64, u64)| {
        let number = *value.get_ref();
        if (least..=most).contains(&number) {
            return Ok(number.cast_signed());
        }
        let sentence = format!("{number} is out of range");
        Err(source.error(value, sentence, format!("Write a number from {least} to {most}.")))
    };
    let mut unread: BTreeMap<String, Unread> = UNREAD_DEFAULT
        .iter()
        .map(|(category, minutes)| {
            let millis = minutes.cast_signed() * MINUTE_MILLIS;
            ((*category).to_owned(), Unread { millis, line: 0 })
        })
        .collect();
    for (category, minutes) in &text.unread_minutes {
        let millis = within(minutes, (0, UNREAD_MAX_MINUTES))? * MINUTE_MILLIS;
        let line = source.line(minutes.span().start);
        unread.insert(category.clone(), Unread { millis, line });
    }
    let days = match &text.revisit_days {
        Some(days) => within(days, (1, REVISIT_MAX_DAYS))?,
        None => REVISIT_DEFAULT_DAYS.cast_signed(),
    };
    Ok(Settings {
        file: source.file().to_owned(),
        unread,
        revisit_millis: days * DAY_MILLIS,
    })
}

impl Settings {
    /// Refuses a category that the policy bundle does not know.
    ///
    /// # Errors
    /// Names it, and its line.
    pub fn check(&self, categories: &[String]) -> Result<(), ConfigError> {
        let written = self.unread.iter().filter(|(_, limit)| limit.line > 0);
        for (category, limit) in written {
            if !categories.contains(category) {
                return Err(ConfigError {
                    file: self.file.clone(),
                    line: limit.line,
                    sentence: format!("the policy bundle knows no category {category:?}"),
                    remedy: "Write one that `schakel-policy matrix` lists.".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// After how many milliseconds a part of this category must have been read; none: no matter.
    pub fn unread_millis(&self, category: &str) -> Option<i64> {
        let limit = self.unread.get(category)?;
        (limit.millis > 0).then_some(limit.millis)
    }

    /// The shortest of these limits; none: nothing is watched.
    pub fn shortest_unread_millis(&self) -> Option<i64> {
        self.unread
            .values()
            .map(|limit| limit.millis)
            .filter(|millis| *millis > 0)
            .min()
    }

    /// Longest time without contact, in milliseconds.
    pub fn revisit_millis(&self) -> i64 {
        self.revisit_millis
    }
}
