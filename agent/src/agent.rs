//! The agent as a whole: what all its loops and its local API share, and what it can be asked to do.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use schakel_policy::engine::Engine;
use schakel_proto::ids::{CaseRef, PacketId, PartId, StatementId};
use schakel_proto::packet::manifest::CheckpointSeen;
use schakel_proto::refusal::Refusal;
use schakel_proto::statement::{FactChain, StatementBody, StatementDraft};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;
use tokio::sync::{Notify, watch};

use crate::audit::Audit;
use crate::beats::Beats;
use crate::clock::{Clock, randomness};
use crate::config::Config;
use crate::directory::Network;
use crate::disk::Disk;
use crate::facts::Facts;
use crate::inbox::accept::Answering;
use crate::inbox::record::{Delivery, Names};
use crate::inbox::{Inbox, keep};
use crate::keyring::{Keyring, TlsIdentity};
use crate::link::Link;
use crate::outbox::plan::Own;
use crate::outbox::record::{Recalled, Record, State};
use crate::outbox::seal::{Before, Context};
use crate::outbox::{Bounds, Outbox};
use crate::problem::{Kind, Problem};
use crate::request::{FulfilledRequest, OpenRequest, RecallRequest, SendRequest};
use crate::statements::StatementRequest;
use crate::transport::{Transport, bounded, tls::Pins};
use crate::witness::Witness;

/// Longest wait for the case's facts before sealing without the newest.
const FACTS_WAIT: Duration = Duration::from_secs(10);
/// How long a packet waits for the rules, and how often it looks.
const RULES_WAIT: Duration = Duration::from_secs(15);
const RULES_LOOK_EVERY: Duration = Duration::from_millis(50);
/// Attempts to hand in a statement while the broker is not reached.
const STATEMENT_ATTEMPTS_COUNT: usize = 3;

/// Everything that the agent is.
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Disk,
    pub(crate) keyring: Keyring,
    pub(crate) network: Network,
    pub(crate) audit: Audit,
    pub(crate) witness: Witness,
    pub(crate) facts: Facts,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) inbox: Inbox,
    pub(crate) transport: Transport,
    locks: Mutex<HashMap<PacketId, Arc<tokio::sync::Mutex<()>>>>,
    /// Rung when there is something to submit.
    pub(crate) outgoing: Notify,
    /// Cases whose facts changed since the keeper looked at what was handed over in them.
    pub(crate) stirred: Mutex<BTreeSet<CaseRef>>,
    /// Rung when there is such a case.
    pub(crate) stirring: Notify,
    /// Counts changes of outbox and inbox, for those who wait.
    changes: watch::Sender<u64>,
    /// How the connection stands, for people.
    pub(crate) link: Mutex<Link>,
    pub(crate) beats: Beats,
}

impl Agent {
    /// Opens everything on disk; does not connect yet.
    pub fn open(
        config: Config,
        clock: Arc<dyn Clock>,
        disk: Disk,
        development: bool,
    ) -> Result<Self, Problem> {
        disk.make_dir(&config.data_dir)?;
        disk.settle(&config.data_dir)?;
        let keyring = Keyring::load(&config)?;
        let identity = TlsIdentity::load(&config)?;
        let pins = Arc::new(Pins::default());
        let transport = Transport::new(&config, &identity, Arc::clone(&pins))?;
        let own_key = keyring.fingerprint();
        let network = Network::open(
            &config,
            own_key,
            pins,
            Arc::clone(&clock),
            disk.clone(),
            development,
        )?;
        let bounds = Bounds {
            packets_max_count: config.outbox_max_packets,
            sealed_max_bytes: config.outbox_max_bytes,
        };
        let dir = |name: &str| config.data_dir.join(name);
        let outbox = Outbox::open(disk.clone(), dir("outbox"), bounds)?;
        let inbox = Inbox::open(
            disk.clone(),
            &config.data_dir,
            config.at_rest,
            config.quarantine_max,
        )?;
        Ok(Self {
            witness: Witness::of(disk.clone(), dir("audit"), &config, &network)?,
            audit: Audit::open(disk.clone(), dir("audit"))?,
            facts: Facts::open(disk.clone(), dir("facts"))?,
            outbox: Arc::new(outbox),
            inbox,
            config,
            clock,
            disk,
            keyring,
            network,
            transport,
            locks: Mutex::default(),
            outgoing: Notify::new(),
            stirred: Mutex::default(),
            stirring: Notify::new(),
            changes: watch::Sender::new(0),
            link: Mutex::default(),
            beats: Beats::default(),
        })
    }

    /// The outbox.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The inbox.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Waits for changes of outbox and inbox.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// One thing at a time with one packet.
    pub(crate) async fn lock(&self, packet: PacketId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(packet).or_default())
        };
        lock.lock_owned().await
    }

    /// Work that needs what an answer needs.
    pub(crate) fn with_answering<T>(
        &self,
        work: impl FnOnce(&Answering<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        work(&Answering {
            network: self.network.name().as_str(),
            agency: self.network.agency().as_str(),
            keyring: &self.keyring,
            checkpoint: self.checkpoint_seen()?,
            now: self.clock.now(),
        })
    }

    /// Last checkpoint seen, as it goes into what we sign.
    pub(crate) fn checkpoint_seen(&self) -> Result<Option<wire::CheckpointSeen>, Problem> {
        let view = self.network.view()?;
        self.audit.last_seen(view.shards())
    }

    /// The facts of a case as far as they are shown to us: asked anew if the broker answers soon, else those
    /// last seen. And whether they were asked anew.
    async fn facts_now(&self, case: CaseRef) -> (FactChain, bool) {
        // Who waits for the rules has the directory as well, without which no facts are taken. Without rules it is said
        // where they are needed.
        let _waited = self.rules().await;
        let mut client = self.client();
        let fresh = self
            .facts
            .refresh(&mut client, &self.network, case, self.clock.now());
        match tokio::time::timeout(FACTS_WAIT, fresh).await {
            Ok(Ok(chain)) => return (chain, true),
            // To whom a case is not shown it does not exist, whatever was shown before.
            Ok(Err(problem)) if problem.code == "CASE_UNKNOWN" => return (FactChain::empty(case), true),
            Ok(Err(problem)) => tracing::debug!(code = problem.code, "sealing without newer facts"),
            Err(_) => tracing::debug!("sealing without newer facts: no answer in time"),
        }
        let known = self.facts.known(&case);
        (known.unwrap_or_else(|| FactChain::empty(case)), false)
    }

    /// The rules. Right after the first start they are on their way: a short wait spares everybody a refusal.
    async fn rules(&self) -> Result<Arc<Engine>, Problem> {
        let known = async {
            loop {
                if let Some(engine) = self.network.engine() {
                    return engine;
                }
                tokio::time::sleep(RULES_LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(RULES_WAIT, known)
            .await
            .map_err(|_| no_rules())
    }

    /// Roster version of a case; none: it is not shown to us.
    async fn roster_version(&self, case: CaseRef) -> Option<u64> {
        let (chain, _) = self.facts_now(case).await;
        Some(chain.roster_version()).filter(|version| *version > 0)
    }

    /// Seals a packet and makes it durable here; it is submitted from then on by itself.
    pub async fn send(self: &Arc<Self>, request: SendRequest) -> Result<Record, Problem> {
        self.seal(request, None).await
    }

    /// Seals a packet anew in the place of one that the broker refused for its roster version.
    pub(crate) async fn seal_again(self: &Arc<Self>, old: &Record) -> Result<Record, Problem> {
        self.seal(old.request.clone(), Some(old.clone())).await
    }

    async fn seal(self: &Arc<Self>, request: SendRequest, before: Option<Record>) -> Result<Record, Problem> {
        let engine = self.rules().await?;
        let (facts, fresh) = self.facts_now(request.case).await;
        let checkpoint = match self.checkpoint_seen()? {
            None => None,
            Some(seen) => CheckpointSeen::parse(&seen).map(Some).map_err(Refusal::from)?,
        };
        let agent = Arc::clone(self);
        let record = blocking(move || {
            let view = agent.network.view()?;
            let now = agent.clock.now();
            let directory = view.directory().fresh(now).map_err(Refusal::from)?;
            let context = Context {
                directory,
                agency: agent.network.agency(),
                keys: agent.keyring.secret(),
                now,
                checkpoint,
                own: Own {
                    engine: &engine,
                    facts,
                    fresh,
                },
                received: &agent.inbox,
            };
            let before = before.as_ref().map(|record| Before { record });
            agent
                .outbox
                .seal(&request, &context, before.as_ref(), &mut randomness())
        })
        .await?;
        self.changed();
        self.outgoing.notify_one();
        Ok(record)
    }

    /// Signs a recall and hands it in; if the broker is not reached it is handed in later.
    pub async fn recall(self: &Arc<Self>, request: &RecallRequest) -> Result<Arc<Record>, Problem> {
        self.outbox.end_replacement(&request.packet)?;
        let record = self.outbox.known(&request.packet)?;
        if record.state.is_final() {
            let sentence = "nothing of this packet can be taken back any more";
            let remedy = "See `schakel-agent status` for what became of it.";
            return Err(Problem::new(Kind::Refused, "RECALL_TOO_LATE", sentence, remedy).at(request.packet));
        }
        if record.recall.is_none() {
            let now = self.clock.now();
            let recall = wire::Recall {
                r#type: "schakel.v1.Recall".to_owned(),
                network: self.network.name().to_string(),
                packet_id: request.packet.to_vec().into(),
                sender: self.network.agency().to_string(),
                sender_key: self.keyring.fingerprint().to_vec().into(),
                made_ms: now.millis(),
                reason: request.reason.to_string(),
            };
            let signed = self.keyring.sign(recall.encode_to_vec(), now)?;
            let kept = Recalled {
                reason: request.reason.clone(),
                made_ms: now.millis(),
                answered: false,
            };
            self.outbox.keep_recall(&request.packet, &signed, kept)?;
        }
        match self.hand_in_recall(request.packet).await {
            Err(problem) if problem.is_temporary() => {
                self.outgoing.notify_one();
                self.outbox.known(&request.packet)
            }
            other => other,
        }
    }

    /// Hands in a signed recall. A packet that the broker never had is taken back here.
    pub(crate) async fn hand_in_recall(self: &Arc<Self>, packet: PacketId) -> Result<Arc<Record>, Problem> {
        let _guard = self.lock(packet).await;
        let record = self.outbox.known(&packet)?;
        let Some(recall) = record.recall.clone().filter(|r| !r.answered) else {
            return Ok(record);
        };
        let signed = self.outbox.recall(&packet)?;
        let request = wire::RecallRequest { recall: signed };
        let answer = self
            .client()
            .recall(bounded(request))
            .await
            .map_err(Problem::from);
        let record = match answer {
            Ok(_) => self.outbox.update(&packet, |record| {
                record.recall = Some(Recalled {
                    answered: true,
                    ..recall
                });
            })?,
            Err(problem) if problem.kind == Kind::NotFound && record.state == State::Sealed => {
                self.outbox.recalled_here(
                    &packet,
                    Recalled {
                        answered: true,
                        ..recall
                    },
                )?
            }
            Err(problem) => return Err(problem),
        };
        self.changed();
        Ok(record)
    }

    /// Signs a statement and hands it in; the same bytes again while the broker is not reached.
    pub async fn state(
        self: &Arc<Self>,
        request: StatementRequest,
    ) -> Result<(StatementId, wire::SubmitStatementAnswer), Problem> {
        let case = request.case();
        let body = self.statement_body(request).await?;
        let draft = StatementDraft {
            network: self.network.name().clone(),
            case_ref: case,
            agency: self.network.agency().clone(),
            body,
        };
        let now = self.clock.now();
        let (id, signed) = draft
            .sign(self.keyring.secret(), now, &mut randomness())
            .map_err(Refusal::from)?;
        let request = wire::SubmitStatementRequest {
            statement: Some(signed),
        };
        let mut waits = crate::transport::backoff::Backoff::new(randomness());
        for attempt in 1.. {
            let (stay, mut client) = self.at_broker();
            let answer = client.submit_statement(bounded(request.clone())).await;
            match answer.map_err(Problem::from) {
                Ok(answer) => {
                    self.roster_version(case).await;
                    self.stir(case);
                    return Ok((id, answer.into_inner()));
                }
                Err(problem) if problem.is_temporary() && attempt < STATEMENT_ATTEMPTS_COUNT => {
                    self.brokers().failed(stay, &problem);
                    tokio::time::sleep(waits.next(problem.retry_after_ms)).await;
                }
                Err(problem) => return Err(problem),
            }
        }
        let sentence = "the broker was not reached";
        Err(Problem::new(
            Kind::Later,
            "BROKER_UNAVAILABLE",
            sentence,
            "Try again later.",
        ))
    }

    async fn statement_body(&self, request: StatementRequest) -> Result<StatementBody, Problem> {
        let next = match &request {
            StatementRequest::ChangeRoster {
                case, version: None, ..
            } => self.roster_version(*case).await.unwrap_or(0) + 1,
            _ => 1,
        };
        request.into_body(next, self.clock.now())
    }

    /// The facts of a case, asked anew.
    pub async fn facts(&self, case: CaseRef) -> Result<FactChain, Problem> {
        self.facts
            .refresh(&mut self.client(), &self.network, case, self.clock.now())
            .await
    }

    /// Writes a part of the inbox to a new file.
    pub async fn open_part(self: &Arc<Self>, request: OpenRequest) -> Result<Option<Names>, Problem> {
        let agent = Arc::clone(self);
        let names = blocking(move || agent.write_out(request.packet, request.part, &request.out)).await?;
        self.changed();
        Ok(names)
    }

    /// The agency's people carried out an obligation: kept, signed, sent and logged.
    pub async fn fulfilled(self: &Arc<Self>, request: FulfilledRequest) -> Result<Arc<Delivery>, Problem> {
        let agent = Arc::clone(self);
        let (packet, part, obligation) = (request.packet, request.part, request.obligation);
        let now = self.clock.now();
        let delivery = blocking(move || agent.inbox.fulfilled(packet, part, &obligation, now)).await?;
        self.changed();
        Ok(delivery)
    }

    fn write_out(
        &self,
        packet: PacketId,
        part: PartId,
        out: &std::path::Path,
    ) -> Result<Option<Names>, Problem> {
        let (delivery, part) = self.inbox.part(packet, part).ok_or_else(|| keep::unknown(part))?;
        let at = Timestamp::from_millis(delivery.at_ms);
        let directory = self.network.directory_at(delivery.directory_version, at)?;
        let context = crate::inbox::open::Context {
            network: self.network.name(),
            agency: self.network.agency(),
            directory: &directory,
            keys: &self.keyring,
        };
        let names = self.inbox.write_out(&delivery, &part, out, &context)?;
        self.inbox.taken(&delivery, part.part, self.clock.now())?;
        Ok(names)
    }
}

pub(crate) fn no_rules() -> Problem {
    let sentence = "the network's rules are not known yet, so nothing can be decided";
    Problem::new(
        Kind::Later,
        "NO_RULES",
        sentence,
        "Send it again when the broker was reached.",
    )
}

/// Runs work that reads and writes files away from the network's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|e| {
        let remedy = "Tell the developers, with the log around this moment.";
        Err(Problem::new(
            Kind::Local,
            "DEFECT",
            format!("a task ended unexpectedly: {e}"),
            remedy,
        ))
    })
}
