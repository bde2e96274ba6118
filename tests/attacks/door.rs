//! The door: who is let in, with which protocol, and under which identity.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustls::{ClientConfig, NamedGroup};
use schakel_proto::refusal;
use schakel_proto::wire::GetDirectoryRequest;
use schakel_tests::system::network::{Town, agency, copy, now};
use schakel_tests::system::office::Office;
use schakel_tests::system::peer::{self, connect, runtime, tls};
use schakel_tests::system::process::{Process, binary};
use schakel_tests::system::wait;
use tonic::Code;

fn name(town: &Town) -> String {
    town.network().spec().broker_name()
}

fn ask(town: &Town, settings: ClientConfig) -> Result<(), tonic::Status> {
    runtime().block_on(async {
        let request = GetDirectoryRequest { known_version: 0 };
        peer::with(town, settings).get_directory(request).await.map(drop)
    })
}

/// A ClientHello of TLS 1.2 (RFC 5246): no `supported_versions`, so no newer version is offered.
fn hello_of_tls_12() -> Vec<u8> {
    let extensions = [
        &[0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x1d, 0x00, 0x17][..], // supported_groups: x25519, secp256r1
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],                             // ec_point_formats: uncompressed
        &[0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04],     // signature_algorithms
    ]
    .concat();
    let mut body = vec![0x03, 0x03];
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend([0x00, 0x04, 0xc0, 0x2b, 0xc0, 0x2f]); // ECDHE with AES-128-GCM, ECDSA and RSA
    body.extend([0x01, 0x00]); // no compression
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u16::try_from(body.len()).unwrap();
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend((length + 4).to_be_bytes());
    record.extend([0x01, 0x00]);
    record.extend(length.to_be_bytes());
    record.extend(body);
    record
}

#[test]
fn tls_1_2_is_refused_by_alert() {
    let town = Town::running(&[]);
    let mut stream = TcpStream::connect(town.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&hello_of_tls_12()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    // Alert record, level fatal, protocol_version (70).
    assert_eq!((answer[0], &answer[5..]), (0x15, &[2, 70][..]), "{answer:02x?}");
}

#[test]
fn the_hybrid_key_exchange_is_negotiated_under_tls_1_3() {
    let town = Town::running(&[]);
    let settings = tls(&town, Some(&town.network().agent_folder(&agency("pz-rupel"))));
    let stream = runtime()
        .block_on(connect(town.address(), name(&town), settings))
        .unwrap();
    let connection = stream.get_ref().1;
    assert_eq!(
        connection.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let group = connection.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn i02_without_a_certificate_of_the_network_nobody_gets_in() {
    let town = Town::running(&[]);
    let good = town.network().agent_folder(&agency("pz-rupel"));
    ask(&town, tls(&town, Some(&good))).expect("the control gets in");
    ask(&town, tls(&town, None)).expect_err("no certificate");
    // A certificate of another authority of the same name: of a network minted anew.
    let folder = tempfile::tempdir().unwrap();
    let other = mint_elsewhere(folder.path());
    ask(&town, tls(&town, Some(&other))).expect_err("a certificate of another authority");
}

/// An agency's folder in another network with the same names.
fn mint_elsewhere(root: &Path) -> PathBuf {
    use rand::{SeedableRng, rngs::StdRng};
    use schakel_certs_dev::{Mint, NetworkSpec, mint};
    let mut spec = NetworkSpec::builtin("rupel").unwrap();
    spec.agencies.retain(|a| {
        ["pz-rupel", "parket-antwerpen", "caw-rupel"].contains(&a.id.as_str()) || !a.officers.is_empty()
    });
    let order = Mint {
        spec: &spec,
        out: &root.join("rupel"),
        port: 1,
        health_port: 2,
        at: now(),
    };
    let network = mint(&order, &mut StdRng::from_os_rng()).unwrap();
    network.agent_folder(&agency("pz-rupel"))
}

#[test]
fn i03_a_certificate_of_the_right_authority_counts_only_if_the_directory_lists_its_key() {
    let mut town = Town::rupel();
    let id = agency("pz-rupel");
    let (current, former) = (
        town.network().agent_folder(&id),
        town.scratch("former").join("pz-rupel"),
    );
    copy(&current, &former);
    town.network().rotate_tls(&id, now()).unwrap();
    town.start_broker();
    ask(&town, tls(&town, Some(&current))).expect("the listed key gets in");
    let refused = ask(&town, tls(&town, Some(&former))).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert_eq!(refusal::from_status(&refused).unwrap().code, "UNKNOWN_IDENTITY");
}

#[test]
fn development_keys_are_refused_without_the_word_development() {
    let mut town = Town::rupel();
    let run = |program: &str, config: PathBuf| {
        let mut command = Command::new(binary(program));
        command.args(["run", "--config"]).arg(config);
        let log = town.scratch("logs").join(format!("plain-{program}.log"));
        Process::start(program, &mut command, &log)
    };
    let mut broker = run("schakel-broker", town.network().broker_config());
    let status = wait::until("the broker's refusal", || broker.ended());
    assert!(
        !status.success() && broker.printed().contains("development"),
        "{}",
        broker.printed()
    );
    // The agent learns from the directory what network it is in, and then has nothing to do with it.
    let config = town.network().agent_config(&agency("pz-rupel"));
    let mut agent = run("schakel-agent", config);
    town.start_broker();
    agent.wait_until("a refusal that says why", || agent_refuses(&town));
    let office = Office::of(&town, "pz-rupel");
    assert!(office.ask("GET", "/v1/status", None)["directory_version"].is_null());
}

/// Whether the agent's status says that the directory is refused for its mark.
fn agent_refuses(town: &Town) -> Option<()> {
    let status = Office::of(town, "pz-rupel")
        .try_ask("GET", "/v1/status", None)
        .ok()?
        .1;
    status["problem"]
        .to_string()
        .contains("DEVELOPMENT_MARK")
        .then_some(())
}
