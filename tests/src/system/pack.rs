//! Evidence packs in the hands of a test: made by the real command line, taken apart, changed, and put together again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use schakel_agent::evidence::container::Members;
use schakel_proto::ids::Digest;

use super::network::{Town, agency};
use super::process::binary;

/// A pack's members by name.
pub type Pack = BTreeMap<String, Vec<u8>>;

/// Runs an agent's command line; exit status and what it printed.
pub fn command(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary("schakel-agent"))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

/// The file that an agency's agent writes as evidence of a packet.
pub fn exported(town: &Town, id: &str, packet: &str, more: &[&str]) -> PathBuf {
    let out = town
        .scratch("packs")
        .join(format!("{id}-{packet}{}.tar", more.concat()));
    let config = town.network().agent_config(&agency(id));
    let mut arguments = vec![
        "--config",
        path(&config),
        "evidence",
        "export",
        packet,
        "--out",
        path(&out),
    ];
    arguments.extend(more);
    let (status, said) = command(&arguments);
    assert_eq!(status, Some(0), "{said}");
    out
}

/// A path as an argument.
pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The members of a pack.
pub fn read(file: &Path) -> Pack {
    let members = Members::open(file).unwrap().unwrap();
    let read = |name: &str| {
        let mut bytes = Vec::new();
        members
            .reader(name)
            .unwrap()
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        (name.to_owned(), bytes)
    };
    members.names().map(read).collect()
}

/// Makes the list of digests fit again, as whoever forges a pack would.
pub fn sum(pack: &mut Pack) {
    pack.remove("SHA256SUMS");
    let line = |(name, bytes): (&String, &Vec<u8>)| {
        format!("{}  {name}\n", hex::encode(Digest::of(bytes).as_bytes()))
    };
    let sums: String = pack.iter().map(line).collect();
    pack.insert("SHA256SUMS".to_owned(), sums.into_bytes());
}

/// One member of a tar, as `tar` would write it.
pub fn member(name: &str, kind: u8, length: usize, bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{length:011o}").as_bytes());
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.extend_from_slice(bytes);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// A tar of these members.
pub fn tar(pack: &Pack) -> Vec<u8> {
    let mut out: Vec<u8> = pack
        .iter()
        .flat_map(|(name, bytes)| member(name, b'0', bytes.len(), bytes))
        .collect();
    out.extend([0; 1024]);
    out
}
