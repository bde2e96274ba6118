//! The hash chain of a case's accepted statements: each decision commits to its head, so that a hand-over
//! that ignored an accepted fact is found by anyone who audits.

use super::{ParsedStatement, Statement, StatementError, VerifiedStatement};
use crate::directory::Directory;
use crate::ids::{CaseRef, Digest};
use crate::party::NetworkName;
use crate::time::Timestamp;
use crate::wire;

/// The head after `signed`, given the head before it (none: it is the case's first fact):
/// `SHA-256("schakel/head/v1" || head or 32 zero bytes || SHA-256(bytes) || SHA-256(signature))`.
pub fn fact_head(previous: Option<Digest>, signed: &wire::Signed) -> Digest {
    head_over(previous, Digest::of(&signed.bytes), Digest::of(&signed.signature))
}

fn head_over(previous: Option<Digest>, bytes: Digest, signature: Digest) -> Digest {
    let previous = previous.unwrap_or(Digest::from_bytes([0; 32]));
    Digest::of_all(&[
        b"schakel/head/v1",
        previous.as_bytes(),
        bytes.as_bytes(),
        signature.as_bytes(),
    ])
}

/// An entry as it is shown to a reader who may not see its statement: the chain still holds together.
pub fn hidden(entry: &wire::FactEntry) -> wire::FactEntry {
    let digest = |of: fn(&wire::Signed) -> &[u8]| {
        let digest = entry
            .statement
            .as_ref()
            .map(|signed| Digest::of(of(signed)).to_vec());
        digest.map(Into::into).unwrap_or_default()
    };
    wire::FactEntry {
        number: entry.number,
        statement: None,
        head: entry.head.clone(),
        accepted_ms: entry.accepted_ms,
        bytes_sha256: digest(|signed| &signed.bytes),
        signature_sha256: digest(|signed| &signed.signature),
    }
}

/// One accepted statement at its place in the chain.
#[derive(Clone, Debug)]
pub struct Fact {
    number: u64,
    /// None: the reader may not see it.
    parsed: Option<ParsedStatement>,
    head: Digest,
    accepted: Timestamp,
}

impl Fact {
    /// Its number: 1, 2, 3 …
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it says; none: it is not shown to this reader.
    pub fn statement(&self) -> Option<&Statement> {
        self.parsed.as_ref().map(ParsedStatement::statement)
    }

    /// The signed bytes and the signature; none: it is not shown to this reader.
    pub fn signed(&self) -> Option<&wire::Signed> {
        self.parsed.as_ref().map(ParsedStatement::signed)
    }

    /// The chain's head after it.
    pub fn head(&self) -> Digest {
        self.head
    }

    /// When the broker accepted it.
    pub fn accepted(&self) -> Timestamp {
        self.accepted
    }
}

/// The accepted statements of one case, in order, whose chain holds together.
#[derive(Clone, Debug)]
pub struct FactChain {
    case_ref: CaseRef,
    facts: Vec<Fact>,
}

impl FactChain {
    /// A case of which there are no facts.
    pub fn empty(case_ref: CaseRef) -> Self {
        Self {
            case_ref,
            facts: Vec::new(),
        }
    }

    /// Parses the statements and recomputes the chain: numbers without gap, one case, every head right,
    /// opened once and first, roster versions without gap, nothing that refers to what is not there. Signatures are not checked: for that see
    /// [`Self::verify_signatures`].
    ///
    /// # Errors
    /// Names the first fact that does not fit.
    pub fn check(facts: &wire::CaseFacts) -> Result<Self, StatementError> {
        let case_ref = CaseRef::try_from(facts.case_ref.as_ref())
            .map_err(|error| StatementError::malformed("case_ref", error.to_string()))?;
        let mut chain = Self {
            case_ref,
            facts: Vec::with_capacity(facts.entries.len().min(1024)),
        };
        for entry in &facts.entries {
            chain.push(entry)?;
        }
        Ok(chain)
    }

    fn push(&mut self, entry: &wire::FactEntry) -> Result<(), StatementError> {
        let number = self.count() + 1;
        let wrong = |what| Err(StatementError::Chain { number, what });
        if entry.number != number {
            return wrong("is numbered out of order");
        }
        let Some(signed) = &entry.statement else {
            return self.push_hidden(entry);
        };
        if !entry.bytes_sha256.is_empty() || !entry.signature_sha256.is_empty() {
            return wrong("is shown and hidden at once");
        }
        let head = fact_head(self.head(), signed);
        if entry.head.as_ref() != head.as_bytes() {
            return wrong("has another head than the one its bytes give");
        }
        let parsed = ParsedStatement::parse(signed)?;
        let statement = parsed.statement();
        if statement.case_ref() != self.case_ref {
            return wrong("is about another case");
        }
        if self.statements().any(|known| known.id() == statement.id()) {
            return wrong("repeats an earlier statement");
        }
        if let Some((version, _)) = statement.body().roster()
            && version != self.roster_version() + 1
        {
            return wrong("does not continue the roster's versions");
        }
        if let Some(what) = self.out_of_place(statement) {
            return wrong(what);
        }
        self.facts.push(Fact {
            number,
            parsed: Some(parsed),
            head,
            accepted: Timestamp::from_millis(entry.accepted_ms),
        });
        Ok(())
    }

    /// A statement that this reader may not see: only its place in the chain can be checked.
    fn push_hidden(&mut self, entry: &wire::FactEntry) -> Result<(), StatementError> {
        let number = entry.number;
        let digest = |bytes: &[u8]| {
            Digest::try_from(bytes).map_err(|_| StatementError::Chain {
                number,
                what: "is missing",
            })
        };
        let head = head_over(
            self.head(),
            digest(&entry.bytes_sha256)?,
            digest(&entry.signature_sha256)?,
        );
        if entry.head.as_ref() != head.as_bytes() {
            let what = "has another head than the one its bytes give";
            return Err(StatementError::Chain { number, what });
        }
        self.facts.push(Fact {
            number,
            parsed: None,
            head,
            accepted: Timestamp::from_millis(entry.accepted_ms),
        });
        Ok(())
    }

    /// Checks each statement's signature against the directory.
    ///
    /// # Errors
    /// As [`VerifiedStatement::verify`].
    pub fn verify_signatures(
        &self,
        directory: &Directory,
        network: &NetworkName,
        now: Timestamp,
    ) -> Result<Vec<VerifiedStatement>, StatementError> {
        let verify =
            |parsed: &ParsedStatement| VerifiedStatement::verify(parsed.clone(), directory, network, now);
        self.facts
            .iter()
            .filter_map(|fact| fact.parsed.as_ref())
            .map(verify)
            .collect()
    }

    /// Why the statement cannot be the next one, roster versions aside. Where some are hidden from this reader,
    /// what it refers to may be among them: only who sees all can tell.
    pub fn out_of_place(&self, statement: &Statement) -> Option<&'static str> {
        if self.facts.iter().any(|fact| fact.parsed.is_none()) {
            return None;
        }
        statement
            .body()
            .out_of_place(statement.agency(), self.statements())
    }

    /// The statements that this reader may see, in order.
    pub fn statements(&self) -> impl DoubleEndedIterator<Item = &Statement> + Clone {
        self.facts.iter().filter_map(Fact::statement)
    }

    /// The case.
    pub fn case_ref(&self) -> CaseRef {
        self.case_ref
    }

    /// The chain as it was when it had `count` facts; the whole one if it has fewer.
    #[must_use]
    pub fn first(&self, count: u64) -> Self {
        let then = self.facts.iter().filter(|fact| fact.number <= count);
        Self {
            case_ref: self.case_ref,
            facts: then.cloned().collect(),
        }
    }

    /// The facts, in order.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// How many facts there are.
    pub fn count(&self) -> u64 {
        self.facts.last().map_or(0, |fact| fact.number)
    }

    /// The head; none: no facts.
    pub fn head(&self) -> Option<Digest> {
        self.facts.last().map(|fact| fact.head)
    }

    /// The roster's version; 0: the case is not opened.
    pub fn roster_version(&self) -> u64 {
        let versions = self
            .statements()
            .rev()
            .filter_map(|statement| statement.body().roster());
        versions.map(|(version, _)| version).next().unwrap_or(0)
    }
}
