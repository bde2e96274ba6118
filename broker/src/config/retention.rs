//! `[retention]`: for how long what is kept. docs/operating/retention.md says why.

use std::collections::BTreeMap;

use schakel_proto::time::Timestamp;
use toml::Spanned;

use super::{ConfigError, Source};

/// How long each kind of record is kept, in whole years; each period ends with its last day (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// All of a case, with its erasure key, after its closing.
    pub case_years: u16,
    /// The same of a case that nobody closes, after the last thing that happened in it.
    pub idle_case_years: u16,
    /// A packet's manifest, openings and states, after its last part became final.
    pub packet_years: u16,
    /// The same of a packet that broke the glass; and its case is kept as long.
    pub emergency_years: u16,
    /// The operator's acts, and refused attempts, from the entry on.
    pub act_years: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            case_years: 15,
            idle_case_years: 30,
            packet_years: 10,
            emergency_years: 10,
            act_years: 10,
        }
    }
}

impl Retention {
    /// Whether a period that runs from `from` has ended.
    pub(crate) fn is_over(from: Timestamp, years: u16, now: Timestamp) -> bool {
        from.after_years(years) <= now
    }
}

/// How a setting gets to its place.
type Set = fn(&mut Retention, u16);

/// Every setting: its name, its bounds, why, its place.
fn settings() -> [(&'static str, (u64, u64), Set); 5] {
    [
        ("case_years", (1, 30), |r, n| r.case_years = n),
        ("idle_case_years", (2, 60), |r, n| r.idle_case_years = n),
        ("packet_years", (1, 30), |r, n| r.packet_years = n),
        ("emergency_years", (3, 30), |r, n| r.emergency_years = n),
        ("act_years", (1, 30), |r, n| r.act_years = n),
    ]
}

/// The section: known names only, each within its bounds.
pub(super) fn read(
    source: &Source<'_>,
    given: &BTreeMap<String, Spanned<u64>>,
) -> Result<Retention, ConfigError> {
    let mut retention = Retention::default();
    let settings = settings();
    for (name, value) in given {
        let Some((_, (least, most), set)) = settings.iter().find(|(known, ..)| known == name) else {
            let names: Vec<&str> = settings.iter().map(|(name, ..)| *name).collect();
            let sentence = format!("unknown setting [retention] {name}");
            let remedy = format!(
                "There are: {}; docs/operating/retention.md says what each is.",
                names.join(", ")
            );
            return Err(source.error(value, sentence, remedy));
        };
        let years = u16::try_from(*value.get_ref()).ok();
        let years = years.filter(|_| (*least..=*most).contains(value.get_ref()));
        let Some(years) = years else {
            let sentence = format!("{name} = {} is out of range", value.get_ref());
            let remedy = format!(
                "Write whole years, from {least} to {most}; docs/operating/retention.md says why no less and no more."
            );
            return Err(source.error(value, sentence, remedy));
        };
        set(&mut retention, years);
    }
    Ok(retention)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Retention, ConfigError> {
        let given: BTreeMap<String, Spanned<u64>> = toml::from_str(text).unwrap();
        let source = Source {
            file: std::path::Path::new("broker.toml"),
            text,
        };
        read(&source, &given)
    }

    #[test]
    fn o01_each_period_has_its_bounds_and_an_error_says_where_and_what_to_do() {
        assert_eq!(parse("").unwrap(), Retention::default());
        let all =
            "case_years = 30\nidle_case_years = 40\npacket_years = 1\nemergency_years = 3\nact_years = 2\n";
        let expected = Retention {
            case_years: 30,
            idle_case_years: 40,
            packet_years: 1,
            emergency_years: 3,
            act_years: 2,
        };
        assert_eq!(parse(all).unwrap(), expected);
        for (name, (least, most), _) in settings() {
            assert!(
                parse(&format!("{name} = {least}")).is_ok() && parse(&format!("{name} = {most}")).is_ok()
            );
            for wrong in [least - 1, most + 1, u64::from(u16::MAX) + 1 + least] {
                let error = parse(&format!("\n{name} = {wrong}")).unwrap_err().to_string();
                assert!(
                    error.starts_with(&format!("broker.toml:2: {name} = {wrong} is out")),
                    "{error}"
                );
                assert!(error.contains(&format!("from {least} to {most}")), "{error}");
            }
        }
        let error = parse("\n\ncase_days = 3").unwrap_err().to_string();
        assert!(
            error.starts_with("broker.toml:3: unknown setting [retention] case_days"),
            "{error}"
        );
        assert!(error.contains("idle_case_years"), "{error}");
    }
}
