//! Which place a question is at, what is fixed there, and the entities it is about.

use std::cell::OnceCell;

use cedar_policy::pst::Literal;
use cedar_policy::{Entities, EntityUid};

use super::cut::Reads;
use super::kept::Key;
use super::narrow::{Fixed, Kin};
use super::request::{Derived, Unfit, entities, plain_entity};
use super::slice::Place;
use super::vocabulary::{UNKNOWN_BASIS, Vocabulary};
use crate::facts::{Measure, Participant};
use crate::question::{Party, ReceiveQuestion};

/// Facts that not every question has.
const OPTIONAL: [&str; 7] = [
    "roster_version_seen",
    "region",
    "release",
    "consultation",
    "mandate",
    "break_glass",
    "report",
];

/// Kinds that an agency, and a part, is in, and of which the engine knows all.
const AGENCY_KINDS: &[&str] = &["Role", "Circle"];
const PART_KINDS: &[&str] = &["Category", "List", "Basis"];

/// An entity as a literal in a policy.
pub(crate) fn literal(uid: &EntityUid) -> Literal {
    Literal::EntityUID(uid.clone().into())
}

/// Which optional facts a question has, in the order of `OPTIONAL`.
fn optional(question: &ReceiveQuestion) -> [bool; 7] {
    [
        question.roster_version_seen.is_some(),
        !question.case.region.is_empty(),
        question.part.release.is_some(),
        question.case.consultation.is_some(),
        question.case.mandate.is_some(),
        question.break_glass.is_some(),
        question.report.is_some(),
    ]
}

/// As many bits as flags.
fn bits(flags: &[bool]) -> u8 {
    flags
        .iter()
        .rev()
        .fold(0, |bits, flag| bits << 1 | u8::from(*flag))
}

impl Vocabulary {
    /// Who is asked about, and at which place; nothing unknown among roles, sides, categories and statuses.
    pub(crate) fn receiving<'a>(&'a self, question: &'a ReceiveQuestion) -> Result<Receiving<'a>, Unfit> {
        self.known(question)?;
        self.fits(&question.sender)?;
        self.fits(&question.recipient)?;
        if question.sender.id == question.recipient.id && question.sender.role != question.recipient.role {
            // An agency has one role. Two in one question would be one entity, and one of them not asked about.
            return Err(Unfit::Unknown("Role"));
        }
        let part = &question.part;
        self.category_parents(&part.category)
            .ok_or(Unfit::Unknown("Category"))?;
        let basis = match self.number("Basis", &question.legal_basis) {
            0 => self.number("Basis", UNKNOWN_BASIS),
            listed => listed,
        };
        // An agency that writes to itself is one entity, the recipient.
        let sender = if question.sender.id == question.recipient.id {
            &question.recipient
        } else {
            &question.sender
        };
        let key = Key {
            sender: self.number("Role", &sender.role),
            principal: self.number("Role", &question.recipient.role),
            side: self.number("Side", self.side(&question.recipient)),
            category: self.number("Category", &part.category),
            basis,
            status: self.number("CaseStatus", &question.case.status),
            secrecy: self.number("Secrecy", &part.source_secrecy),
            optional: bits(&optional(question)),
            own: None,
            action: 0,
        };
        Ok(Receiving {
            vocabulary: self,
            question,
            sender_party: sender,
            key,
            principal: self.agency_uid(&question.recipient.id)?,
            sender: self.agency_uid(&question.sender.id)?,
            part: self.resource("Part")?,
            nothing: Entities::empty(),
            recipient: OnceCell::new(),
            entities: OnceCell::new(),
        })
    }

    /// Whether the facts of a question that have a vocabulary are in it.
    pub(crate) fn known_facts(&self, question: &ReceiveQuestion) -> Result<(), Unfit> {
        self.listed("Urgency", &question.urgency)?;
        self.listed("CaseStatus", &question.case.status)?;
        self.listed("Secrecy", &question.part.source_secrecy)?;
        if let Some(table) = &question.case.consultation {
            self.listed("TableBasis", &table.basis)?;
            self.listed("TableStatus", &table.status)?;
        }
        Ok(())
    }
}

/// A question whose names are all listed, and the place it is at.
pub(crate) struct Receiving<'a> {
    vocabulary: &'a Vocabulary,
    pub(crate) question: &'a ReceiveQuestion,
    /// The sender; the recipient, if they are one.
    sender_party: &'a Party,
    /// The place, but for the action.
    pub(crate) key: Key,
    pub(crate) principal: EntityUid,
    pub(crate) part: EntityUid,
    pub(crate) sender: EntityUid,
    nothing: Entities,
    recipient: OnceCell<Entities>,
    entities: OnceCell<Entities>,
}

impl Receiving<'_> {
    /// What a slice looks at, made when first looked at.
    pub(crate) fn looked_at(&self, reads: Reads) -> Result<&Entities, Unfit> {
        if reads.entities {
            return self.entities();
        }
        if !reads.principal {
            return Ok(&self.nothing);
        }
        if let Some(made) = self.recipient.get() {
            return Ok(made);
        }
        let made = entities([self.vocabulary.agency(&self.question.recipient)?])?;
        Ok(self.recipient.get_or_init(|| made))
    }

    /// Sender, recipient and part, made when first looked at.
    pub(crate) fn entities(&self) -> Result<&Entities, Unfit> {
        if let Some(made) = self.entities.get() {
            return Ok(made);
        }
        let parents = self.vocabulary.part_parents(self.question)?;
        let mut all = vec![
            self.vocabulary.agency(&self.question.recipient)?,
            plain_entity(self.part.clone(), Vec::new(), parents),
        ];
        if self.sender != self.principal {
            all.push(self.vocabulary.agency(&self.question.sender)?);
        }
        let made = entities(all)?;
        Ok(self.entities.get_or_init(|| made))
    }

    /// A fact that is true or false (`few::TRUTHS`).
    pub(crate) fn truth(&self, derived: &Derived, name: &str) -> bool {
        let part = &self.question.part;
        match name {
            "sender_active" => derived.sender_active,
            "recipient_active" => derived.recipient_active,
            "recipient_flagged" => {
                let mut entries = self.question.case.entries(&self.question.recipient.id);
                entries.any(|entry| entry.perp_side)
            }
            "measure_in_force" => derived.measure_in_force,
            "measure_ends" => part.measure.as_ref().is_some_and(|m| m.valid_until.is_some()),
            "relevant" => part.relevant.unwrap_or(true),
            "pseudonymous" => part.pseudonymous,
            _ => false,
        }
    }

    /// The place, in Cedar's terms.
    pub(crate) fn place(&self, action: &str) -> Result<Place, Unfit> {
        let roles = self.vocabulary.role_parents(&self.question.recipient.role);
        Ok(Place {
            action: self.vocabulary.action(action)?,
            principal: roles.unwrap_or(&[]).to_vec(),
            resource: self.vocabulary.part_parents(self.question)?,
        })
    }

    /// What the place fixes.
    pub(crate) fn fixed(&self, place: &Place, nested: bool) -> Fixed {
        let role = |party: &Party| {
            let ancestors = self.vocabulary.role_parents(&party.role).unwrap_or(&[]);
            Kin {
                kinds: AGENCY_KINDS,
                ancestors: ancestors.to_vec(),
            }
        };
        let recipient = &self.question.recipient;
        let side = self.vocabulary.uid("Side", self.vocabulary.side(recipient));
        let mut attributes = vec![("role", Literal::String(recipient.role.as_str().into()))];
        attributes.extend(side.map(|side| ("side", literal(side))));
        Fixed {
            principal: role(recipient),
            resource: Kin {
                kinds: PART_KINDS,
                ancestors: place.resource.clone(),
            },
            sender: role(self.sender_party),
            attributes,
            values: [
                (
                    "case_status",
                    self.vocabulary.uid("CaseStatus", &self.question.case.status),
                ),
                (
                    "secrecy",
                    self.vocabulary.uid("Secrecy", &self.question.part.source_secrecy),
                ),
            ]
            .into_iter()
            .filter_map(|(fact, uid)| Some((fact, literal(uid?))))
            .collect(),
            optional: OPTIONAL.into_iter().zip(optional(self.question)).collect(),
            nested,
            ..Fixed::default()
        }
    }
}

/// The place of the definition "active on the roster" for an entry like this one.
pub(crate) fn seat(vocabulary: &Vocabulary, entry: &Participant) -> Key {
    Key {
        status: vocabulary.number("RosterStatus", &entry.status),
        optional: bits(&[entry.from.is_some(), entry.until.is_some()]),
        ..Key::default()
    }
}

/// What that place fixes.
pub(crate) fn seat_fixed(vocabulary: &Vocabulary, entry: &Participant) -> Fixed {
    let status = vocabulary.uid("RosterStatus", &entry.status).map(literal);
    Fixed {
        values: status.map(|status| ("status", status)).into_iter().collect(),
        optional: vec![("from", entry.from.is_some()), ("until", entry.until.is_some())],
        ..Fixed::default()
    }
}

/// The place of the definition "in force" for a measure like this one.
pub(crate) fn measure(measure: &Measure) -> Key {
    Key {
        optional: bits(&[measure.valid_until.is_some()]),
        ..Key::default()
    }
}

/// What that place fixes.
pub(crate) fn measure_fixed(measure: &Measure) -> Fixed {
    Fixed {
        optional: vec![("until", measure.valid_until.is_some())],
        ..Fixed::default()
    }
}
