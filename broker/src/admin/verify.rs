//! Everything that can be recomputed from the store is: the tree from its leaves, each leaf from its body and salt, each
//! signature under the directory of its time, each row from the entries. The first entry that differs is named.

use std::collections::BTreeMap;

use schakel_proto::evidence::{self, Body, Event};
use schakel_proto::ids::Digest;
use schakel_proto::refusal::Refusal;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::shards::Opens;
use schakel_proto::tlog::tree::{Frontier, Node};
use serde_json::{Value, json};

use super::{Desk, Told};
use crate::store::{
    ENTRIES_GONE, Filed, FiledEntry, Finding, PACKETS_GONE, PAGE_MAX_COUNT, Page, Store, StoreError,
    StoredCheckpoint,
};
use signatures::{Judged, Signatures};

pub(super) use bundles::Known;

mod bundles;

mod cosigned;

mod force;

mod shards;

mod signatures;

/// Entries read at once.
const PAGE: usize = 128;
/// Rows audited at once, if there is time for so many: while they are, nothing is committed.
const ROWS: usize = 64;
/// Entries or rows between two words on how far it is.
const TOLD_EVERY: u64 = 16_384;
/// Findings that are named; more are only counted.
const NAMED_MAX_COUNT: usize = 1_000;
/// How often the end of the log is looked for, while it grows.
const ROUNDS_MAX_COUNT: usize = 1_000;

/// What a verification came to.
#[derive(Default)]
struct Verdict {
    entries: u64,
    signatures: u64,
    rows: u64,
    wrong: u64,
    findings: Vec<Finding>,
    gone: BTreeMap<&'static str, u64>,
    /// Entries and packets that went, as the log says it.
    let_go: (u64, u64),
    /// Entries of which only the leaf is left.
    empty: u64,
}

impl Verdict {
    fn find(&mut self, finding: Finding) {
        self.wrong += 1;
        if self.findings.len() < NAMED_MAX_COUNT {
            self.findings.push(finding);
        }
    }

    fn wrong(&mut self, index: Option<u64>, place: &str, what: impl Into<String>) {
        self.find(Finding {
            index,
            place: place.to_owned(),
            what: what.into(),
        });
    }

    fn gone(&mut self, what: &'static str, count: u64) {
        *self.gone.entry(what).or_default() += count;
    }

    /// How much went, if that is what an entry says.
    fn said(&mut self, body: &evidence::Body) {
        if body.event == Event::RecordsErased {
            let (entries, packets) = &mut self.let_go;
            let count = if body.reason == "packets" {
                packets
            } else {
                entries
            };
            *count = count.saturating_add(body.left_out);
        }
    }

    fn into_json(mut self) -> Value {
        // Entries in their order first: the first one that differs is where to look.
        self.findings.sort_by_key(|one| (one.index.is_none(), one.index));
        let finding = |one: &Finding| json!({ "index": one.index, "place": one.place, "what": one.what });
        json!({
            "entries": self.entries, "signatures": self.signatures, "rows": self.rows, "wrong": self.wrong,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(), "gone": self.gone,
        })
    }
}

/// Verifies everything.
pub(super) async fn all(desk: &Desk, told: &Told) -> Result<Value, Refusal> {
    let mut walk = Walk::begin(desk).await?;
    walk.entries(told).await?;
    walk.activated().await?;
    walk.shards().await?;
    walk.cosigned().await?;
    walk.rows(told).await?;
    walk.let_go().await?;
    Ok(walk.verdict.into_json())
}

/// A walk through the log from its first entry.
struct Walk<'a> {
    desk: &'a Desk,
    newest: Option<StoredCheckpoint>,
    frontier: Frontier,
    /// Position of the next entry.
    at: u64,
    /// Entries before this position were looked at, also those on their way into the tree.
    seen: u64,
    signatures: Signatures,
    verdict: Verdict,
}

impl<'a> Walk<'a> {
    async fn begin(desk: &'a Desk) -> Result<Self, Refusal> {
        let mut verdict = Verdict::default();
        let newest = match desk.store.latest_checkpoint().await {
            Ok(newest) => newest,
            Err(StoreError::Corrupt(what)) => {
                verdict.wrong(None, "the newest checkpoint", what.to_string());
                None
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(stored) = &newest {
            let (directory, _) = (desk.view)();
            let place = "the newest checkpoint";
            match directory.log().shards().open(&stored.note) {
                Err(error) => verdict.wrong(None, place, error.to_string()),
                Ok(signed) if signed.size() != stored.size || signed.root() != stored.root => {
                    verdict.wrong(None, place, "is of another tree than it is kept for");
                }
                Ok(_) => verdict.signatures += 1,
            }
        }
        Ok(Self {
            desk,
            newest,
            frontier: Frontier::default(),
            at: 0,
            seen: 0,
            signatures: Signatures::default(),
            verdict,
        })
    }

    fn store(&self) -> &'a dyn Store {
        self.desk.store.as_ref()
    }

    /// The tree to its end, then what is on its way into it; while it grows, again.
    async fn entries(&mut self, told: &Told) -> Result<(), Refusal> {
        for _ in 0..ROUNDS_MAX_COUNT {
            self.integrated(told).await?;
            if self.pending().await? {
                if self.newest.as_ref().is_some_and(|newest| newest.size > self.at) {
                    let what = "the log is shorter than its newest checkpoint says";
                    self.verdict.wrong(None, "the tree", what);
                }
                return Ok(());
            }
        }
        self.verdict.gone("entries that were added meanwhile", 1);
        Ok(())
    }

    async fn integrated(&mut self, told: &Told) -> Result<(), Refusal> {
        let of = self.newest.as_ref().map_or(0, |newest| newest.size);
        while let Some(page) = self.page().await? {
            for entry in page.found {
                // The walk goes on where the order is broken.
                self.at = entry.index;
                self.grow(&entry);
                self.entry(&entry).await?;
                self.at += 1;
                if self.at.is_multiple_of(TOLD_EVERY) {
                    told.say(json!({ "what": "entries", "done": self.at, "of": of }));
                }
            }
            if page.next.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The next entries; one that cannot be read is a finding, and the walk goes on behind it.
    async fn page(&mut self) -> Result<Option<Page<FiledEntry, u64>>, Refusal> {
        let after = self.at.checked_sub(1);
        match self.store().filed(Filed::All, after, PAGE).await {
            Ok(page) => return Ok(Some(page)),
            Err(StoreError::Corrupt(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match self.store().filed(Filed::All, after, 1).await {
            Ok(mut page) => {
                page.next = page.found.last().map(|last| last.index);
                Ok(Some(page))
            }
            Err(StoreError::Corrupt(what)) => {
                self.verdict
                    .wrong(Some(self.at), "an entry of the log", what.to_string());
                // The tree may still be whole: it grows by the leaf that stands there.
                let node = Node {
                    level: 0,
                    index: self.at,
                };
                let leaf = self.store().node(node).await.ok().flatten();
                self.frontier
                    .append(leaf.unwrap_or(Digest::from_bytes([0; 32])), &mut |_, _| {});
                self.at += 1;
                let end = self.newest.as_ref().map_or(0, |newest| newest.size);
                let next = Some(self.at).filter(|at| *at < end);
                Ok(Some(Page {
                    found: Vec::new(),
                    next,
                }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Entries that have no checkpoint yet; false: meanwhile they got one.
    async fn pending(&mut self) -> Result<bool, Refusal> {
        let page = match self.store().filed(Filed::Pending, None, PAGE_MAX_COUNT).await {
            Ok(page) => page,
            Err(StoreError::Corrupt(what)) => {
                self.verdict.wrong(None, "the pending leaves", what.to_string());
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        };
        let known = self.verdict.wrong > 0;
        match page.found.first() {
            Some(first) if first.index != self.at && !known => return Ok(false),
            _ => {}
        }
        for entry in &page.found {
            self.entry(entry).await?;
        }
        if page.next.is_some() {
            self.verdict.gone("entries that wait for their checkpoint", 1);
        }
        Ok(true)
    }

    /// The tree grows by the leaf as it is stored; at the checkpoint's size the root must be the checkpoint's.
    fn grow(&mut self, entry: &FiledEntry) {
        let leaf = leaf_hash(&entry.leaf);
        if leaf != entry.leaf_hash || self.frontier.size() != entry.index {
            let what = "is not the leaf that stands in the tree";
            self.verdict.wrong(Some(entry.index), "an entry of the log", what);
        }
        self.frontier.append(leaf, &mut |_, _| {});
        let root = |newest: &StoredCheckpoint| {
            newest.size == self.frontier.size() && newest.root != self.frontier.root()
        };
        if self.newest.as_ref().is_some_and(root) {
            let what = "the tree of the stored leaves has another root than the newest checkpoint";
            self.verdict.wrong(None, "the tree", what);
        }
    }

    /// Leaf against body, and what the entry is about against its signer.
    async fn entry(&mut self, entry: &FiledEntry) -> Result<(), Refusal> {
        self.verdict.entries += 1;
        self.seen = self.seen.max(entry.index + 1);
        if entry.body.is_empty() {
            self.verdict.empty += 1;
            return Ok(());
        }
        let key = self.desk.keys.existing(entry.case).await?;
        let body = match &key {
            Some(key) => {
                let both = (&*entry.leaf, &*entry.body);
                evidence::check_leaf(both, &self.desk.network, key).map_err(|error| error.to_string())
            }
            None => {
                self.verdict.gone("the erasure key of its case is destroyed", 1);
                Body::parse(&entry.body, &self.desk.network).map_err(|error| error.to_string())
            }
        };
        let body = match body {
            Ok(body) => body,
            Err(what) => {
                self.verdict.wrong(Some(entry.index), "an entry of the log", what);
                return Ok(());
            }
        };
        match self.signatures.check(self.desk, entry, &body).await? {
            Judged::Unsigned => {}
            Judged::Good(count) => self.verdict.signatures += count,
            Judged::Wrong(what) => {
                self.verdict.wrong(Some(entry.index), body.event.as_str(), what);
            }
            Judged::Gone(what) => self.verdict.gone(what, 1),
        }
        self.verdict.said(&body);
        if body.event == Event::SubmissionAcceptance
            && let Some(packet) = body.packet
        {
            self.content(entry.index, packet).await?;
        }
        Ok(())
    }

    /// What is gone is what the log says that went. It may be less: packets that went first go with their case. More may
    /// go while this is looked at: what was said since the entries were gone through counts for the rows after them.
    async fn let_go(&mut self) -> Result<(), Refusal> {
        let said = self.verdict.let_go.0;
        let found = self.verdict.empty;
        for filed in [Filed::All, Filed::Pending] {
            let page = self
                .store()
                .filed(filed, self.seen.checked_sub(1), PAGE_MAX_COUNT)
                .await;
            for entry in page.map(|page| page.found).unwrap_or_default() {
                self.late(&entry).await?;
            }
        }
        let packets = self.verdict.gone.get(PACKETS_GONE).copied().unwrap_or_default();
        for (what, found, said) in [
            (ENTRIES_GONE, found, said),
            (PACKETS_GONE, packets, self.verdict.let_go.1),
        ] {
            if found > said {
                let what = format!("{found} times {what}, and the log says that {said} went");
                self.verdict.wrong(None, "what went", what);
            }
        }
        Ok(())
    }

    /// An entry that was added since.
    async fn late(&mut self, entry: &FiledEntry) -> Result<(), Refusal> {
        let Some(key) = self.desk.keys.existing(None).await? else {
            return Ok(());
        };
        if entry.index >= self.seen && entry.case.is_none() {
            self.seen = entry.index + 1;
            let both = (&*entry.leaf, &*entry.body);
            if let Ok(body) = evidence::check_leaf(both, &self.desk.network, &key) {
                self.verdict.said(&body);
            }
        }
        Ok(())
    }

    /// Sealed bytes that are still kept are those that the packet names.
    async fn content(&mut self, index: u64, packet: schakel_proto::ids::PacketId) -> Result<(), Refusal> {
        let stored = match self.store().packet(packet).await {
            Ok(Some(stored)) => stored,
            // Said where the packet's signature was looked for.
            Ok(None) | Err(StoreError::Corrupt(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for part in stored.parts.iter().filter(|part| !part.purged) {
            for sealing in &part.sealings {
                if let Err(what) = self.read(packet, part.part, sealing.profile).await? {
                    self.verdict
                        .wrong(Some(index), &format!("sealed content, {packet}"), what);
                }
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        packet: schakel_proto::ids::PacketId,
        part: schakel_proto::ids::PartId,
        profile: schakel_proto::wire::Profile,
    ) -> Result<Result<(), String>, Refusal> {
        let mut hasher = schakel_proto::ids::Sha256::default();
        let damaged = |error: StoreError| match error {
            StoreError::Corrupt(what) => Ok(Err(what.to_string())),
            // Acknowledged meanwhile, and gone.
            StoreError::Missing(_) => Ok(Ok(())),
            other => Err(Refusal::from(other)),
        };
        let mut reader = match self.store().content(packet, part, profile).await {
            Ok(reader) => reader,
            Err(error) => return damaged(error),
        };
        loop {
            match reader.next().await {
                Ok(Some(chunk)) => hasher.update(&chunk),
                Ok(None) => {
                    let _checked_by_the_reader: Digest = hasher.finish();
                    return Ok(Ok(()));
                }
                Err(error) => return damaged(error),
            }
        }
    }

    /// What came into force is kept as it was signed, and is what is in force.
    async fn activated(&mut self) -> Result<(), Refusal> {
        for (index, what) in bundles::check(self.desk, &mut self.signatures).await? {
            match what {
                Judged::Wrong(what) => self.verdict.wrong(index, "what came into force", what),
                Judged::Good(count) => self.verdict.signatures += count,
                Judged::Gone(what) => self.verdict.gone(what, 1),
                Judged::Unsigned => {}
            }
        }
        force::check(self).await
    }

    /// The ends of the shards.
    async fn shards(&mut self) -> Result<(), Refusal> {
        let (directory, _) = (self.desk.view)();
        let (wrong, good) = shards::check(self.desk, &directory).await?;
        self.verdict.signatures += good;
        for what in wrong {
            self.verdict.wrong(None, "a shard of the log", what);
        }
        Ok(())
    }

    /// What witnesses cosigned.
    async fn cosigned(&mut self) -> Result<(), Refusal> {
        let (directory, _) = (self.desk.view)();
        let (wrong, good) = cosigned::check(self.desk, &directory).await?;
        self.verdict.signatures += good;
        for what in wrong {
            self.verdict.wrong(None, "a cosigned checkpoint", what);
        }
        Ok(())
    }

    /// Every row of the store.
    async fn rows(&mut self, told: &Told) -> Result<(), Refusal> {
        let mut after = None;
        loop {
            let page = self.store().audit(&self.desk.network, after, ROWS).await?;
            let before = self.verdict.rows;
            self.verdict.rows += page.rows;
            if before / TOLD_EVERY != self.verdict.rows / TOLD_EVERY {
                told.say(json!({ "what": "rows", "done": self.verdict.rows, "of": 0 }));
            }
            page.findings.into_iter().for_each(|one| self.verdict.find(one));
            for case in page.leaving {
                if !self.desk.keys.is_erased(case)? {
                    let what = "the records of a case that is not erased are marked as going";
                    self.verdict.wrong(None, "what went", what);
                }
            }
            for (what, count) in page.gone {
                self.verdict.gone(what, count);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}
