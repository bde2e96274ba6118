//! How the agent stands with the brokers: the client that all its loops share, what went wrong where, and what people are
//! told of it.

use std::sync::PoisonError;

use crate::agent::Agent;
use crate::problem::{Kind, Problem};
use crate::transport::Client;
use crate::transport::brokers::{Brokers, Stay};

/// What keeps the agent from being connected, for people. Each has its own: what one loop can do again says nothing of what
/// another cannot.
pub struct Link {
    /// The stream of deliveries.
    stream: Option<Problem>,
    /// Directory and rules.
    rules: Option<Problem>,
}

impl Default for Link {
    fn default() -> Self {
        let sentence = "no broker has been reached since the agent was started";
        let remedy = "Wait, or check `broker` in agent.toml.";
        Self {
            stream: Some(Problem::new(Kind::Later, "NOT_CONNECTED_YET", sentence, remedy)),
            rules: None,
        }
    }
}

/// A loop that keeps the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// The stream of deliveries.
    Stream,
    /// Directory and rules.
    Rules,
}

/// A stream is given up because the agent has gone to another broker.
pub fn gone_on() -> Problem {
    let sentence = "the agent has gone to another broker of the list";
    let remedy = "Nothing needs to be done: it opens its streams there.";
    Problem::new(Kind::Later, "BROKER_CHANGED", sentence, remedy)
}

impl Agent {
    /// A client over the shared connection to the broker in use.
    pub(crate) fn client(&self) -> Client {
        self.transport.client().1
    }

    /// The same, with the stay at that broker: what goes wrong there is told with it.
    pub(crate) fn at_broker(&self) -> (Stay, Client) {
        self.transport.client()
    }

    /// The brokers, and which of them is in use. `Brokers::failed` is told what did not come about there.
    pub(crate) fn brokers(&self) -> &Brokers {
        self.transport.brokers()
    }

    /// Gives up the connection: the next call opens a new one, with the keys pinned by now.
    pub(crate) fn reconnect(&self) {
        self.transport.reconnect();
    }

    /// A loop could not do what it does at the broker of this stay: the next of the list is tried if it is the broker's
    /// fault, and people are told where it was.
    pub(crate) fn failed_at(&self, stay: Stay, which: Loop, problem: &Problem) {
        self.brokers().failed(stay, problem);
        let mut problem = problem.clone();
        let unplaced = problem.unserved && problem.place.is_empty();
        if let Some(broker) = self.brokers().address(stay).filter(|_| unplaced) {
            problem = problem.at(broker);
        }
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        match which {
            Loop::Rules => link.rules = Some(problem),
            Loop::Stream => link.stream = Some(problem),
        }
    }

    /// A loop does what it does.
    pub(crate) fn does(&self, which: Loop) {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        match which {
            Loop::Rules => link.rules = None,
            Loop::Stream => {
                if link.stream.take().is_some() {
                    self.outgoing.notify_one();
                }
            }
        }
    }

    /// What keeps the agent from being connected; none: nothing. Why directory and rules are not to be had says more than
    /// that there is no stream without them.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.rules.clone().or_else(|| link.stream.clone())
    }
}
