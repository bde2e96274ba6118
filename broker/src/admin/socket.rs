//! The operator's socket: one question a connection, a line of JSON each way. Only the broker's own user can
//! open it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

use super::{Ask, Desk};

/// Its name in `data_dir`.
const NAME: &str = "admin.sock";
/// Longest path that the system takes, in bytes; longer ones go by way of an open folder.
const PATH_MAX_BYTES: usize = 100;
/// Longest question, in bytes.
const ASK_MAX_BYTES: u64 = 4 * 1024;
/// Questions at once.
const ASKS_MAX_COUNT: usize = 4;
/// Longest wait for a question.
const ASK_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for whoever asked to take the answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// An answer on the socket.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Value),
    Refused(String),
}

/// A path that the system takes. The folder beside it must stay open while the path is used.
fn reachable(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= PATH_MAX_BYTES {
        return Ok((path.to_owned(), None));
    }
    let folder = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let name = path.file_name().unwrap_or_default();
    let short = Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name);
    Ok((short, Some(folder)))
}

/// Opens the socket in `data_dir`, mode 0600, in place of one that a former run left behind. It appears under
/// its name only when it listens.
///
/// # Errors
/// It cannot be made.
pub fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let unfinished = data_dir.join(format!("{NAME}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (short, _folder) = reachable(&unfinished)?;
    let listener = UnixListener::bind(short)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, data_dir.join(NAME))?;
    Ok(listener)
}

/// Removes the socket; a leftover does no harm.
pub fn unbind(data_dir: &Path) {
    if let Err(error) = fs::remove_file(data_dir.join(NAME)) {
        tracing::debug!(kind = %error.kind(), "the operator's socket is already gone");
    }
}

/// Answers until `stop` becomes true.
pub async fn serve(listener: UnixListener, desk: Arc<Desk>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(ASKS_MAX_COUNT));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let _place = place;
            // Who asked and left needs no answer.
            let _gone = one(stream, &desk).await;
        });
    }
}

async fn one(stream: tokio::net::UnixStream, desk: &Desk) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read).take(ASK_MAX_BYTES);
    tokio::time::timeout(ASK_WAIT, read.read_line(&mut line))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    let answer = match serde_json::from_str::<Ask>(&line) {
        Ok(ask) => match desk.answer(ask).await {
            Ok(value) => Answer::Ok(value),
            Err(refusal) => Answer::Refused(refusal.to_string()),
        },
        Err(_) => Answer::Refused("the question is not one of this broker's".to_owned()),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    let taken = async {
        write.write_all(&bytes).await?;
        write.shutdown().await
    };
    tokio::time::timeout(ANSWER_WAIT, taken)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}

/// Asks the broker that runs on `data_dir`; none: none runs.
///
/// # Errors
/// It refused, or broke off.
pub fn ask(data_dir: &Path, ask: &Ask) -> Option<Result<Value, String>> {
    let (short, _folder) = reachable(&data_dir.join(NAME)).ok()?;
    let stream = match UnixStream::connect(short) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Some(Err("run this as the broker's own user".to_owned()));
        }
        Err(_) => return None,
    };
    Some(asked(stream, ask).unwrap_or_else(|error| Err(format!("the broker broke off ({})", error.kind()))))
}

fn asked(mut stream: UnixStream, ask: &Ask) -> io::Result<Result<Value, String>> {
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(match serde_json::from_str(&answer)? {
        Answer::Ok(value) => Ok(value),
        Answer::Refused(why) => Err(why),
    })
}
