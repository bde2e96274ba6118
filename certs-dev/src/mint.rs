//! Makes a whole network in one call.

use std::path::Path;

use prost::Message;
use rand::RngCore;
use schakel_policy::bundle::{Bundle, BundleSignature, SignedBundle};
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::party::OfficerId;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::wire;

use crate::files::{self, Access};
use crate::network::Network;
use crate::problem::Problem;
use crate::settings::{self, Ports};
use crate::spec::{AgencySpec, NetworkSpec, OpenPgp};
use crate::tls::{TlsAuthority, TlsParty, Use};
use crate::witness;

const KEYS: &str = "This build cannot make these keys: see the OpenPGP backend in docs/operating.";
/// How long a directory made here is valid.
pub(crate) const DIRECTORY_LIFE_MILLIS: i64 = 90 * 24 * 3600 * 1000;

/// What to make, where and when.
#[derive(Clone, Debug)]
pub struct Mint<'a> {
    /// The network.
    pub spec: &'a NetworkSpec,
    /// The folder to make; it must not exist.
    pub out: &'a Path,
    /// The broker's port for agents, on loopback.
    pub port: u16,
    /// The broker's port for health, on loopback.
    pub health_port: u16,
    /// The moment it is made.
    pub at: Timestamp,
}

/// Makes the folder with all keys, the signed directory, the signed bundle and the configurations.
///
/// The OpenPGP and TLS keys' randomness is that of the cryptographic libraries; `rng` is for the log key.
///
/// # Errors
/// The folder exists or cannot be written, or the specification does not make a sound network.
pub fn mint(order: &Mint<'_>, rng: &mut dyn RngCore) -> Result<Network, Problem> {
    mint_dated(order, order.at, rng)
}

/// As [`mint`], with TLS certificates of another date: for a network in simulated time, which TLS does not follow.
///
/// # Errors
/// As [`mint`].
pub fn mint_dated(order: &Mint<'_>, tls_at: Timestamp, rng: &mut dyn RngCore) -> Result<Network, Problem> {
    let Mint { spec, out, at, .. } = *order;
    let dates = Dates { at, tls_at };
    let ports = Ports {
        grpc: order.port,
        health: order.health_port,
    };
    files::new_folder(out)?;
    let network = Network::of(out, spec.clone());
    for folder in ["authority", "broker", "agents", "officers"] {
        files::new_folder(&out.join(folder))?;
    }
    files::new_file(
        &out.join("README.txt"),
        settings::readme(spec).as_bytes(),
        Access::Public,
    )?;
    write_spec(&network, files::new_file)?;
    let tls = authority(&network, dates)?;
    let (service, mut log) = broker(&network, &tls, ports, dates, rng)?;
    let mut agencies = Vec::with_capacity(spec.agencies.len());
    for agency in &spec.agencies {
        agencies.push(new_agency(&network, agency, &tls, ports, dates)?);
        let key = witness::new_key(&network, agency, &log.origin, rng)?;
        witness::name(&mut log, key);
    }
    let directory = wire::Directory {
        r#type: "schakel.v1.Directory".to_owned(),
        network: spec.network.to_string(),
        version: 1,
        issued_ms: at.millis(),
        valid_until_ms: at.plus_millis(DIRECTORY_LIFE_MILLIS).millis(),
        development: true,
        agencies,
        brokers: vec![service],
        log: Some(log),
        auditors: Vec::new(),
    };
    let signed = sign_directory(&network, &directory, at)?;
    files::new_file(&network.directory_file(), &signed.encode_to_vec(), Access::Public)?;
    network.directory(at)?;
    bundle(&network, at)?;
    Ok(network)
}

/// As of when keys are made.
#[derive(Clone, Copy)]
pub(crate) struct Dates {
    pub(crate) at: Timestamp,
    pub(crate) tls_at: Timestamp,
}

/// The writer of a file: [`files::new_file`] or [`files::replace`].
pub(crate) type Write = fn(&Path, &[u8], Access) -> Result<(), Problem>;

/// Keys of the authority (OpenPGP) and of the certificate authority (TLS).
fn authority(network: &Network, Dates { at, tls_at }: Dates) -> Result<TlsAuthority, Problem> {
    let spec = network.spec();
    let mut keyring = Vec::new();
    for number in 1..=spec.authority.keys {
        let user = format!("Authority {number} of {} (DEVELOPMENT)", spec.network);
        let keys = new_keys(&network.authority_key_file(number), OpenPgp::V6, &user, at)?;
        keyring.extend(certificate(&keys)?);
    }
    files::new_file(&network.authority_file(), &keyring, Access::Public)?;
    let tls = TlsAuthority::generate(spec.network.as_str()).map_err(Problem::at("TLS authority", KEYS))?;
    files::new_file(&network.ca_key_file(), tls.key_pem().as_bytes(), Access::Private)?;
    let pem = tls
        .certificate_pem(tls_at)
        .map_err(Problem::at("TLS authority", KEYS))?;
    files::new_file(&network.ca_file(), pem.as_bytes(), Access::Public)?;
    Ok(tls)
}

/// Everything of the broker: TLS and log key, configuration, and what the directory says of it.
fn broker(
    network: &Network,
    tls: &TlsAuthority,
    ports: Ports,
    Dates { at, tls_at }: Dates,
    rng: &mut dyn RngCore,
) -> Result<(wire::BrokerService, wire::LogDescription), Problem> {
    let (spec, folder, name) = (
        network.spec(),
        network.broker_folder(),
        network.spec().broker_name(),
    );
    let party = issue(
        tls,
        &name,
        vec![name.clone(), "localhost".to_owned()],
        Use::Server,
        tls_at,
    )?;
    write_tls(&folder, &party, files::new_file)?;
    let log = LogSecret::generate(&spec.log_origin(at), rng).map_err(Problem::at(
        "network",
        "Give the network a name of at most 64 plain characters.",
    ))?;
    files::new_file(
        &folder.join("log-key.txt"),
        log.to_text().as_bytes(),
        Access::Private,
    )?;
    let settings = settings::broker(spec, ports);
    files::new_file(&network.broker_config(), settings.as_bytes(), Access::Public)?;
    let service = wire::BrokerService {
        name,
        tls_identities: vec![party.identity.to_vec().into()],
    };
    let description = wire::LogDescription {
        origin: log.public().origin().to_owned(),
        key: log.public().public().to_vec().into(),
        ..wire::LogDescription::default()
    };
    Ok((service, description))
}

/// Everything of one agency: keys, certificates, configuration, and what the directory says of it.
pub(crate) fn new_agency(
    network: &Network,
    agency: &AgencySpec,
    tls: &TlsAuthority,
    ports: Ports,
    Dates { at, tls_at }: Dates,
) -> Result<wire::Agency, Problem> {
    let folder = network.agent_folder(&agency.id);
    files::new_folder(&folder)?;
    let user = format!("{} (DEVELOPMENT)", agency.name);
    let keys = new_keys(&network.agent_key_file(&agency.id), agency.openpgp, &user, at)?;
    let party = issue(tls, agency.id.as_str(), Vec::new(), Use::Client, tls_at)?;
    write_tls(&folder, &party, files::new_file)?;
    let settings = settings::agent(network.spec(), &agency.id, ports);
    files::new_file(
        &network.agent_config(&agency.id),
        settings.as_bytes(),
        Access::Public,
    )?;
    let mut officers = Vec::with_capacity(agency.officers.len());
    for id in &agency.officers {
        let user = format!("Officer {id} (DEVELOPMENT)");
        let keys = new_keys(&network.officer_key_file(id), OpenPgp::V6, &user, at)?;
        officers.push(wire::Officer {
            id: id.to_string(),
            certificate: certificate(&keys)?.into(),
        });
    }
    let compatibility = match agency.openpgp {
        OpenPgp::V4 => wire::Compatibility::V4,
        OpenPgp::V6 | OpenPgp::V6PostQuantumSigning => wire::Compatibility::V6,
    };
    Ok(wire::Agency {
        id: agency.id.to_string(),
        name: agency.name.clone(),
        role: agency.role.to_string(),
        side: agency.side.clone(),
        region: agency.region.to_string(),
        languages: agency.languages.iter().map(ToString::to_string).collect(),
        tls_identities: vec![party.identity.to_vec().into()],
        certificates: vec![certificate(&keys)?.into()],
        compatibility: compatibility.into(),
        officers,
        competent_for: agency.competent_for.iter().map(ToString::to_string).collect(),
    })
}

/// The built-in policies, signed by the first officers of the first two agencies that have one.
fn bundle(network: &Network, at: Timestamp) -> Result<(), Problem> {
    let refused = |error: schakel_policy::bundle::BundleError| {
        Problem::new(
            "bundle.bin",
            error,
            "Correct the built-in policies: schakel-policy check.",
        )
    };
    let bundle = Bundle::built_in().map_err(refused)?;
    let signers = network
        .spec()
        .agencies
        .iter()
        .filter_map(|agency| agency.officers.first())
        .take(2);
    let text = bundle.signing_text(&network.spec().network);
    let sign = |officer: &OfficerId| {
        let keys = network.officer_keys(officer)?;
        let signature = keys
            .sign(&text, at)
            .map_err(Problem::at(network.officer_key_file(officer), KEYS))?;
        Ok(BundleSignature {
            officer: officer.clone(),
            signature,
        })
    };
    let signatures = signers.map(sign).collect::<Result<Vec<_>, Problem>>()?;
    let signed = SignedBundle {
        archive: bundle.archive().to_vec(),
        signatures,
    };
    files::new_file(&network.bundle_file(), &signed.to_bytes(), Access::Public)
}

/// Signs a directory with all keys of the authority.
pub(crate) fn sign_directory(
    network: &Network,
    directory: &wire::Directory,
    at: Timestamp,
) -> Result<wire::MultiSigned, Problem> {
    let bytes = directory.encode_to_vec();
    let sign = |keys: SecretKeys| {
        keys.sign(&bytes, at)
            .map_err(Problem::at(network.authority_folder(), KEYS))
    };
    let signatures = network
        .authority_keys()?
        .into_iter()
        .map(sign)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(wire::MultiSigned {
        signatures: signatures.into_iter().map(Into::into).collect(),
        bytes: bytes.into(),
    })
}

/// Makes OpenPGP keys and writes them into a new private file.
pub(crate) fn new_keys(file: &Path, kind: OpenPgp, user: &str, at: Timestamp) -> Result<SecretKeys, Problem> {
    let keys = SecretKeys::generate(kind.kind(), user, at).map_err(Problem::at(file, KEYS))?;
    let bytes = keys.to_bytes().map_err(Problem::at(file, KEYS))?;
    files::new_file(file, &bytes, Access::Private)?;
    Ok(keys)
}

pub(crate) fn certificate(keys: &SecretKeys) -> Result<Vec<u8>, Problem> {
    keys.certificate()
        .to_bytes()
        .map_err(Problem::at("OpenPGP certificate", KEYS))
}

pub(crate) fn issue(
    tls: &TlsAuthority,
    name: &str,
    names: Vec<String>,
    usage: Use,
    at: Timestamp,
) -> Result<TlsParty, Problem> {
    tls.issue(name, names, usage, at).map_err(Problem::at(name, KEYS))
}

pub(crate) fn write_tls(folder: &Path, party: &TlsParty, write: Write) -> Result<(), Problem> {
    write(
        &folder.join("tls-cert.pem"),
        party.certificate_pem.as_bytes(),
        Access::Public,
    )?;
    write(
        &folder.join("tls-key.pem"),
        party.key_pem.as_bytes(),
        Access::Private,
    )
}

pub(crate) fn write_spec(network: &Network, write: Write) -> Result<(), Problem> {
    let file = network.spec_file();
    let text = toml::to_string_pretty(network.spec())
        .map_err(Problem::at(&file, "This is a defect of certs-dev: report it."))?;
    write(&file, text.as_bytes(), Access::Public)
}
