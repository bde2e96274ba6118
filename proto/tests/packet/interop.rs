//! What other OpenPGP tools say: GnuPG for profile v4, rPGP (tests/peer) for profile v6 and the
//! post-quantum algorithms. Content comes back byte for byte with the one-line cut of the format document.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use schakel_proto::openpgp::KeyKind;
use schakel_proto::packet::Profile;

use super::world::{World, key_packet};

const MEMBERS: [(&str, KeyKind); 4] = [
    ("pz-rupel", KeyKind::V6),
    ("parket-antwerpen", KeyKind::V6PostQuantumSigning),
    ("caw-rupel", KeyKind::V6),
    ("jh-antwerpen-dader", KeyKind::V4),
];

/// The one-line cut of docs/format/packet.md, word for word: from the plaintext to the content.
pub const CUT: &str = r#"f=plain; tail -c +$((5 + $(od -An -N4 -tu4 --endian=big $f))) $f | head -c $(od -An -j5 -N8 -tu8 --endian=little $f) > content"#;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    output
}

fn content() -> Vec<u8> {
    (0..70_001_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// A GnuPG home with the secret keys of one member.
fn gnupg(folder: &Path, world: &World, id: &str) -> PathBuf {
    let home = folder.join(format!("gnupg-{id}"));
    fs::create_dir(&home).unwrap();
    run(Command::new("chmod").arg("700").arg(&home));
    let key = folder.join(format!("{id}.key"));
    fs::write(&key, &*world.keys(id).to_bytes().unwrap()).unwrap();
    run(gpg(&home).arg("--import").arg(&key));
    home
}

fn gpg(home: &Path) -> Command {
    let mut gpg = Command::new("gpg");
    gpg.args(["--batch", "--no-tty", "--status-fd", "1", "--homedir"])
        .arg(home);
    // Keys and signatures of these tests live in 2026.
    gpg.args([
        "--faked-system-time",
        "20261121T163000!",
        "--trust-model",
        "always",
    ]);
    gpg
}

#[test]
fn gnupg_verifies_a_manifest_signed_by_a_v4_key() {
    let world = World::new(&MEMBERS);
    let (sealed, _) = world.seal("jh-antwerpen-dader", &[(b"x", &["caw-rupel"])], 1);
    let folder = tempfile::tempdir().unwrap();
    let home = gnupg(folder.path(), &world, "jh-antwerpen-dader");
    let (manifest, signature) = (folder.path().join("manifest"), folder.path().join("manifest.sig"));
    fs::write(&manifest, &sealed.manifest.bytes).unwrap();
    fs::write(&signature, &sealed.manifest.signature).unwrap();
    let said = run(gpg(&home).arg("--verify").arg(&signature).arg(&manifest)).stdout;
    let said = String::from_utf8_lossy(&said);
    let primary = world.keys("jh-antwerpen-dader").fingerprint().to_string();
    assert!(
        said.lines()
            .any(|l| l.contains("VALIDSIG") && l.ends_with(&primary)),
        "{said}"
    );
    let mut changed = sealed.manifest.bytes.to_vec();
    changed[40] ^= 1;
    fs::write(&manifest, changed).unwrap();
    assert!(
        !gpg(&home)
            .arg("--verify")
            .arg(&signature)
            .arg(&manifest)
            .status()
            .unwrap()
            .success()
    );
    stop_agent(&home);
}

#[test]
fn gnupg_signs_and_we_verify() {
    let world = World::new(&MEMBERS);
    let folder = tempfile::tempdir().unwrap();
    let home = gnupg(folder.path(), &world, "jh-antwerpen-dader");
    let (data, signature) = (folder.path().join("data"), folder.path().join("data.sig"));
    fs::write(&data, b"ondertekend door GnuPG").unwrap();
    run(gpg(&home)
        .args(["--digest-algo", "SHA512", "--detach-sign", "--output"])
        .arg(&signature)
        .arg(&data));
    let keys = world
        .keys("jh-antwerpen-dader")
        .certificate()
        .signing_keys_at(super::world::NOW)
        .unwrap();
    let signature = fs::read(signature).unwrap();
    keys.verify(b"ondertekend door GnuPG", &signature, super::world::NOW)
        .unwrap();
    assert!(
        keys.verify(b"ondertekend door Gnupg", &signature, super::world::NOW)
            .is_err()
    );
    stop_agent(&home);
}

#[test]
fn gnupg_opens_a_v4_sealing_and_the_cut_gives_the_content() {
    let world = World::new(&MEMBERS);
    let content = content();
    let (sealed, sink) = world.seal("pz-rupel", &[(&content, &["caw-rupel", "jh-antwerpen-dader"])], 1);
    let part = sealed.sealings[0].part_id;
    let folder = tempfile::tempdir().unwrap();
    let home = gnupg(folder.path(), &world, "jh-antwerpen-dader");
    let message = folder.path().join("message.gpg");
    let mut bytes = key_packet(&sealed, &part, "jh-antwerpen-dader");
    bytes.extend(sink.get(&part, Profile::V4).unwrap());
    fs::write(&message, bytes).unwrap();
    run(gpg(&home)
        .arg("--output")
        .arg(folder.path().join("plain"))
        .arg("--decrypt")
        .arg(&message));
    assert_eq!(cut(folder.path()), content);
    stop_agent(&home);
}

fn cut(folder: &Path) -> Vec<u8> {
    run(Command::new("sh").arg("-c").arg(CUT).current_dir(folder));
    fs::read(folder.join("content")).unwrap()
}

fn stop_agent(home: &Path) {
    run(Command::new("gpgconf")
        .arg("--homedir")
        .arg(home)
        .args(["--kill", "all"]));
}

/// Builds the second implementation once; its own target folder, beside ours.
fn peer() -> &'static Path {
    static PEER: OnceLock<PathBuf> = OnceLock::new();
    PEER.get_or_init(|| {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peer");
        // .../target/debug/deps/packet-… → .../target/peer
        let target = std::env::current_exe()
            .unwrap()
            .ancestors()
            .nth(3)
            .unwrap()
            .join("peer");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "--locked", "--quiet", "--manifest-path"])
            .arg(package.join("Cargo.toml"));
        run(cargo
            .arg("--target-dir")
            .arg(&target)
            .env_remove("CARGO_TARGET_DIR")
            // Our own builds may set it; the peer must not be built twice.
            .env_remove("RUSTC_BOOTSTRAP"));
        target.join("debug/schakel-peer")
    })
}

fn peer_opens(world: &World, sender: &str, reader: &str) {
    let content = content();
    let (sealed, sink) = world.seal(sender, &[(&content, &[reader])], 1);
    let part = sealed.sealings[0].part_id;
    let folder = tempfile::tempdir().unwrap();
    let (key, message) = (folder.path().join("key"), folder.path().join("message"));
    fs::write(&key, &*world.keys(reader).to_bytes().unwrap()).unwrap();
    let mut bytes = key_packet(&sealed, &part, reader);
    bytes.extend(sink.get(&part, world.profile(reader)).unwrap());
    fs::write(&message, &bytes).unwrap();
    let plain = folder.path().join("plain");
    run(Command::new(peer()).arg("open").args([&key, &message, &plain]));
    assert_eq!(cut(folder.path()), content);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&message, &bytes).unwrap();
    assert!(
        !Command::new(peer())
            .arg("open")
            .args([&key, &message, &plain])
            .status()
            .unwrap()
            .success()
    );
}

fn peer_verifies(world: &World, sender: &str) {
    let (sealed, _) = world.seal(sender, &[(b"x", &["caw-rupel"])], 1);
    let folder = tempfile::tempdir().unwrap();
    let paths = ["certificate", "manifest", "signature"].map(|name| folder.path().join(name));
    let certificate = world.keys(sender).certificate().to_bytes().unwrap();
    let files = [
        &certificate,
        &sealed.manifest.bytes.to_vec(),
        &sealed.manifest.signature.to_vec(),
    ];
    for (path, bytes) in paths.iter().zip(files) {
        fs::write(path, bytes).unwrap();
    }
    run(Command::new(peer()).arg("verify").args(&paths));
    let mut changed = sealed.manifest.bytes.to_vec();
    changed[40] ^= 1;
    fs::write(&paths[1], changed).unwrap();
    assert!(
        !Command::new(peer())
            .arg("verify")
            .args(&paths)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_second_implementation_verifies_v6_and_v4_signatures() {
    let world = World::new(&MEMBERS);
    peer_verifies(&world, "pz-rupel");
    peer_verifies(&world, "jh-antwerpen-dader");
}

#[test]
fn a_second_implementation_verifies_post_quantum_signatures() {
    peer_verifies(&World::new(&MEMBERS), "parket-antwerpen");
}

#[test]
fn a_second_implementation_opens_post_quantum_sealings() {
    let world = World::new(&MEMBERS);
    peer_opens(&world, "pz-rupel", "caw-rupel");
    peer_opens(&world, "pz-rupel", "parket-antwerpen");
}

#[test]
fn a_second_implementation_opens_v4_sealings() {
    peer_opens(&World::new(&MEMBERS), "pz-rupel", "jh-antwerpen-dader");
}
