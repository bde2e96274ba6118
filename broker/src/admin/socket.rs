//! The operator's socket: one command a connection; its questions and answers are lines of JSON, and long answers say
//! how far they are. Only the broker's own user can open it; the system says who it is.

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
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Semaphore, mpsc, watch};

use super::{Ask, Desk, Session, Told};

/// Its name in `data_dir`.
const NAME: &str = "admin.sock";
/// Longest path that the system takes, in bytes; longer ones go by way of an open folder.
const PATH_MAX_BYTES: usize = 100;
/// Longest question, in bytes.
const ASK_MAX_BYTES: u64 = 4 * 1024;
/// Commands at once.
const COMMANDS_MAX_COUNT: usize = 16;
/// Words on how far an answer is that wait to be taken.
const TOLD_MAX_COUNT: usize = 4;
/// Longest wait for a command's first question.
const ASK_WAIT: Duration = Duration::from_secs(5);
/// Longest wait from an answer to the next question: somebody may be reading it page by page.
const NEXT_WAIT: Duration = Duration::from_secs(15 * 60);
/// Longest wait for whoever asked to take the answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// An answer on the socket.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// How far it is; the answer follows.
    Told(Value),
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
    let places = Arc::new(Semaphore::new(COMMANDS_MAX_COUNT));
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
        let (desk, mut stop) = (Arc::clone(&desk), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            // Who asked and left needs no answer.
            let _gone = one(stream, &desk, &mut stop).await;
        });
    }
}

async fn one(
    stream: tokio::net::UnixStream,
    desk: &Arc<Desk>,
    stop: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let mut session = Session::of(Arc::clone(desk), user);
    let (read, mut write) = stream.into_split();
    let mut read = tokio::io::BufReader::new(read);
    let mut wait = ASK_WAIT;
    loop {
        let mut line = String::new();
        let mut bounded = (&mut read).take(ASK_MAX_BYTES);
        let taken = tokio::select! {
            taken = tokio::time::timeout(wait, bounded.read_line(&mut line)) => taken,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        if taken.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
            return Ok(());
        }
        wait = NEXT_WAIT;
        let answer = match serde_json::from_str::<Ask>(&line) {
            Ok(ask) => answer(&mut session, ask, &mut write).await?,
            Err(_) => Answer::Refused("the question is not one of this broker's".to_owned()),
        };
        let last = matches!(answer, Answer::Refused(_));
        send(&mut write, &answer).await?;
        if last {
            return write.shutdown().await;
        }
    }
}

/// Answers one question; meanwhile says how far it is. Who asked and left breaks it off.
async fn answer(session: &mut Session, ask: Ask, write: &mut OwnedWriteHalf) -> io::Result<Answer> {
    let (sender, mut told) = mpsc::channel(TOLD_MAX_COUNT);
    let sender = Told::to(sender);
    let answered = session.answer(ask, &sender);
    tokio::pin!(answered);
    loop {
        tokio::select! {
            done = &mut answered => return Ok(match done {
                Ok(value) => Answer::Ok(value),
                Err(refusal) => Answer::Refused(refusal.to_string()),
            }),
            Some(how_far) = told.recv() => send(write, &Answer::Told(how_far)).await?,
        }
    }
}

async fn send(write: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(answer)?;
    bytes.push(b'\n');
    tokio::time::timeout(ANSWER_WAIT, write.write_all(&bytes))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}

/// A command's line to the broker that runs on a folder.
pub struct Line(BufReader<UnixStream>);

impl Line {
    /// To the broker that runs on `data_dir`; none: none runs.
    ///
    /// # Errors
    /// Another user's broker.
    pub fn to(data_dir: &Path) -> Option<Result<Self, String>> {
        let (short, _folder) = reachable(&data_dir.join(NAME)).ok()?;
        match UnixStream::connect(short) {
            Ok(stream) => Some(Ok(Self(BufReader::new(stream)))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some(Err("run this as the broker's own user".to_owned()))
            }
            Err(_) => None,
        }
    }

    /// Asks one question; `told` hears how far the answer is.
    ///
    /// # Errors
    /// The broker refused, or broke off.
    pub fn ask(&mut self, ask: &Ask, told: &mut dyn FnMut(&Value)) -> Result<Value, String> {
        let asked = self.asked(ask, told);
        asked.unwrap_or_else(|error| Err(format!("the broker broke off ({})", error.kind())))
    }

    fn asked(&mut self, ask: &Ask, told: &mut dyn FnMut(&Value)) -> io::Result<Result<Value, String>> {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line)?;
        loop {
            let mut answer = String::new();
            if self.0.read_line(&mut answer)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match serde_json::from_str(&answer)? {
                Answer::Told(how_far) => told(&how_far),
                Answer::Ok(value) => return Ok(Ok(value)),
                Answer::Refused(why) => return Ok(Err(why)),
            }
        }
    }
}

/// Asks one question of the broker that runs on `data_dir`; none: none runs.
///
/// # Errors
/// It refused, or broke off.
pub fn ask(data_dir: &Path, ask: &Ask) -> Option<Result<Value, String>> {
    let line = Line::to(data_dir)?;
    Some(line.and_then(|mut line| line.ask(ask, &mut |_| {})))
}
