//! A log that makes real proofs, and can be told to make wrong ones.

use bytes::Bytes;
use schakel_agent::clock::randomness;
use schakel_proto::evidence::{self, ErasureKey, Event};
use schakel_proto::ids::{Digest, EntryId};
use schakel_proto::party::NetworkName;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::tlog::hash::node_hash;
use schakel_proto::tlog::proof;
use schakel_proto::tlog::tree::{Frontier, Node};
use schakel_proto::wire;

use super::town::{Town, now};

/// The log with all it would show.
#[derive(Clone)]
pub struct Ledger {
    text: String,
    network: NetworkName,
    leaves: Vec<Digest>,
    entries: Vec<wire::Evidence>,
}

/// A body of an event about nothing yet.
pub fn body(event: Event) -> wire::EvidenceBody {
    wire::EvidenceBody {
        entry_id: EntryId::random(&mut randomness()).to_vec().into(),
        event: event.as_str().to_owned(),
        at_ms: now().millis(),
        ..Default::default()
    }
}

impl Ledger {
    pub fn new(town: &Town) -> Self {
        let text = std::fs::read_to_string(town.network.broker_folder().join("log-key.txt")).unwrap();
        let network = town.network.spec().network.clone();
        Self {
            text,
            network,
            leaves: Vec::new(),
            entries: Vec::new(),
        }
    }

    pub fn network(&self) -> &NetworkName {
        &self.network
    }

    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Adds an entry; gives its position.
    pub fn add(
        &mut self,
        body: wire::EvidenceBody,
        shown: Option<wire::Opening>,
        hidden: Option<wire::Opening>,
        attachment: Option<wire::Signed>,
    ) -> u64 {
        let key = ErasureKey::random(&mut randomness());
        let entry = evidence::seal(&self.network, body, &key);
        let salt = Bytes::copy_from_slice(key.salt(entry.body()).as_bytes());
        self.leaves.push(entry.leaf_hash());
        self.entries.push(wire::Evidence {
            leaf: entry.leaf().clone(),
            salt,
            body: entry.body().clone(),
            shown,
            hidden,
            attachment,
            ..Default::default()
        });
        self.size() - 1
    }

    /// Does to the log what must not be done to one: takes entries out, moves them, puts others in.
    pub fn rewrite(&mut self, change: impl FnOnce(&mut Vec<(Digest, wire::Evidence)>)) {
        let (leaves, entries) = (
            std::mem::take(&mut self.leaves),
            std::mem::take(&mut self.entries),
        );
        let mut all: Vec<_> = leaves.into_iter().zip(entries).collect();
        change(&mut all);
        (self.leaves, self.entries) = all.into_iter().unzip();
    }

    pub fn leaf(&self, index: u64) -> Digest {
        self.leaves[index as usize]
    }

    fn node(&self, node: Node) -> Digest {
        if node.level == 0 {
            return self.leaves[node.index as usize];
        }
        let child = |index| {
            self.node(Node {
                level: node.level - 1,
                index,
            })
        };
        node_hash(&child(2 * node.index), &child(2 * node.index + 1))
    }

    fn root(&self) -> Digest {
        let mut frontier = Frontier::default();
        for leaf in &self.leaves {
            frontier.append(*leaf, &mut |_, _| {});
        }
        frontier.root()
    }

    /// The newest checkpoint, signed.
    pub fn checkpoint(&self) -> Vec<u8> {
        let secret = LogSecret::from_text(&self.text).unwrap();
        secret.sign(self.size(), self.root()).note().to_vec()
    }

    /// The key that signs checkpoints.
    pub fn secret(&self) -> LogSecret {
        LogSecret::from_text(&self.text).unwrap()
    }

    /// The same log in a shard of this key.
    pub fn in_shard_of(&self, secret: &LogSecret) -> Self {
        let text = secret.to_text().to_string();
        Self { text, ..self.clone() }
    }

    /// The newest checkpoint, signed by a key that is not the log's.
    pub fn forged_checkpoint(&self) -> Vec<u8> {
        let secret = LogSecret::generate(self.secret().public().origin(), &mut randomness()).unwrap();
        secret.sign(self.size(), self.root()).note().to_vec()
    }

    pub fn consistency(&self, from: u64) -> Vec<Bytes> {
        self.consistency_to(from, 0)
    }

    /// The proof between two sizes; 0 as the second: to the newest.
    pub fn consistency_to(&self, from: u64, to: u64) -> Vec<Bytes> {
        let to = if to == 0 { self.size() } else { to.min(self.size()) };
        if from == 0 || from >= to {
            return Vec::new();
        }
        let mut read = |node| Ok::<_, ()>(self.node(node));
        let path = proof::consistency(from, to, &mut read).ok().unwrap();
        path.iter()
            .map(|h| Bytes::copy_from_slice(h.as_bytes()))
            .collect()
    }

    /// The root of the first leaves, where a proof from there does not show it.
    pub fn root_within(&self, from: u64, to: u64) -> Bytes {
        let to = if to == 0 { self.size() } else { to.min(self.size()) };
        if from >= to || !from.is_power_of_two() {
            return Bytes::new();
        }
        let level = u8::try_from(from.trailing_zeros()).unwrap();
        self.node(Node { level, index: 0 }).to_vec().into()
    }

    /// An entry under the newest checkpoint, as the agencies concerned see it.
    pub fn evidence(&self, index: u64) -> wire::Evidence {
        let mut read = |node| Ok::<_, ()>(self.node(node));
        let path = proof::inclusion(index, self.size(), &mut read).ok().unwrap();
        wire::Evidence {
            index,
            tree_size: self.size(),
            inclusion: path
                .iter()
                .map(|h| Bytes::copy_from_slice(h.as_bytes()))
                .collect(),
            checkpoint: self.checkpoint().into(),
            ..self.entries[index as usize].clone()
        }
    }
}
