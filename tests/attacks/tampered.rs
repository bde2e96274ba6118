//! Ciphertext that was changed or cut short before its sender committed to it: only its recipient can find out, by the
//! authentication of its encryption. Its agent, a real process watched by `strace`, refuses each; not one byte of what
//! it decrypted on the way is written anywhere.

use std::process::Command;

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::ids::PacketId;
use schakel_proto::wire;
use schakel_tests::system::forge::recommitted;
use schakel_tests::system::network::{Town, agency};
use schakel_tests::system::office::{Office, text};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player, Sealed};
use schakel_tests::system::process::{command, run};
use schakel_tests::system::told::{count, seeded, skip};
use schakel_tests::system::wait;

const READER: &str = "parket-antwerpen";
/// Stands all over the content.
const MARK: &[u8] = b"Zeer-vertrouwelijk-verslag.";
/// Version, cipher, AEAD, chunk size octet and salt of the encrypted data (RFC 9580 section 5.13.2).
const HEAD_BYTES: usize = 36;
const TAG_BYTES: usize = 16;

/// Every call that writes, with all it writes in full.
fn traced(agent: &Command, to: &std::path::Path) -> Command {
    let mut tracer = command("strace");
    tracer.args(["--follow-forks", "--string-limit=70000", "--quiet=all"]);
    tracer.args(["--trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,copy_file_range,splice"]);
    tracer
        .arg("--output")
        .arg(to)
        .arg("--")
        .arg(agent.get_program())
        .args(agent.get_args());
    tracer
}

/// The agent under the tracer, which outlives its tracer unless it is ended first.
struct Traced(u32);

impl Traced {
    fn of(tracer: u32) -> Self {
        Self(wait::until("the traced agent", || {
            let children = std::fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        }))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = run("kill", &["-KILL", &self.0.to_string()]);
    }
}

/// A content of some chunks of encryption, full of marks.
fn content() -> Vec<u8> {
    MARK.iter().copied().cycle().take(15_000).collect()
}

/// An OpenPGP packet of encrypted data with this body.
fn encrypted(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0xd2, 0xff][..], &length, body].concat()
}

/// The ways in which the encrypted data of a part is spoilt: a bit in each chunk, in each tag, in what stands before
/// them, and a cut behind each chunk.
fn spoilt(ciphertext: &[u8]) -> Vec<(String, Vec<u8>)> {
    let head = match ciphertext[1] {
        0..192 => 2,
        192..224 => 3,
        _ => 6,
    };
    let body = &ciphertext[head..];
    let chunk = (64_usize << body[3]) + TAG_BYTES;
    let mut all = Vec::new();
    let mut flip = |what: String, at: usize| {
        let mut changed = body.to_vec();
        changed[at] ^= 1;
        all.push((what, encrypted(&changed)));
    };
    let starts: Vec<usize> = (HEAD_BYTES..body.len() - TAG_BYTES).step_by(chunk).collect();
    for (n, start) in starts.iter().enumerate() {
        flip(format!("a bit of chunk {n}"), start + 7);
        flip(
            format!("a bit of the tag of chunk {n}"),
            (start + chunk).min(body.len() - TAG_BYTES) - 1,
        );
    }
    flip("a bit of the salt".to_owned(), HEAD_BYTES - 1);
    flip("the last bit of the last tag".to_owned(), body.len() - 1);
    for start in &starts[1..] {
        all.push((format!("cut at {start}"), encrypted(&body[..*start])));
    }
    all.push((
        "without the last tag".to_owned(),
        encrypted(&body[..body.len() - TAG_BYTES]),
    ));
    all
}

/// Sends the spoilt packets and a good one; the ids.
async fn send(police: &mut Player) -> (Vec<(String, PacketId)>, Sealed) {
    let case = police.open_case(&["pz-rupel", READER]).await;
    let content = content();
    let piece = Piece {
        category: "facts_summary",
        to: &[READER],
        content: &content,
    };
    let honest = |police: &mut Player| {
        let manifest = police.manifest(case, "prosecution", "legal_duty");
        police.seal(manifest, &[piece])
    };
    let mut sent = Vec::new();
    let ciphertext = honest(police).chunks[0].data.to_vec();
    for n in 0..spoilt(&ciphertext).len() {
        let sealed = honest(police);
        let (what, changed) = spoilt(&sealed.chunks[0].data).swap_remove(n);
        police
            .submit(recommitted(police, &sealed, changed, None))
            .await
            .expect(&what);
        sent.push((what, sealed.id()));
    }
    let good = honest(police);
    police.submit(good.frames()).await.unwrap();
    (sent, good)
}

#[test]
fn c04_c05_spoilt_ciphertext_is_refused_by_the_agent_and_no_plaintext_is_written_anywhere() {
    spoilt_is_never_written("sealed");
}

#[test]
fn c04_c05_an_agent_that_keeps_plaintext_writes_none_of_what_is_spoilt() {
    spoilt_is_never_written("plain");
}

/// How often the mark stands in some bytes.
fn marks(bytes: &[u8]) -> usize {
    bytes.windows(MARK.len()).filter(|window| *window == MARK).count()
}

fn spoilt_is_never_written(at_rest: &str) {
    if let Err(why) = run("strace", &["--output=/dev/null", "--trace=write", "true"]) {
        return skip(&format!("strace cannot be used here: {why}"));
    }
    let mut town = Town::running(&[]);
    let config = town.network().agent_config(&agency(READER));
    let text_of = std::fs::read_to_string(&config).unwrap();
    let usual = "at_rest = \"sealed\"";
    assert!(text_of.contains(usual));
    std::fs::write(&config, text_of.replace(usual, &format!("at_rest = {at_rest:?}"))).unwrap();
    let trace = town.scratch("trace").join("agent.strace");
    town.start_agent_as(READER, traced(&town.agent_command(READER), &trace));
    let tracer = town.take_agent(READER);
    let agent = Traced::of(tracer.id());
    let reader = Office::of(&town, READER);
    let mut rng = seeded();
    let (sent, good) = runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(&mut rng));
        let (sent, good) = send(&mut police).await;
        for (what, packet) in &sent {
            let request = wire::GetOutcomeRequest {
                packet_id: packet.to_vec().into(),
            };
            let refused = outcome(&mut police, request).await;
            assert_eq!(
                refused,
                ("refused".to_owned(), "DECRYPTION_FAILED".to_owned()),
                "{what}"
            );
        }
        (sent, good)
    });
    let received = reader.received(&good.id().to_string());
    let written = || marks(&std::fs::read(&trace).unwrap());
    // A plain inbox holds the sound part, once, and not a byte of the others.
    let sound = if at_rest == "plain" { marks(&content()) } else { 0 };
    assert!(written() <= sound, "plaintext of what is spoilt was written");
    let part = text(&received["parts"][0], "part");
    let opened = reader.open(&good.id().to_string(), &part, &town.scratch("out"));
    assert_eq!(opened, content());
    wait::until("control: the trace shows what is written", || {
        (written() > 100).then_some(())
    });
    drop((agent, tracer));
    count(
        sent.len() as u64,
        "ways of spoiling ciphertext, none of which wrote plaintext",
    );
}

/// State and reason of a packet's only outcome, once it has one.
async fn outcome(police: &mut Player, request: wire::GetOutcomeRequest) -> (String, String) {
    let began = std::time::Instant::now();
    loop {
        let outcome = police
            .client
            .get_outcome(request.clone())
            .await
            .unwrap()
            .into_inner();
        if outcome.state == "settled" {
            let part = outcome.parts[0].clone();
            return (part.state, part.reason);
        }
        assert!(began.elapsed() < wait::LIMIT, "not settled in time: {outcome:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
