//! What may reach a log: types whose text says nothing of content, files, keys, cases or people.
//! Logging calls in this crate take these, or numbers and fixed words.

use std::fmt;
use std::path::Path;

use schakel_proto::ids::{Digest, PacketId};
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::Refusal;

/// A thing whose `Display` may be written to a log.
pub trait LogSafe: fmt::Display {}

impl LogSafe for PacketId {}
impl LogSafe for AgencyId {}
impl<T: LogSafe> LogSafe for &T {}

/// A refusal as the log shows it: its code only (sentence and place may name a case).
pub struct Code<'a>(pub &'a Refusal);

impl fmt::Display for Code<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}

impl LogSafe for Code<'_> {}

/// Why a policy bundle is refused, as the log shows it: sentence and place. Rules name nobody; they are
/// shown without control characters and cut off.
pub struct OfRules<'a>(pub &'a Refusal);

/// Longest such text in the log.
const OF_RULES_MAX_CHARS: usize = 400;

impl fmt::Display for OfRules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{} (at {})", self.0.sentence, self.0.place);
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        text.chars()
            .take(OF_RULES_MAX_CHARS)
            .try_for_each(|c| fmt::Write::write_char(f, plain(c)))
    }
}

impl LogSafe for OfRules<'_> {}

/// The first 8 hexadecimal digits of a digest of something public (directory, bundle, TLS identity).
pub struct Short<'a>(pub &'a Digest);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .as_bytes()
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl LogSafe for Short<'_> {}

/// A file of the operator's configuration, by its last name only.
pub struct ConfiguredFile<'a>(pub &'a Path);

impl fmt::Display for ConfiguredFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.file_name().map(|name| name.to_string_lossy().into_owned());
        f.write_str(name.as_deref().unwrap_or("?"))
    }
}

impl LogSafe for ConfiguredFile<'_> {}

/// Marks a value as checked: compiles for `LogSafe` types only.
pub fn safe<T: LogSafe>(value: T) -> tracing::field::DisplayValue<T> {
    tracing::field::display(value)
}

#[cfg(test)]
mod tests {
    use schakel_proto::refusal::Fault;

    use super::*;

    #[test]
    fn a_refusal_is_logged_by_its_code_and_nothing_else() {
        let refusal =
            Refusal::new(Fault::Invalid, "PACKET_MALFORMED", "case-00 is wrong", "Fix it.").at("case-00");
        assert_eq!(Code(&refusal).to_string(), "PACKET_MALFORMED");
        let refusal = Refusal::new(Fault::Precondition, "BUNDLE_SYNTAX", "a\nb".repeat(400), "").at("x:1");
        let shown = OfRules(&refusal).to_string();
        assert!(
            shown.starts_with("a ba b") && shown.len() == OF_RULES_MAX_CHARS,
            "{shown}"
        );
        assert_eq!(Short(&Digest::of(b"abc")).to_string(), "ba7816bf");
        assert_eq!(
            ConfiguredFile(Path::new("/srv/geheim/broker.toml")).to_string(),
            "broker.toml"
        );
    }
}
