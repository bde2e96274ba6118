//! The log over plain HTTP, as a member reads it, and the program in `tests/outside-go` that reads it with nothing of
//! ours: Go's own packages for transparency logs, as Debian ships them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::codegen::{Body as _, Service};
use tonic::transport::Channel;

use super::network::{Town, agency};
use super::peer;
use super::process::built;

/// Where Debian puts the sources of Go packages.
const GO_SOURCES: &str = "/usr/share/gocode";

/// A member that reads the log over plain HTTP.
#[derive(Clone)]
pub struct Reader(Channel);

impl Reader {
    /// With the certificate of an agency.
    pub fn of(town: &Town, id: &str) -> Self {
        Self(peer::line(town, &agency(id)))
    }

    /// Status and body behind a path of the log.
    pub async fn get(&mut self, path: &str) -> (u16, Vec<u8>) {
        let request = Request::get(format!("/log/{path}"));
        let request = request.body(Body::empty()).unwrap();
        std::future::poll_fn(|cx| Service::poll_ready(&mut self.0, cx))
            .await
            .unwrap();
        let (head, mut body) = self.0.call(request).await.unwrap().into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            if let Ok(data) = frame.unwrap().into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        (head.status.as_u16(), bytes)
    }
}

/// The program, built; or why there is none here.
static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let packages = Path::new(GO_SOURCES).join("src/golang.org/x/mod/sumdb/tlog");
    if !packages.is_dir() {
        return Err("there is no golang.org/x/mod here (Debian: golang-golang-x-mod-dev)".to_owned());
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("outside-go");
    let place = built().parent().unwrap().join("schakel-tests/outside-go");
    std::fs::create_dir_all(&place).unwrap();
    let program = place.join("outside");
    let done = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .current_dir(here)
        // Nothing is fetched, and no setting of this machine's user counts.
        .envs([
            ("GO111MODULE", "off"),
            ("GOPATH", GO_SOURCES),
            ("GOENV", "off"),
            ("GOFLAGS", ""),
        ])
        .env("GOCACHE", place.join("cache"))
        .stdin(Stdio::null())
        .output()
        .map_err(|why| format!("Go cannot be used here (Debian: golang-go): {why}"))?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "tests/outside-go does not build:\n{said}");
    Ok(program)
});

/// The program, ready to be started; built when it is first asked for.
///
/// # Errors
/// Go or its packages are not on this machine.
pub fn program() -> Result<Command, String> {
    PROGRAM.clone().map(Command::new)
}

/// What the program prints of what it is given, line by line.
///
/// # Errors
/// Go or its packages are not on this machine.
pub fn said_of(arguments: &[&str], input: String) -> Result<String, String> {
    let mut child = program()?
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(status.success(), "outside-go ended {status}");
    Ok(String::from_utf8(stdout).unwrap())
}
