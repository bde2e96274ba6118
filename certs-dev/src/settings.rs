//! The text of `broker.toml` and `agent.toml`: relative paths, so that the folder can be moved.

use schakel_proto::party::AgencyId;

use crate::spec::NetworkSpec;

/// Where the broker listens: gRPC on `port`, health on the next one, both on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub grpc: u16,
    pub health: u16,
}

const MARK: &str = "# Made by certs-dev for development. Never use these keys for anything else.\n";

pub(crate) fn broker(spec: &NetworkSpec, ports: Ports) -> String {
    format!(
        r#"{MARK}network = "{network}"
listen = "127.0.0.1:{grpc}"
health_listen = "127.0.0.1:{health}"
data_dir = "data"
erasure_dir = "erasure"
authority = "../authority/authority.pgp"
authority_threshold = {threshold}
directory = "../directory.bin"
bundle = "../bundle.bin"

[tls]
certificate = "tls-cert.pem"
key = "tls-key.pem"
ca = "../authority/ca.pem"

[log]
key = "log-key.txt"
"#,
        network = spec.network,
        grpc = ports.grpc,
        health = ports.health,
        threshold = spec.authority.threshold,
    )
}

pub(crate) fn agent(spec: &NetworkSpec, agency: &AgencyId, ports: Ports) -> String {
    format!(
        r#"{MARK}network = "{network}"
agency = "{agency}"
broker = "127.0.0.1:{grpc}"
broker_name = "{broker_name}"
data_dir = "data"
authority = "../../authority/authority.pgp"
authority_threshold = {threshold}
openpgp_key = "openpgp.key"
witness_key = "witness.key"

[tls]
certificate = "tls-cert.pem"
key = "tls-key.pem"
ca = "../../authority/ca.pem"

[inbox]
at_rest = "sealed"
"#,
        network = spec.network,
        grpc = ports.grpc,
        broker_name = spec.broker_name(),
        threshold = spec.authority.threshold,
    )
}

/// What a person who finds the folder should know.
pub(crate) fn readme(spec: &NetworkSpec) -> String {
    format!(
        "{title} ({network}): a Schakel network for DEVELOPMENT.\n\
         \n\
         Every private key of the network lies in this folder. Never use it for real data.\n\
         \n\
         network.toml       what it was made from\n\
         directory.bin      who takes part, signed by the authority\n\
         bundle.bin         the policies, signed by two officers of two agencies\n\
         authority/         keys of the authority (OpenPGP) and of the certificate authority (TLS)\n\
         officers/          keys of the officers\n\
         broker/            broker.toml:  schakel-broker run --development --config broker/broker.toml\n\
         agents/ID/         agent.toml:   schakel-agent run --development --config agents/ID/agent.toml\n\
         \n\
         After 24 hours the directory is too old to seal with: certs-dev directory refresh --dir THIS-FOLDER\n",
        title = spec.title,
        network = spec.network,
    )
}
