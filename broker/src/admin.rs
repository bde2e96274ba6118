//! What the broker's operator asks: replay, disclosures, what is overdue. Answered by the running broker over a
//! socket of its own, or out of the store of a stopped one; by the same code.

use std::sync::Arc;

use schakel_policy::bundle::Bundle;
use schakel_proto::directory::Directory;
use schakel_proto::ids::{CaseRef, SubjectRef};
use schakel_proto::party::NetworkName;
use schakel_proto::refusal::{Fault, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Clock;
use crate::config::Config;
use crate::directory::Source;
use crate::erasure::ErasureKeys;
use crate::log::publish::Evidences;
use crate::overdue::settings::Settings;
use crate::replay::{Archive, replay};
use crate::serve::ServeError;
use crate::state::State;
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::{disclosures, overdue};

pub mod command;

pub mod socket;

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
}

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
    /// Held during a replay: one at a time.
    replaying: tokio::sync::Mutex<()>,
}

impl Desk {
    /// The desk of a running broker.
    ///
    /// # Errors
    /// The authority's keyring cannot be used.
    pub fn running(state: &Arc<State>, config: &Config, development: bool) -> Result<Self, Refusal> {
        let shared = Arc::clone(state);
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
            replaying: tokio::sync::Mutex::default(),
        })
    }

    /// A desk on the store of a stopped broker. Takes the store's lock: no broker starts meanwhile.
    ///
    /// # Errors
    /// There is no store, a broker uses it, or directory or bundle cannot be read.
    pub async fn stopped(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, ServeError> {
        if !config.data_dir.join("STORE").is_file() {
            let sentence = "There is no store in data_dir: this broker has not run yet";
            let remedy = "Name the configuration of the broker that ran.";
            return Err(Refusal::new(Fault::NotFound, "STORE_MISSING", sentence, remedy).into());
        }
        let source = Source::new(config, true)?;
        let directory = Arc::new(source.as_it_is(clock.now())?);
        let bundle = Bundle::load(&config.bundle).map_err(|error| {
            let remedy = "Put the bundle back that was in force.";
            Refusal::new(Fault::Precondition, error.code, error.sentence, remedy).at(error.place)
        })?;
        Ok(Self {
            store: Arc::new(SledStore::open(&config.data_dir).await?),
            evidences: Evidences::new(ErasureKeys::open(&config.erasure_dir)?),
            network: config.network.clone(),
            source,
            overdue: config.overdue.clone(),
            clock,
            view: Box::new(move || (Arc::clone(&directory), bundle.clone())),
            replaying: tokio::sync::Mutex::default(),
        })
    }

    /// Answers one question.
    ///
    /// # Errors
    /// An identifier does not parse, or the store cannot be read.
    pub async fn answer(&self, ask: Ask) -> Result<Value, Refusal> {
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
                    log_key: directory.log().key(),
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
        }
    }

    /// Lets go of the store of a stopped broker.
    pub async fn close(self) {
        self.store.close().await;
    }
}

fn malformed(what: &str) -> Refusal {
    let sentence = format!("The {what} reference is not of its form");
    let remedy = "Copy it as the agency's case file shows it.";
    Refusal::new(Fault::Invalid, "IDENTIFIER", sentence, remedy).at(what)
}
