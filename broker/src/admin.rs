//! What the broker's operator asks: the log, replay, disclosures, what is overdue. Answered by the running broker over a
//! socket of its own, or out of the store of a stopped one; by the same code. Each act stands in the log itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use schakel_policy::bundle::Bundle;
use schakel_proto::directory::Directory;
use schakel_proto::ids::{CaseRef, PacketId, SubjectRef};
use schakel_proto::party::NetworkName;
use schakel_proto::refusal::{Fault, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::directory::Source;
use crate::erasure::ErasureKeys;
use crate::log::entry::EntryMaker;
use crate::log::publish::Evidences;
use crate::overdue::settings::Settings;
use crate::replay::{Archive, replay};
use crate::serve::{self, ServeError};
use crate::state::State;
use crate::store::sled::SledStore;
use crate::store::{Store, StoreError, StoredCheckpoint};
use crate::{disclosures, overdue};

pub mod command;

pub mod socket;

pub mod filter;

mod acts;

mod erase;

mod listing;

mod rows;

mod stats;

mod timeline;

mod shards;

mod verify;

use acts::{Act, Acts};
pub use filter::Filter;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase", deny_unknown_fields)]
pub enum Ask {
    /// Make every decision in the log again.
    Replay,
    /// Who received what about a person of a case.
    Disclosures {
        /// The case.
        case: String,
        /// The person.
        subject: String,
        /// `nl`, `fr` or `en`.
        language: String,
    },
    /// What should have happened by now.
    Overdue,
    /// Entries of the log, a page of them.
    Entries {
        /// Which.
        filter: Filter,
        /// Those after this position.
        after: Option<u64>,
        /// If `after` is not set: only among the last so many positions.
        last: Option<u64>,
        /// Most entries in the answer.
        limit: usize,
        /// They are to be written out, not looked at.
        export: bool,
    },
    /// The whole way of a packet.
    Show {
        /// The packet.
        packet: String,
    },
    /// The log in figures.
    Stats {
        /// Of which entries.
        filter: Filter,
    },
    /// Everything that can be recomputed is.
    Verify,
    /// The shards of the log.
    Shards,
    /// The shard in force is to end.
    Freeze {
        /// Name of the one that follows.
        successor: String,
    },
    /// The shard that was frozen is to go on.
    Thaw,
    /// Destroy the erasure key of a case.
    Erase {
        /// The case.
        case: String,
    },
}

/// Where a long question says how far it is.
#[derive(Clone, Debug, Default)]
pub struct Told(Option<tokio::sync::mpsc::Sender<Value>>);

impl Told {
    /// Told to this receiver's end; what it does not take in time is left out.
    pub fn to(sender: tokio::sync::mpsc::Sender<Value>) -> Self {
        Self(Some(sender))
    }

    fn say(&self, how_far: Value) {
        if let Some(sender) = &self.0 {
            // The next word says it better.
            let _left_out = sender.try_send(how_far);
        }
    }
}

type Dress = Box<dyn Fn(&StoredCheckpoint) -> bytes::Bytes + Send + Sync>;

type View = Box<dyn Fn() -> (Arc<Directory>, Bundle) + Send + Sync>;

/// Answers.
pub struct Desk {
    store: Arc<dyn Store>,
    evidences: Evidences,
    network: NetworkName,
    source: Source,
    overdue: Settings,
    clock: Arc<dyn Clock>,
    view: View,
    /// The note of a checkpoint, with the cosignatures that it has.
    dress: Dress,
    keys: ErasureKeys,
    entries: EntryMaker,
    acts: Acts,
    /// Held during a replay or a verification: one at a time.
    replaying: tokio::sync::Mutex<()>,
    /// Bundles whose signatures were verified here already.
    known_bundles: verify::Known,
}

impl Desk {
    /// The desk of a running broker.
    ///
    /// # Errors
    /// The authority's keyring cannot be used.
    pub fn running(state: &Arc<State>, config: &Config, development: bool) -> Result<Self, Refusal> {
        let (shared, cosigned) = (Arc::clone(state), Arc::clone(state));
        let view = move || {
            let bundle = shared.rules.current().engine().bundle().clone();
            (shared.directories.current(), bundle)
        };
        Ok(Self {
            store: Arc::clone(&state.store),
            evidences: state.evidences.clone(),
            network: state.network.clone(),
            source: Source::new(config, development)?,
            overdue: state.overdue.clone(),
            clock: Arc::clone(&state.clock),
            view: Box::new(view),
            dress: Box::new(move |one| cosigned.cosigned.dress(one)),
            keys: state.entries.keys().clone(),
            entries: state.entries.clone(),
            acts: Acts::default(),
            replaying: tokio::sync::Mutex::default(),
            known_bundles: verify::Known::default(),
        })
    }

    /// A desk on the store of a stopped broker. Takes the store's lock: no broker starts meanwhile.
    ///
    /// # Errors
    /// There is no store, a broker uses it, or directory or bundle cannot be read.
    pub async fn stopped(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, ServeError> {
        there(config)?;
        Self::on(config, clock, serve::open_store(config).await?)
    }

    /// A desk on a store that its broker would not start with, to find out what is wrong with it.
    ///
    /// # Errors
    /// As [`Desk::stopped`].
    pub async fn damaged(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, ServeError> {
        there(config)?;
        let store: Arc<dyn Store> = match &config.store {
            StoreConfig::Sled => Arc::new(SledStore::open_unchecked(&config.data_dir).await?),
            // Nothing of it is checked as a whole when it is opened.
            StoreConfig::Postgres(_) => serve::open_store(config).await?,
        };
        Self::on(config, clock, store)
    }

    /// A desk on a store of this configuration that nobody else uses.
    ///
    /// # Errors
    /// Directory, bundle or erasure keys cannot be read.
    pub fn on(config: &Config, clock: Arc<dyn Clock>, store: Arc<dyn Store>) -> Result<Self, ServeError> {
        let source = Source::new(config, true)?;
        let directory = Arc::new(source.as_it_is(clock.now())?);
        let bundle = Bundle::load(&config.bundle).map_err(|error| {
            let remedy = "Put the bundle back that was in force.";
            Refusal::new(Fault::Precondition, error.code, error.sentence, remedy).at(error.place)
        })?;
        let keys = ErasureKeys::open(&config.erasure_dir)?;
        Ok(Self {
            store,
            evidences: Evidences::new(keys.clone()),
            entries: EntryMaker::new(config.network.clone(), keys.clone()),
            keys,
            acts: Acts::default(),
            network: config.network.clone(),
            source,
            overdue: config.overdue.clone(),
            clock,
            view: Box::new(move || (Arc::clone(&directory), bundle.clone())),
            dress: Box::new(|one| one.note.clone()),
            replaying: tokio::sync::Mutex::default(),
            known_bundles: verify::Known::default(),
        })
    }

    /// Answers one question. That it was asked is not recorded: for that see [`Session`].
    ///
    /// # Errors
    /// An identifier does not parse, or the store cannot be read.
    pub async fn answer(&self, ask: Ask, told: &Told) -> Result<Value, Refusal> {
        let (directory, bundle) = (self.view)();
        let now = self.clock.now();
        let store = self.store.as_ref();
        match ask {
            Ask::Replay => {
                let _one_at_a_time = self.replaying.lock().await;
                let archive = Archive {
                    store,
                    evidences: &self.evidences,
                    network: &self.network,
                    shards: directory.log().shards(),
                    directories: &self.source,
                };
                Ok(replay(&archive).await?.to_json())
            }
            Ask::Disclosures {
                case,
                subject,
                language,
            } => {
                let case: CaseRef = case.parse().map_err(|_| malformed("case"))?;
                let subject: SubjectRef = subject.parse().map_err(|_| malformed("subject"))?;
                let found = disclosures::find(store, (case, subject), now).await?;
                Ok(found.to_json(&language, (bundle.texts(), &directory)))
            }
            Ask::Overdue => {
                let found = overdue::look(store, &self.overdue, (&directory, now)).await?;
                Ok(found.to_json())
            }
            Ask::Entries {
                filter,
                after,
                last,
                limit,
                ..
            } => listing::page(self, &filter, listing::Place { after, last, limit }).await,
            Ask::Show { packet } => {
                let packet: PacketId = packet.parse().map_err(|_| malformed("packet"))?;
                timeline::show(self, packet).await
            }
            Ask::Stats { filter } => stats::count(self, &filter, told).await,
            Ask::Shards => shards::list(self, &directory).await,
            Ask::Freeze { successor } => shards::freeze(self, &directory, &successor).await,
            Ask::Thaw => shards::thaw(self, &directory).await,
            Ask::Verify => {
                let _one_at_a_time = self.replaying.lock().await;
                verify::all(self, told).await
            }
            Ask::Erase { case } => erase::erase(self, &case).await,
        }
    }

    /// Lets go of the store of a stopped broker.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

/// Whether there is a store at all: none is made by looking for one.
fn there(config: &Config) -> Result<(), Refusal> {
    if matches!(config.store, StoreConfig::Postgres(_)) || config.data_dir.join("STORE").is_file() {
        return Ok(());
    }
    let sentence = "There is no store in data_dir: this broker has not run yet";
    let remedy = "Name the configuration of the broker that ran.";
    Err(Refusal::new(Fault::NotFound, "STORE_MISSING", sentence, remedy))
}

/// Most acts of one session that are told apart: beyond that each question is an act of its own.
const ACTS_MAX_COUNT: usize = 64;

/// One command of one person: what it asks, in however many pages, is one act in the log. Of a list or an export that is;
/// whoever asks anything else twice, asks twice.
pub struct Session {
    desk: Arc<Desk>,
    actor: String,
    /// `None`: nothing is to be written to this store.
    recorded: Option<BTreeSet<Act>>,
}

impl Session {
    /// Of the Unix user with this number.
    pub fn of(desk: Arc<Desk>, user: u32) -> Self {
        Self {
            desk,
            actor: format!("unix:{user}"),
            recorded: Some(BTreeSet::new()),
        }
    }

    /// On a store that is damaged: nothing is added to it.
    pub fn on_damage(desk: Arc<Desk>) -> Self {
        Self {
            desk,
            actor: String::new(),
            recorded: None,
        }
    }

    /// Puts the act into the log, then answers.
    ///
    /// # Errors
    /// The act could not be recorded, or as [`Desk::answer`].
    pub async fn answer(&mut self, ask: Ask, told: &Told) -> Result<Value, Refusal> {
        let act = Act::of(&ask);
        if self.recorded.is_none() && matches!(ask, Ask::Erase { .. }) {
            return Err(StoreError::Unusable("nothing is erased in a damaged store".into()).into());
        }
        if let Some(recorded) = &mut self.recorded
            && !(act.has_pages() && recorded.contains(&act))
        {
            self.desk.record(&self.actor, &act).await?;
            if act.has_pages() && recorded.len() < ACTS_MAX_COUNT {
                recorded.insert(act);
            }
        }
        self.desk.answer(ask, told).await
    }
}

fn malformed(what: &str) -> Refusal {
    let sentence = format!("The {what} reference is not of its form");
    let remedy = "Copy it as the agency's case file shows it.";
    Refusal::new(Fault::Invalid, "IDENTIFIER", sentence, remedy).at(what)
}
