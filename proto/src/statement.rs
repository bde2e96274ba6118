//! Statements: facts that agencies sign (case opened, roster changed …), and the hash chain that orders
//! the accepted ones of a case. Who may make which is the policy's business (action `state`).

use prost::Message;
use rand::RngCore;

use crate::directory::Directory;
use crate::ids::{CaseRef, Digest, StatementId};
use crate::limits;
use crate::openpgp::{Fingerprint, SecretKeys};
use crate::party::{AgencyId, NetworkName};
use crate::time::Timestamp;
use crate::wire;

mod body;
mod chain;
mod error;
mod kinds;
mod parse;
#[cfg(test)]
mod tests;

pub use body::{Audience, Consent, Consultation, Made, Mandate, StatementBody};
pub use chain::{Fact, FactChain, fact_head, hidden};
pub use error::StatementError;

/// How a participant stands on the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RosterStatus {
    /// Takes part.
    Active,
    /// Does not take part for the time being.
    Suspended,
    /// Has left.
    Left,
}

impl RosterStatus {
    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Left => "left",
        }
    }
}

/// One participant of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterEntry {
    /// The agency.
    pub agency: AgencyId,
    /// How it stands.
    pub status: RosterStatus,
    /// From when on it takes part; none: from the statement on.
    pub from: Option<Timestamp>,
    /// Until when it takes part; none: no end.
    pub until: Option<Timestamp>,
    /// Whether it also serves the perpetrator in this case.
    pub perp_side: bool,
}

impl RosterEntry {
    /// An active participant from the statement on, without end, not on the perpetrator's side.
    pub fn active(agency: AgencyId) -> Self {
        Self {
            agency,
            status: RosterStatus::Active,
            from: None,
            until: None,
            perp_side: false,
        }
    }
}

/// A statement's fields, typed and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    network: NetworkName,
    id: StatementId,
    case_ref: CaseRef,
    agency: AgencyId,
    agency_key: Fingerprint,
    made: Timestamp,
    body: StatementBody,
}

impl Statement {
    /// The network.
    pub fn network(&self) -> &NetworkName {
        &self.network
    }

    /// Its id, made by the agency.
    pub fn id(&self) -> StatementId {
        self.id
    }

    /// The case it is about.
    pub fn case_ref(&self) -> CaseRef {
        self.case_ref
    }

    /// The agency that says it.
    pub fn agency(&self) -> &AgencyId {
        &self.agency
    }

    /// The primary fingerprint of the certificate that signed it.
    pub fn agency_key(&self) -> &Fingerprint {
        &self.agency_key
    }

    /// When the agency made it, by its own clock.
    pub fn made(&self) -> Timestamp {
        self.made
    }

    /// What it says.
    pub fn body(&self) -> &StatementBody {
        &self.body
    }

    /// The bytes to be signed, made anew from the fields: for tests and the fuzzer.
    #[cfg(feature = "vectors")]
    pub fn encoded(&self) -> Vec<u8> {
        parse::to_wire(self).encode_to_vec()
    }
}

/// A statement to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementDraft {
    /// The network.
    pub network: NetworkName,
    /// The case.
    pub case_ref: CaseRef,
    /// The agency that says it.
    pub agency: AgencyId,
    /// What it says.
    pub body: StatementBody,
}

impl StatementDraft {
    /// Signs it, with a new id.
    ///
    /// # Errors
    /// The draft breaks a rule that the other side would refuse it for, or signing fails.
    pub fn sign(
        self,
        keys: &SecretKeys,
        at: Timestamp,
        rng: &mut dyn RngCore,
    ) -> Result<(StatementId, wire::Signed), StatementError> {
        let id = StatementId::new(at, rng);
        let statement = Statement {
            network: self.network,
            id,
            case_ref: self.case_ref,
            agency: self.agency,
            agency_key: keys.certificate().fingerprint(),
            made: at,
            body: self.body,
        };
        let bytes = parse::to_wire(&statement).encode_to_vec();
        parse::statement(&bytes)?;
        let signature = keys.sign(&bytes, at).map_err(|_| StatementError::Signing)?;
        Ok((
            id,
            wire::Signed {
                bytes: bytes.into(),
                signature: signature.into(),
            },
        ))
    }
}

/// A statement whose fields are sound; its signature is not checked yet.
#[derive(Clone, Debug)]
pub struct ParsedStatement {
    statement: Statement,
    signed: wire::Signed,
}

impl ParsedStatement {
    /// Parses and bounds every field.
    ///
    /// # Errors
    /// Names the field.
    pub fn parse(signed: &wire::Signed) -> Result<Self, StatementError> {
        if signed.signature.is_empty() || signed.signature.len() > limits::SIGNATURE_MAX_BYTES {
            return Err(StatementError::malformed("signature", "is missing or too long"));
        }
        let statement = parse::statement(&signed.bytes)?;
        Ok(Self {
            statement,
            signed: signed.clone(),
        })
    }

    /// Its fields; do not act on them before it is verified.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The signed bytes and the signature, as they came.
    pub fn signed(&self) -> &wire::Signed {
        &self.signed
    }
}

/// A statement signed by a current key of the agency it names; cannot be had otherwise.
#[derive(Clone, Debug)]
pub struct VerifiedStatement(ParsedStatement);

impl VerifiedStatement {
    /// Checks network, agency, key and signature, and that it is not from the future.
    ///
    /// # Errors
    /// Names what does not hold.
    pub fn verify(
        parsed: ParsedStatement,
        directory: &Directory,
        network: &NetworkName,
        now: Timestamp,
    ) -> Result<Self, StatementError> {
        let statement = &parsed.statement;
        if statement.network != *network || directory.network() != network {
            return Err(StatementError::Network {
                expected: network.clone(),
            });
        }
        if statement.made > now.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS) {
            return Err(StatementError::FromTheFuture { made: statement.made });
        }
        let agency = directory
            .agency(&statement.agency)
            .ok_or_else(|| StatementError::UnknownAgency {
                agency: statement.agency.clone(),
            })?;
        let keys = agency
            .signing_keys(&statement.agency_key)
            .ok_or_else(|| StatementError::UnknownKey {
                agency: statement.agency.clone(),
            })?;
        let signed_at = keys
            .verify(&parsed.signed.bytes, &parsed.signed.signature, now)
            .map_err(|error| StatementError::Signature {
                what: error.to_string(),
            })?;
        let apart = signed_at.at().millis_since(statement.made).saturating_abs();
        if apart > limits::CLOCK_SKEW_MAX_MILLIS {
            return Err(StatementError::malformed("made_ms", "is not when it was signed"));
        }
        Ok(Self(parsed))
    }

    /// Its fields.
    pub fn statement(&self) -> &Statement {
        &self.0.statement
    }

    /// The signed bytes and the signature, as they came.
    pub fn signed(&self) -> &wire::Signed {
        &self.0.signed
    }

    /// SHA-256 of the signed bytes: what tells a repeated statement from another one with the same id.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0.signed.bytes)
    }
}
