//! Facts: the chain of each case, and the entry of each statement.

use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::statement::{FactChain, ParsedStatement};
use schakel_proto::wire;

use super::super::super::error::StoreError;
use super::super::super::kv::keys;
use super::super::super::kv::rows::{CaseRow, FactRow, StatementRow};
use super::super::super::kv::txn::Read;
use super::super::{facts, id};
use super::{Audit, LEAVING, exactly, must, wrong};

impl<R: Read> Audit<'_, R> {
    /// The head of a case follows from its facts, and each fact from its entry.
    pub(super) fn case(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let case: CaseRef = id(key.get(1..).unwrap_or_default())?;
        let row: CaseRow = exactly(value)?;
        if self.is_leaving(case.as_bytes())? {
            self.cannot(LEAVING);
            return Ok(());
        }
        let facts = facts::facts(self.read, &case)?;
        let chain = FactChain::check(&wire::CaseFacts {
            case_ref: case.to_vec().into(),
            entries: facts.entries,
        });
        let chain = chain.map_err(|error| wrong(&error.to_string()))?;
        let head = chain.head().map(Digest::to_vec).unwrap_or_default();
        let same =
            row.head == head && row.count == chain.count() && row.roster_version == chain.roster_version();
        must(same, "differs from its facts")?;
        let mut roster_version = 0;
        for fact in chain.facts() {
            let (Some(statement), Some(signed)) = (fact.statement(), fact.signed()) else {
                return Err(wrong("has a hidden fact"));
            };
            roster_version = statement
                .body()
                .roster()
                .map_or(roster_version, |(version, _)| version);
            let known = self.read.get(&keys::statement(&statement.id()))?;
            let known: StatementRow =
                exactly(&known.ok_or_else(|| wrong("has a fact that is not on record"))?)?;
            let same = known.digest == Digest::of(&signed.bytes).as_bytes()
                && known.number == fact.number()
                && known.head == fact.head().as_bytes()
                && known.roster_version == roster_version;
            must(same, "has a fact that is on record otherwise")?;
            let (entry, body) = self.told(&id(&known.leaf)?)?;
            let same = body.event == Event::StatementAccepted.as_str()
                && body.at_ms == fact.accepted().millis()
                && body.case_ref == key.get(1..).unwrap_or_default()
                && body.sender == statement.agency().as_str()
                && entry.attachment.as_ref() == Some(signed);
            must(same, "has a fact that differs from its entry")?;
        }
        Ok(())
    }

    /// A fact is one of its case.
    pub(super) fn fact(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let _row: FactRow = exactly(value)?;
        let case: CaseRef = id(key.get(1..17).unwrap_or_default())?;
        let number = keys::last_number(key).filter(|_| key.len() == 25);
        let number = number.ok_or_else(|| wrong("has a key of another form"))?;
        let row: Option<CaseRow> = self.read.row(&keys::case(&case))?;
        must(
            row.is_some_and(|row| (1..=row.count).contains(&number)),
            "is of no case",
        )
    }

    /// A statement is the fact that it says it is.
    pub(super) fn statement(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let row: StatementRow = exactly(value)?;
        let (entry, _) = self.told(&id(&row.leaf)?)?;
        if self.is_leaving(&entry.case)? {
            self.cannot(LEAVING);
            return Ok(());
        }
        let signed = entry
            .attachment
            .ok_or_else(|| wrong("names an entry without a statement"))?;
        let parsed = ParsedStatement::parse(&signed).map_err(|error| wrong(&error.to_string()))?;
        let statement = parsed.statement();
        must(
            keys::statement(&statement.id()) == key,
            "names the entry of another statement",
        )?;
        let fact: Option<FactRow> = self.read.row(&keys::fact(&statement.case_ref(), row.number))?;
        must(
            fact.is_some_and(|fact| fact.signed.as_ref() == Some(&signed)),
            "is not the fact that it says it is",
        )
    }
}
