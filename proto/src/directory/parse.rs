//! From signed bytes to a typed directory: every field bounded, nothing given twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost::Message;

use super::{Agency, AgencyCertificate, Broker, Directory, DirectoryError, LogDescription, Officer, Side};
use crate::ids::Digest;
use crate::limits;
use crate::openpgp::{Certificate, Fingerprint, Profile};
use crate::party::{AgencyId, Code, NetworkName, OfficerId};
use crate::time::Timestamp;
use crate::tlog::checkpoint::LogKey;
use crate::tlog::shards::{FROZEN_MAX_COUNT, FROZEN_NOTE_MAX_BYTES, Frozen, Shards};
use crate::tlog::witnessed::WITNESSES_MAX_COUNT;
use crate::wire;

/// The type that the signed bytes name.
pub(super) const TYPE: &str = "schakel.v1.Directory";
const NAME_MAX_BYTES: usize = 255;
const CERTIFICATE_MAX_BYTES: usize = 64 * 1024;
const KEYS_PER_AGENCY_MAX_COUNT: usize = 16;
const BROKERS_MAX_COUNT: usize = 64;
const AUDITORS_MAX_COUNT: usize = 16;
/// 9999-12-31T23:59:59.999Z, the last moment that RFC 3339 can write.
const TIME_MAX_MILLIS: i64 = 253_402_300_799_999;

type Result<T> = std::result::Result<T, DirectoryError>;

fn fail<T>(place: &str, what: impl Into<String>) -> Result<T> {
    Err(DirectoryError::malformed(place, what))
}

/// What may occur once only in the whole directory.
#[derive(Default)]
struct Seen {
    tls: BTreeSet<Digest>,
    keys: BTreeSet<Fingerprint>,
    officers: BTreeSet<OfficerId>,
}

/// Parses what the authority signed (its signatures are checked before).
pub(super) fn directory(
    signed: &wire::MultiSigned,
    network: &NetworkName,
    now: Timestamp,
) -> Result<Directory> {
    let message = wire::Directory::decode(signed.bytes.as_ref())
        .map_err(|_| DirectoryError::malformed("bytes", "are not a Directory message"))?;
    if message.encode_to_vec() != signed.bytes {
        return fail(
            "bytes",
            "are not in canonical form, or hold fields this version does not know",
        );
    }
    if message.r#type != TYPE {
        return fail("type", format!("is not {TYPE}"));
    }
    if message.network != network.as_str() {
        return Err(DirectoryError::Network {
            expected: network.clone(),
        });
    }
    if message.version == 0 {
        return fail("version", "is 0");
    }
    let (issued, valid_until) = validity(&message, now)?;
    let mut seen = Seen::default();
    let agencies = agencies(&message.agencies, &mut seen, now)?;
    let by_tls = agencies
        .values()
        .flat_map(|a| a.tls_identities.iter().map(|identity| (*identity, a.id.clone())))
        .collect::<HashMap<_, _>>();
    let brokers = brokers(&message.brokers, &mut seen)?;
    let log = log(message.log.as_ref(), &agencies)?;
    let auditors = members("auditors", &message.auditors, AUDITORS_MAX_COUNT, &agencies)?;
    Ok(Directory {
        signed: signed.clone(),
        digest: Digest::of(&signed.bytes),
        network: network.clone(),
        version: message.version,
        issued,
        valid_until,
        development: message.development,
        agencies,
        by_tls,
        brokers,
        log,
        auditors,
    })
}

fn validity(message: &wire::Directory, now: Timestamp) -> Result<(Timestamp, Timestamp)> {
    let range = 1..=TIME_MAX_MILLIS;
    if !range.contains(&message.issued_ms) || !range.contains(&message.valid_until_ms) {
        return fail("issued_ms, valid_until_ms", "is not a time between 1970 and 9999");
    }
    let issued = Timestamp::from_millis(message.issued_ms);
    let valid_until = Timestamp::from_millis(message.valid_until_ms);
    if valid_until <= issued {
        return fail("valid_until_ms", "is not after issued_ms");
    }
    if issued > now.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS) {
        return Err(DirectoryError::NotYetIssued { issued });
    }
    if now > valid_until {
        return Err(DirectoryError::Expired { valid_until });
    }
    Ok((issued, valid_until))
}

fn agencies(list: &[wire::Agency], seen: &mut Seen, now: Timestamp) -> Result<BTreeMap<AgencyId, Agency>> {
    if list.is_empty() || list.len() > limits::AGENCIES_MAX_COUNT {
        return fail(
            "agencies",
            format!(
                "{} of them, expected 1 to {}",
                list.len(),
                limits::AGENCIES_MAX_COUNT
            ),
        );
    }
    let mut agencies = BTreeMap::new();
    for (number, message) in list.iter().enumerate() {
        let place = format!("agencies[{number}]");
        let agency = agency(message, &place, seen, now)?;
        if let Some(twice) = agencies.insert(agency.id.clone(), agency) {
            return fail(&place, format!("{} is listed twice", twice.id));
        }
    }
    Ok(agencies)
}

fn agency(message: &wire::Agency, place: &str, seen: &mut Seen, now: Timestamp) -> Result<Agency> {
    let named = |error: crate::party::NameError| DirectoryError::malformed(place, error.to_string());
    let id = AgencyId::new(&message.id).map_err(named)?;
    let compatibility = wire::Compatibility::try_from(message.compatibility)
        .map_err(|_| DirectoryError::malformed(format!("{place}.compatibility"), "is not known"))?;
    let count = message.certificates.len();
    if count == 0 || count > KEYS_PER_AGENCY_MAX_COUNT {
        return fail(
            &format!("{place}.certificates"),
            format!("{count}, expected 1 to {KEYS_PER_AGENCY_MAX_COUNT}"),
        );
    }
    let mut certificates = Vec::with_capacity(count);
    for bytes in &message.certificates {
        certificates.push(certificate(bytes, &format!("{place}.certificates"), seen, now)?);
    }
    let wanted = match compatibility {
        wire::Compatibility::V6 => Profile::V6,
        wire::Compatibility::V4 => Profile::V4,
    };
    if certificates
        .iter()
        .any(|c| c.certificate.fingerprint().profile() != wanted)
    {
        return fail(
            &format!("{place}.certificates"),
            "one is of another OpenPGP version than `compatibility` says",
        );
    }
    let sealing_key = certificates
        .first()
        .and_then(|c| c.certificate.sealing_key_at(now).ok());
    let officers = officers(&message.officers, &id, place, seen, now)?;
    Ok(Agency {
        name: name(&message.name, &format!("{place}.name"))?,
        role: Code::new(&message.role).map_err(named)?,
        side: side(&message.side, &format!("{place}.side"))?,
        region: Code::new(&message.region).map_err(named)?,
        languages: codes(&message.languages, &format!("{place}.languages"))?,
        tls_identities: tls_identities(&message.tls_identities, &format!("{place}.tls_identities"), seen)?,
        competent_for: codes(&message.competent_for, &format!("{place}.competent_for"))?,
        id,
        certificates,
        sealing_key,
        compatibility,
        officers,
    })
}

fn certificate(bytes: &[u8], place: &str, seen: &mut Seen, now: Timestamp) -> Result<AgencyCertificate> {
    if bytes.len() > CERTIFICATE_MAX_BYTES {
        return fail(place, format!("one is longer than {CERTIFICATE_MAX_BYTES} bytes"));
    }
    let certificate =
        Certificate::parse(bytes).map_err(|error| DirectoryError::malformed(place, error.to_string()))?;
    let mut keys = certificate
        .encryption_fingerprints()
        .into_iter()
        .collect::<BTreeSet<_>>();
    keys.insert(certificate.fingerprint());
    for key in keys {
        if !seen.keys.insert(key) {
            return fail(place, "a key occurs twice in the directory");
        }
    }
    let signing = certificate.signing_keys_at(now).ok();
    Ok(AgencyCertificate { certificate, signing })
}

fn officers(
    list: &[wire::Officer],
    agency: &AgencyId,
    place: &str,
    seen: &mut Seen,
    now: Timestamp,
) -> Result<Vec<Officer>> {
    let place = format!("{place}.officers");
    if list.len() > limits::REPEATED_MAX_COUNT {
        return fail(&place, format!("more than {}", limits::REPEATED_MAX_COUNT));
    }
    let mut officers = Vec::with_capacity(list.len());
    for message in list {
        let id = OfficerId::new(&message.id).map_err(|e| DirectoryError::malformed(&place, e.to_string()))?;
        if !seen.officers.insert(id.clone()) {
            return fail(&place, format!("{id} is listed twice"));
        }
        let certificate = certificate(&message.certificate, &place, seen, now)?;
        officers.push(Officer {
            id,
            agency: agency.clone(),
            certificate,
        });
    }
    Ok(officers)
}

fn tls_identities(list: &[bytes::Bytes], place: &str, seen: &mut Seen) -> Result<Vec<Digest>> {
    if list.is_empty() || list.len() > KEYS_PER_AGENCY_MAX_COUNT {
        return fail(
            place,
            format!("{}, expected 1 to {KEYS_PER_AGENCY_MAX_COUNT}", list.len()),
        );
    }
    let mut identities = Vec::with_capacity(list.len());
    for bytes in list {
        let identity =
            Digest::try_from(bytes.as_ref()).map_err(|e| DirectoryError::malformed(place, e.to_string()))?;
        if !seen.tls.insert(identity) {
            return fail(place, "a TLS identity occurs twice in the directory");
        }
        identities.push(identity);
    }
    Ok(identities)
}

fn brokers(list: &[wire::BrokerService], seen: &mut Seen) -> Result<Vec<Broker>> {
    if list.is_empty() || list.len() > BROKERS_MAX_COUNT {
        return fail(
            "brokers",
            format!("{} of them, expected 1 to {BROKERS_MAX_COUNT}", list.len()),
        );
    }
    let mut brokers: Vec<Broker> = Vec::with_capacity(list.len());
    for (number, message) in list.iter().enumerate() {
        let place = format!("brokers[{number}]");
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        let length = message.name.len();
        if length == 0 || length > 253 || !message.name.bytes().all(plain) {
            return fail(&place, "`name` is not a lower-case DNS name");
        }
        if brokers.iter().any(|other| other.name == message.name) {
            return fail(&place, "is listed twice");
        }
        let tls_identities =
            tls_identities(&message.tls_identities, &format!("{place}.tls_identities"), seen)?;
        brokers.push(Broker {
            name: message.name.clone(),
            tls_identities,
        });
    }
    Ok(brokers)
}

fn log(
    message: Option<&wire::LogDescription>,
    agencies: &BTreeMap<AgencyId, Agency>,
) -> Result<LogDescription> {
    let Some(message) = message else {
        return fail("log", "is missing");
    };
    let key = LogKey::new(&message.origin, &message.key)
        .map_err(|error| DirectoryError::malformed("log.origin, log.key", error.to_string()))?;
    let witnesses = members("log.witnesses", &message.witnesses, WITNESSES_MAX_COUNT, agencies)?;
    let tolerated = usize::try_from(message.tolerated_liars).unwrap_or(usize::MAX);
    if tolerated > 0 && tolerated >= witnesses.len() {
        return fail(
            "log.tolerated_liars",
            "is not smaller than the number of witnesses",
        );
    }
    let watch = super::watch::parse(message, &witnesses, key.origin())?;
    let shards = shards(&message.frozen, key)?;
    Ok(LogDescription {
        shards,
        witnesses,
        tolerated_liars: message.tolerated_liars,
        watch,
    })
}

fn shards(frozen: &[wire::FrozenShard], current: LogKey) -> Result<Shards> {
    if frozen.len() > FROZEN_MAX_COUNT {
        return fail("log.frozen", format!("more than {FROZEN_MAX_COUNT}"));
    }
    let mut former = Vec::with_capacity(frozen.len());
    for (number, one) in frozen.iter().enumerate() {
        let place = format!("log.frozen[{number}]");
        if one.checkpoint.len() > FROZEN_NOTE_MAX_BYTES {
            return fail(&place, format!("is longer than {FROZEN_NOTE_MAX_BYTES} bytes"));
        }
        let key = LogKey::new(&one.origin, &one.key);
        let shard = key.and_then(|key| Frozen::new(key, &one.checkpoint));
        former.push(shard.map_err(|error| DirectoryError::malformed(&place, error.to_string()))?);
    }
    Shards::new(former, current).map_err(|what| DirectoryError::malformed("log.frozen", what))
}

/// Agencies of the directory, each once.
fn members(
    place: &str,
    list: &[String],
    max: usize,
    agencies: &BTreeMap<AgencyId, Agency>,
) -> Result<Vec<AgencyId>> {
    if list.len() > max {
        return fail(place, format!("more than {max}"));
    }
    let mut members = Vec::with_capacity(list.len());
    for text in list {
        let id = AgencyId::new(text).map_err(|e| DirectoryError::malformed(place, e.to_string()))?;
        if !agencies.contains_key(&id) || members.contains(&id) {
            return fail(place, format!("{id} is not an agency, or is listed twice"));
        }
        members.push(id);
    }
    Ok(members)
}

fn side(text: &str, place: &str) -> Result<Option<Side>> {
    Ok(Some(match text {
        "" => return Ok(None),
        "victim" => Side::Victim,
        "perpetrator" => Side::Perpetrator,
        "mixed" => Side::Mixed,
        "neutral" => Side::Neutral,
        _ => return fail(place, "is not victim, perpetrator, mixed or neutral"),
    }))
}

fn name(text: &str, place: &str) -> Result<String> {
    let length = text.len();
    if length == 0 || length > NAME_MAX_BYTES || text.trim() != text || text.chars().any(hidden) {
        return fail(
            place,
            format!("is not 1 to {NAME_MAX_BYTES} bytes of visible text"),
        );
    }
    Ok(text.to_owned())
}

/// Control characters, and those that change the direction or hide in a line of text.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn codes(list: &[String], place: &str) -> Result<Vec<Code>> {
    if list.len() > limits::REPEATED_MAX_COUNT {
        return fail(place, format!("more than {}", limits::REPEATED_MAX_COUNT));
    }
    let mut codes = Vec::with_capacity(list.len());
    for text in list {
        let code = Code::new(text).map_err(|e| DirectoryError::malformed(place, e.to_string()))?;
        if codes.contains(&code) {
            return fail(place, format!("{code} is listed twice"));
        }
        codes.push(code);
    }
    Ok(codes)
}
