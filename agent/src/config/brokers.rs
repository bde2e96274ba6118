//! `broker` in `agent.toml`: one address, or a list of them, each under the name that stands in that broker's
//! certificate.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::Source;
use crate::problem::Problem;

/// Longest list of brokers.
const BROKERS_MAX_COUNT: usize = 16;

/// Where a broker listens, and who it must prove to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// DNS name in its certificate, under which the directory pins its keys.
    pub name: String,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The setting as it stands in the file.
pub(super) enum RawBrokers {
    One(String),
    List(Vec<Spanned<RawBroker>>),
}

/// One of a list: an address, or an address with its own name.
pub(super) enum RawBroker {
    Address(String),
    Named(Named),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    address: Spanned<String>,
    name: Spanned<String>,
}

impl<'de> Deserialize<'de> for RawBrokers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = RawBrokers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string \"host:port\" or a list of them")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawBrokers, E> {
                Ok(RawBrokers::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawBrokers, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(RawBrokers::List(all))
            }
        }
        from.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for RawBroker {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = RawBroker;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string \"host:port\" or { address = \"host:port\", name = \"…\" }")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawBroker, E> {
                Ok(RawBroker::Address(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawBroker, A::Error> {
                Named::deserialize(MapAccessDeserializer::new(map)).map(RawBroker::Named)
            }
        }
        from.deserialize_any(One)
    }
}

/// Checks the list, and gives each broker its name: its own, or `broker_name`.
pub(super) fn brokers(
    source: &Source<'_>,
    raw: &Spanned<RawBrokers>,
    name: Option<&Spanned<String>>,
) -> Result<Vec<BrokerAddress>, Problem> {
    let common = name.map(|name| server_name(source, name)).transpose()?;
    let named = |at: usize, text: &str| -> Result<BrokerAddress, Problem> {
        let (host, port) = address(source, at, text)?;
        let name = common.clone().ok_or_else(|| {
            let sentence = format!("no name is given that {text} must have in its certificate");
            source.error(
                at,
                sentence,
                "Write `broker_name`, or { address = \"…\", name = \"…\" }.",
            )
        })?;
        Ok(BrokerAddress { host, port, name })
    };
    let list = match raw.get_ref() {
        RawBrokers::One(text) => return Ok(vec![named(raw.span().start, text)?]),
        RawBrokers::List(list) => list,
    };
    if list.is_empty() || list.len() > BROKERS_MAX_COUNT {
        let sentence = format!(
            "the list has {} brokers, from 1 to {BROKERS_MAX_COUNT} may stand in it",
            list.len()
        );
        return Err(source.wrong(raw, sentence, "Write the addresses of the network's brokers."));
    }
    let mut all: Vec<BrokerAddress> = Vec::with_capacity(list.len());
    for one in list {
        let broker = match one.get_ref() {
            RawBroker::Address(text) => named(one.span().start, text)?,
            RawBroker::Named(own) => {
                let (host, port) = address(source, own.address.span().start, own.address.get_ref())?;
                let name = server_name(source, &own.name)?;
                BrokerAddress { host, port, name }
            }
        };
        if all
            .iter()
            .any(|known| (&known.host, known.port) == (&broker.host, broker.port))
        {
            let sentence = format!("{broker} stands in the list twice");
            return Err(source.wrong(one, sentence, "Leave one of them out."));
        }
        all.push(broker);
    }
    Ok(all)
}

fn address(source: &Source<'_>, at: usize, text: &str) -> Result<(String, u16), Problem> {
    let remedy = "Write host:port, for example \"broker.rupel.example:7443\".";
    let wrong = || source.error(at, "the broker's address is not host:port", remedy);
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(wrong)?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

fn server_name(source: &Source<'_>, value: &Spanned<String>) -> Result<String, Problem> {
    let name = value.get_ref().clone();
    match rustls::pki_types::ServerName::try_from(name.clone()) {
        Ok(_) => Ok(name),
        Err(e) => Err(source.wrong(
            value,
            format!("not a DNS name: {e}"),
            "Write the name that stands in the broker's certificate.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[derive(Deserialize)]
    struct File {
        broker: Spanned<RawBrokers>,
        broker_name: Option<Spanned<String>>,
    }

    fn parse(text: &str) -> Result<Vec<String>, Problem> {
        let source = Source {
            file: Path::new("agent.toml"),
            text,
        };
        let file: File =
            toml::from_str(text).map_err(|e| source.error(e.span().unwrap().start, e.message(), "Read."))?;
        let list = brokers(&source, &file.broker, file.broker_name.as_ref())?;
        Ok(list.iter().map(|b| format!("{b} {}", b.name)).collect())
    }

    #[test]
    fn one_or_many_brokers_each_with_its_name() {
        let name = "broker_name = \"b.example\"\n";
        assert_eq!(
            parse(&format!("{name}broker = \"one:7443\"")).unwrap(),
            ["one:7443 b.example"]
        );
        let many =
            "broker = [\n\"one:7443\",\n\"[::1]:7\",\n{ address = \"two:1\", name = \"c.example\" },\n]";
        assert_eq!(
            parse(&format!("{name}{many}")).unwrap(),
            ["one:7443 b.example", "[::1]:7 b.example", "two:1 c.example"]
        );
        let own = "[[broker]]\naddress = \"two:1\"\nname = \"c.example\"\n";
        assert_eq!(parse(own).unwrap(), ["two:1 c.example"]);
    }

    #[test]
    fn o01_what_is_wrong_in_the_list_is_named_with_its_line() {
        let name = "broker_name = \"b.example\"\n";
        let many = format!("{name}broker = [{}]", "\"x:1\",".repeat(BROKERS_MAX_COUNT + 1));
        for (text, line, word) in [
            ("broker = \"one:7443\"", 1, "no name is given"),
            ("broker = [\"one:7443\"]", 1, "no name is given"),
            (&format!("{name}broker = []"), 2, "the list has 0"),
            (&many, 2, "the list has 17"),
            (
                &format!("{name}broker = [\"one:1\",\n\"one:1\"]"),
                3,
                "one:1 stands in the list twice",
            ),
            (&format!("{name}broker = [\"one:1\",\n\"two\"]"), 3, "host:port"),
            (&format!("{name}broker = [\"one:1\",\n7]"), 3, "a string"),
            (
                &format!("{name}broker = [\"one:1\",\n{{ address = \"two:1\" }}]"),
                3,
                "name",
            ),
            (
                &format!("{name}broker = [\n{{ address = \"two:1\", name = \"a b\" }}]"),
                3,
                "DNS name",
            ),
            (
                &format!("{name}broker = [\n{{ address = \"two\", name = \"b\" }}]"),
                3,
                "host:port",
            ),
            (
                &format!("{name}broker = [\n{{ address = \"two:1\", name = \"b\", x = 1 }}]"),
                3,
                "unknown field",
            ),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.sentence.contains(word), "{text}: {problem}");
            assert_eq!(problem.place, format!("agent.toml:{line}"), "{text}: {problem}");
            assert!(!problem.remedy.is_empty());
        }
    }
}
