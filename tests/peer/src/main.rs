//! A second OpenPGP implementation (rPGP), for Schakel's interoperability tests: verifies a detached
//! signature, or opens a message, from files. Shares no code with Schakel or its OpenPGP library.
//!
//!     schakel-peer verify CERTIFICATE DATA SIGNATURE
//!     schakel-peer open SECRET_KEY MESSAGE PLAINTEXT

use std::error::Error;
use std::fs;
use std::io::{self, BufReader};
use std::process::ExitCode;

use pgp::composed::{Deserializable, DetachedSignature, Message, SignedPublicKey, SignedSecretKey};
use pgp::types::Password;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["verify", certificate, data, signature] => verify(certificate, data, signature),
        ["open", secret, message, plaintext] => open(secret, message, plaintext),
        _ => Err(
            "usage: schakel-peer verify CERTIFICATE DATA SIGNATURE | open SECRET MESSAGE PLAINTEXT".into(),
        ),
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("schakel-peer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Verifies with the certificate's signing subkeys, whose bindings are checked first.
fn verify(certificate: &str, data: &str, signature: &str) -> Result<String, Box<dyn Error>> {
    let certificate = SignedPublicKey::from_bytes(BufReader::new(fs::File::open(certificate)?))?;
    certificate.verify_bindings()?;
    let data = fs::read(data)?;
    let signature = DetachedSignature::from_bytes(BufReader::new(fs::File::open(signature)?))?;
    let mut last = None;
    for subkey in &certificate.public_subkeys {
        match signature.verify(subkey, &data) {
            Ok(()) => {
                return Ok(format!(
                    "good signature, {:?}",
                    signature.signature.config().map(|c| c.pub_alg)
                ));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| "the certificate has no subkeys".into(), Into::into))
}

/// Decrypts one message and writes the literal data.
fn open(secret: &str, message: &str, plaintext: &str) -> Result<String, Box<dyn Error>> {
    let secret = SignedSecretKey::from_bytes(BufReader::new(fs::File::open(secret)?))?;
    let message = Message::from_bytes(BufReader::new(fs::File::open(message)?))?;
    if !message.is_encrypted() {
        return Err("the message is not encrypted".into());
    }
    let mut opened = message.decrypt(&Password::empty(), &secret)?;
    if !opened.is_literal() {
        return Err("there is no literal data inside".into());
    }
    let mut out = fs::File::create(plaintext)?;
    let length = io::copy(&mut opened, &mut out)?;
    Ok(format!("{length} bytes"))
}
