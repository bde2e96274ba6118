//! Names of networks, agencies and the domain's codes: short, lower-case, printable, bounded.

use std::fmt;
use std::str::FromStr;

/// What is wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: must be 1 to {max} characters a-z, 0-9, '-', '_' and begin with a letter or digit")]
pub struct NameError {
    /// Kind of name.
    pub what: &'static str,
    /// Longest allowed, in characters.
    pub max: usize,
}

fn check(text: &str, what: &'static str, max: usize) -> Result<(), NameError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let first = text.bytes().next().is_some_and(plain);
    let rest = text.bytes().all(|b| plain(b) || b == b'-' || b == b'_');
    if first && rest && text.len() <= max {
        Ok(())
    } else {
        Err(NameError { what, max })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Parses the text form.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text, $what, $max).map(|()| Self(text.to_owned()))
            }

            /// The text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A community of agencies under one authority; part of everything signed.
    NetworkName, 64, "network name"
);
name!(
    /// An organisation in the network in one role, as the directory lists it.
    AgencyId, 64, "agency id"
);
name!(
    /// An officer, as the directory lists it: a function, never a person's name.
    OfficerId, 64, "officer id"
);
name!(
    /// A code of the domain's vocabulary (category, role, purpose, legal basis, region …).
    /// Whether it is *known* is the policy's business (`DENY_UNKNOWN_VALUE`).
    Code, 48, "code"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass_and_others_do_not() {
        assert!(AgencyId::new("pz-rupel").is_ok());
        assert!(Code::new("facts_summary").is_ok());
        for bad in ["", "-x", "_x", "PZ", "a b", "a/../b", "é", "a\u{202e}b"] {
            assert!(AgencyId::new(bad).is_err(), "{bad:?}");
        }
        assert!(AgencyId::new(&"a".repeat(64)).is_ok());
        assert!(AgencyId::new(&"a".repeat(65)).is_err());
    }
}
