//! How the agent stands with the brokers: the client that all its loops share, what went wrong where, and what people are
//! told of it.

use std::sync::PoisonError;

use crate::agent::Agent;
use crate::problem::{Kind, Problem};
use crate::transport::Client;
use crate::transport::brokers::{Brokers, Stay};

/// Why there is no connection right after the start.
pub fn not_yet() -> Problem {
    let sentence = "no broker has been reached since the agent was started";
    let remedy = "Wait, or check `broker` in agent.toml.";
    Problem::new(Kind::Later, "NOT_CONNECTED_YET", sentence, remedy)
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
    pub(crate) fn failed_at(&self, stay: Stay, problem: &Problem) {
        self.brokers().failed(stay, problem);
        let mut problem = problem.clone();
        if let Some(broker) = self
            .brokers()
            .address(stay)
            .filter(|_| problem.unserved && problem.place.is_empty())
        {
            problem = problem.at(broker);
        }
        self.note_link(Some(problem));
    }

    /// Notes how the connection stands.
    pub(crate) fn note_link(&self, problem: Option<Problem>) {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        // That nothing is known yet says less than why.
        if link.is_some() && problem.as_ref().is_some_and(|p| p.code == "NO_DIRECTORY") {
            return;
        }
        if link.is_some() && problem.is_none() {
            self.outgoing.notify_one();
        }
        *link = problem;
    }
}
