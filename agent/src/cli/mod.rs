//! The command line: reads arguments, asks the daemon, prints a table or JSON. Exit codes: 0 done,
//! 1 refused, 2 wrong argument or setting, 3 not now, 4 not found, 5 a proof does not hold, 6 this machine.

pub mod args;

mod evidence;

mod client;

pub(crate) mod parse;

mod show;

mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Method;
use schakel_proto::evidence::MISLABELLED;
use schakel_proto::ids::{CaseRef, PacketId, PartId, SubjectRef};
use serde_json::{Value, json};

use crate::clock::{Clock, SimulatedClock, SystemClock, randomness};
use crate::config::Config;
use crate::daemon;
use crate::directory::Network;
use crate::disk::Disk;
use crate::inbox::record::Delivery;
use crate::keyring::{Keyring, TlsIdentity};
use crate::outbox::record::{Record, State};
use crate::problem::{Kind, Problem, printable};
use crate::request::{FulfilledRequest, OpenRequest, RecallRequest, SendRequest};
use crate::shown::Disclosed;
use crate::statements::StatementRequest;
use crate::transport::{Transport, tls::Pins};
use args::{Cli, Command, Evidence, Inbox, RefKind, Send, Wait};

/// Where answers are printed; `false`: a line could not be written.
pub type Print<'a> = &'a mut dyn FnMut(&str);

/// Carries out one command; what goes wrong is told in the language asked for.
pub async fn run(cli: Cli, print: Print<'_>) -> Result<(), Problem> {
    let language = cli.lang.clone();
    let done = carry_out(cli, print).await;
    done.map_err(|problem| problem.in_language(&language))
}

async fn carry_out(cli: Cli, print: Print<'_>) -> Result<(), Problem> {
    if let Command::Ref { kind } = cli.command {
        return reference(kind, cli.json, print);
    }
    if let Command::Evidence {
        command: Evidence::Verify { .. },
    } = &cli.command
    {
        return evidence::verify(&cli, print);
    }
    let config = Config::load(&config_file(cli.config.clone())?)?;
    if let Command::Run {
        development,
        check_config,
        ref simulated_time,
        ..
    } = cli.command
    {
        if check_config {
            check(&config, development)?;
            print("The settings are good.");
            return Ok(());
        }
        let clock = clock(simulated_time.as_deref())?;
        return daemon::run(config, clock, development, stop_signal()).await;
    }
    let asking = Asking {
        socket: config.socket(),
        json: cli.json,
        language: cli.lang,
    };
    match cli.command {
        Command::Run { .. } | Command::Ref { .. } => Ok(()),
        Command::Evidence { command } => asking.evidence(command, print).await,
        Command::Send(send) => asking.send(*send, print).await,
        Command::Statement(statement) => asking.statement(&statement, print).await,
        Command::Inbox { command } => asking.inbox(command.unwrap_or(Inbox::List), print).await,
        Command::Status { packet } => asking.status(packet, print).await,
        Command::Disclosed { ended } => {
            let route = if ended {
                "/v1/disclosed?ended"
            } else {
                "/v1/disclosed"
            };
            let answer = asking.call(Method::GET, route, None).await?;
            if cli.json {
                print(&answer.to_string());
            } else {
                let disclosed: Vec<Disclosed> = from_value(&answer)?;
                print(&show::disclosed(&disclosed));
            }
            Ok(())
        }
        Command::Recall { packet, reason } => {
            let request = to_value(&RecallRequest { packet, reason })?;
            let answer = asking.call(Method::POST, "/v1/recalls", Some(&request)).await?;
            asking.packet(&answer, print)
        }
        Command::Facts { case } => {
            let answer = asking
                .call(Method::GET, &format!("/v1/facts/{case}"), None)
                .await?;
            asking.show(&answer, show::facts, print)
        }
    }
}

fn config_file(given: Option<PathBuf>) -> Result<PathBuf, Problem> {
    given.ok_or_else(|| {
        let remedy = "Add --config FILE: it says which agency and daemon are meant.";
        Problem::new(Kind::Usage, "CONFIG", "no settings file is named", remedy)
    })
}

fn reference(kind: RefKind, as_json: bool, print: Print<'_>) -> Result<(), Problem> {
    let reference = match kind {
        RefKind::Case => CaseRef::random(&mut randomness()).to_string(),
        RefKind::Subject => SubjectRef::random(&mut randomness()).to_string(),
    };
    if as_json {
        print(&json!({ "reference": reference }).to_string())
    } else {
        print(&reference)
    }
    Ok(())
}

/// Everything that starting would check, without starting.
fn check(config: &Config, development: bool) -> Result<(), Problem> {
    let keyring = Keyring::load(config)?;
    let pins = Arc::new(Pins::default());
    Transport::new(config, &TlsIdentity::load(config)?, Arc::clone(&pins))?;
    let disk = Disk::default();
    disk.make_dir(&config.data_dir)?;
    let clock = Arc::new(SystemClock);
    Network::open(config, keyring.fingerprint(), pins, clock, disk, development).map(|_| ())
}

fn clock(simulated: Option<&Path>) -> Result<Arc<dyn Clock>, Problem> {
    let Some(file) = simulated else {
        return Ok(Arc::new(SystemClock));
    };
    let wrong = |e| {
        let remedy = "Name a file that holds a number of milliseconds.";
        Problem::new(Kind::Usage, "SIMULATED_TIME", format!("{e}"), remedy).at(file.display())
    };
    Ok(Arc::new(
        SimulatedClock::following(file).map_err(|e: std::io::Error| wrong(e))?,
    ))
}

/// Ends at SIGTERM or SIGINT.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "a signal cannot be waited for");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}

fn defect(error: &dyn std::fmt::Display) -> Problem {
    let remedy = "CLI and daemon may be of different versions: use the same.";
    Problem::new(
        Kind::Local,
        "ANSWER",
        format!("the daemon's answer is not understood: {error}"),
        remedy,
    )
}

fn to_value<T: serde::Serialize>(item: &T) -> Result<Value, Problem> {
    serde_json::to_value(item).map_err(|e| defect(&e))
}

fn from_value<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    T::deserialize(value).map_err(|e| defect(&e))
}

/// A command that asks the daemon.
struct Asking {
    socket: PathBuf,
    json: bool,
    language: String,
}

impl Asking {
    async fn call(&self, method: Method, route: &str, body: Option<&Value>) -> Result<Value, Problem> {
        let mut answer = client::call(&self.socket, method, route, body).await?;
        words::translate(&mut answer, &self.language);
        Ok(answer)
    }

    fn show(
        &self,
        answer: &Value,
        table: impl Fn(&Value) -> String,
        print: Print<'_>,
    ) -> Result<(), Problem> {
        if self.json {
            print(&answer.to_string())
        } else {
            print(&table(answer))
        }
        Ok(())
    }

    fn packet(&self, answer: &Value, print: Print<'_>) -> Result<(), Problem> {
        if self.json {
            print(&answer.to_string());
        } else {
            print(&show::packet(&from_value(answer)?));
        }
        Ok(())
    }

    async fn send(&self, send: Send, print: Print<'_>) -> Result<(), Problem> {
        let (wait, seconds) = (send.wait, send.wait_seconds);
        let request = SendRequest {
            case: send.case,
            to: send.to,
            purpose: send.purpose,
            basis: send.basis,
            urgency: send.urgency,
            expires_hours: send.expires_hours,
            in_reply_to: send.in_reply_to,
            consultation: send.consultation,
            mandate: send.mandate,
            measure: send.measure,
            report: None,
            break_glass: None,
            parts: send.parts,
        };
        let mut answer = self
            .call(Method::POST, "/v1/packets", Some(&to_value(&request)?))
            .await?;
        let record: Record = from_value(&answer)?;
        let Some(wait) = wait else {
            return self.packet(&answer, print);
        };
        let until = match wait {
            Wait::Accepted => "accepted",
            Wait::Decided => "decided",
            Wait::Settled => "settled",
        };
        let route = format!("/v1/packets/{}?wait={until}&seconds={seconds}", record.packet);
        answer = self.call(Method::GET, &route, None).await?;
        self.packet(&answer, print)?;
        outcome(&from_value(&answer)?, wait, seconds)
    }

    async fn statement(&self, request: &StatementRequest, print: Print<'_>) -> Result<(), Problem> {
        let answer = self
            .call(Method::POST, "/v1/statements", Some(&to_value(request)?))
            .await?;
        let line = |answer: &Value| {
            let field = |key: &str| answer.get(key).map(ToString::to_string).unwrap_or_default();
            format!(
                "accepted as fact {} of the case; roster version {}; {}",
                field("number"),
                field("roster_version"),
                field("statement").trim_matches('"'),
            )
        };
        self.show(&answer, line, print)
    }

    /// Says something of a part, to be signed and sent to its sender.
    async fn say(
        &self,
        (packet, part): (PacketId, PartId),
        obligation: String,
        print: Print<'_>,
    ) -> Result<(), Problem> {
        let request = to_value(&FulfilledRequest {
            packet,
            part,
            obligation,
        })?;
        let route = "/v1/inbox/fulfilled";
        let answer = self.call(Method::POST, route, Some(&request)).await?;
        self.show(&answer, |_| "kept; its sender is told".to_owned(), print)
    }

    async fn inbox(&self, command: Inbox, print: Print<'_>) -> Result<(), Problem> {
        match command {
            Inbox::List => {
                let answer = self.call(Method::GET, "/v1/inbox", None).await?;
                if self.json {
                    print(&answer.to_string());
                } else {
                    let deliveries: Vec<Delivery> = from_value(&answer)?;
                    print(&show::inbox(&deliveries));
                }
                Ok(())
            }
            Inbox::Fulfilled {
                packet,
                part,
                obligation,
            } => self.say((packet, part), obligation, print).await,
            Inbox::Mislabelled { packet, part } => {
                self.say((packet, part), MISLABELLED.to_owned(), print).await
            }
            Inbox::Quarantine => {
                let answer = self.call(Method::GET, "/v1/quarantine", None).await?;
                self.show(&answer, show::quarantine, print)
            }
            Inbox::Open { packet, part, out } => {
                let out = std::path::absolute(&out).map_err(|e| Problem::io(&e, &out))?;
                let request = to_value(&OpenRequest {
                    packet,
                    part,
                    out: out.clone(),
                })?;
                let answer = self.call(Method::POST, "/v1/inbox/open", Some(&request)).await?;
                let line = |answer: &Value| {
                    let name = answer
                        .pointer("/names/file_name")
                        .and_then(Value::as_str)
                        .unwrap_or("-");
                    let name = printable(name, 255);
                    format!("written to {} (the sender calls it {name})", out.display())
                };
                self.show(&answer, line, print)
            }
        }
    }

    async fn status(
        &self,
        packet: Option<schakel_proto::ids::PacketId>,
        print: Print<'_>,
    ) -> Result<(), Problem> {
        if let Some(packet) = packet {
            let answer = self
                .call(Method::GET, &format!("/v1/packets/{packet}"), None)
                .await?;
            return self.packet(&answer, print);
        }
        let status = self.call(Method::GET, "/v1/status", None).await?;
        let packets = self.call(Method::GET, "/v1/packets", None).await?;
        if self.json {
            print(&json!({ "agent": status, "packets": packets }).to_string());
            return Ok(());
        }
        print(&show::status(&status));
        let records: Vec<Record> = from_value(&packets)?;
        for record in &records {
            print("");
            print(&show::packet(record));
        }
        Ok(())
    }
}

/// What `send --wait` ends with: the refusal, or that the wait was over first.
fn outcome(record: &Record, wait: Wait, seconds: u64) -> Result<(), Problem> {
    if let (State::Refused, Some(refusal)) = (record.state, &record.refusal) {
        return Err(refusal.clone());
    }
    let met = match wait {
        Wait::Accepted => record.accepted.is_some() || record.state.is_final(),
        Wait::Decided => record.is_decided(),
        Wait::Settled => record.state.is_final(),
    };
    if met {
        return Ok(());
    }
    let sentence = format!("the outcome is not known after {seconds} s; the packet is on its way");
    let remedy = "Look again with `schakel-agent status`; nothing needs to be sent again.";
    Err(Problem::new(Kind::Later, "WAIT_OVER", sentence, remedy).at(record.packet))
}
