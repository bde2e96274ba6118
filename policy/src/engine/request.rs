//! From typed questions to Cedar requests: entities and context. A value that the schema does not list is
//! reported as unknown; nothing is left out silently.

use std::cell::OnceCell;

use cedar_policy::pst::{EntityType, EntityUID, Literal, Name};
use cedar_policy::{Context, Entities, Entity, EntityUid, RestrictedExpression};
use schakel_proto::time::Timestamp;

use super::cut::{Key, Reads};
use super::narrow::{Fixed, Kin};
use super::slice::Place;
use super::vocabulary::{UNKNOWN_BASIS, Vocabulary};
use crate::facts::{CaseState, Measure, Participant};
use crate::question::{Party, ReceiveQuestion};

/// Why a request cannot be made.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// A value or attribute that the vocabulary does not know: its kind. The value itself may be anything.
    Unknown(&'static str),
    /// Cedar refused what the engine built.
    Defect(String),
}

/// Named values of a context or record.
pub(crate) type Pairs = Vec<(String, RestrictedExpression)>;

/// Facts that are asked for beforehand (definitions) or computed (consent).
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    pub(crate) sender_active: bool,
    pub(crate) recipient_active: bool,
    pub(crate) measure_in_force: bool,
    pub(crate) measures_in_force: Vec<String>,
}

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
fn literal(uid: &EntityUid) -> Option<Literal> {
    let ty = EntityType(Name::unqualified(uid.type_name().basename()).ok()?);
    let eid = uid.id().unescaped().into();
    Some(Literal::EntityUID(EntityUID { ty, eid }))
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

/// First and last moment that Cedar's `datetime` can be given as text: years 0001 to 9999.
const MOMENT_MIN_MILLIS: i64 = -62_135_596_800_000;
const MOMENT_MAX_MILLIS: i64 = 253_402_300_799_999;

/// A moment; one outside years 1 to 9999 becomes the first or last of these.
pub(crate) fn moment(at: Timestamp) -> RestrictedExpression {
    let millis = at.millis().clamp(MOMENT_MIN_MILLIS, MOMENT_MAX_MILLIS);
    RestrictedExpression::new_datetime(Timestamp::from_millis(millis).to_string())
}

pub(crate) fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn strings<'a>(texts: impl IntoIterator<Item = &'a String>) -> RestrictedExpression {
    RestrictedExpression::new_set(texts.into_iter().map(|t| string(t)))
}

pub(crate) fn boolean(value: bool) -> RestrictedExpression {
    RestrictedExpression::new_bool(value)
}

fn long(value: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX))
}

pub(crate) fn record(pairs: Pairs) -> Result<RestrictedExpression, Unfit> {
    RestrictedExpression::new_record(pairs).map_err(|error| Unfit::Defect(error.to_string()))
}

pub(crate) fn context(pairs: Pairs) -> Result<Context, Unfit> {
    Context::from_pairs(pairs).map_err(|error| Unfit::Defect(error.to_string()))
}

fn push(pairs: &mut Pairs, key: &str, value: RestrictedExpression) {
    pairs.push((key.to_owned(), value));
}

impl Vocabulary {
    /// A listed name as an entity, or unknown.
    pub(crate) fn listed(&self, kind: &'static str, name: &str) -> Result<&EntityUid, Unfit> {
        self.uid(kind, name).ok_or(Unfit::Unknown(kind))
    }

    fn listed_value(&self, kind: &'static str, name: &str) -> Result<RestrictedExpression, Unfit> {
        self.listed(kind, name)
            .map(|uid| RestrictedExpression::new_entity_uid(uid.clone()))
    }

    /// The entity of an agency.
    pub(crate) fn agency_uid(&self, id: &str) -> Result<EntityUid, Unfit> {
        self.entity("Agency", id)
            .ok_or_else(|| Unfit::Defect("the schema lacks Agency".to_owned()))
    }

    fn agencies<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> Result<RestrictedExpression, Unfit> {
        let uids: Result<Vec<_>, Unfit> = ids.into_iter().map(|id| self.agency_uid(id)).collect();
        Ok(RestrictedExpression::new_set(
            uids?.into_iter().map(RestrictedExpression::new_entity_uid),
        ))
    }

    /// The side an agency serves: its own, or its role's.
    fn side<'a>(&'a self, party: &'a Party) -> &'a str {
        let own = party.side.as_deref();
        own.or_else(|| self.default_side(&party.role)).unwrap_or("")
    }

    /// Whether role and side of an agency are listed.
    fn fits(&self, party: &Party) -> Result<(), Unfit> {
        self.role_parents(&party.role).ok_or(Unfit::Unknown("Role"))?;
        self.listed("Side", self.side(party)).map(|_| ())
    }

    /// An agency with role, circles and side.
    pub(crate) fn agency(&self, party: &Party) -> Result<Entity, Unfit> {
        let parents = self
            .role_parents(&party.role)
            .ok_or(Unfit::Unknown("Role"))?
            .iter()
            .cloned()
            .collect();
        let side = self.side(party);
        let mut attributes: Pairs = vec![
            ("code".to_owned(), string(&party.id)),
            ("role".to_owned(), string(&party.role)),
            ("side".to_owned(), self.listed_value("Side", side)?),
        ];
        if let Some(region) = &party.region {
            push(&mut attributes, "region", string(region));
        }
        let uid = self.agency_uid(&party.id)?;
        Entity::new(uid, attributes.into_iter().collect(), parents)
            .map_err(|error| Unfit::Defect(error.to_string()))
    }

    /// The resource of a question without one of its own.
    pub(crate) fn resource(&self, kind: &str) -> Result<EntityUid, Unfit> {
        self.constant(kind)
            .cloned()
            .ok_or_else(|| Unfit::Defect(format!("the schema lacks {kind}")))
    }

    /// The entity of an action.
    pub(crate) fn action(&self, name: &str) -> Result<EntityUid, Unfit> {
        self.constant(name)
            .cloned()
            .or_else(|| self.entity("Action", name))
            .ok_or_else(|| Unfit::Defect("the schema lacks Action".to_owned()))
    }

    /// What the question's part is in: category, lists and legal basis.
    fn part_parents(&self, question: &ReceiveQuestion) -> Result<Vec<EntityUid>, Unfit> {
        let category = &question.part.category;
        let listed = self.category_parents(category);
        let mut parents = listed.ok_or(Unfit::Unknown("Category"))?.to_vec();
        let basis = self
            .uid("Basis", &question.legal_basis)
            .or_else(|| self.uid("Basis", UNKNOWN_BASIS));
        parents.extend(basis.cloned());
        Ok(parents)
    }

    /// Whether every value of the question that has a vocabulary is in it.
    fn known(&self, question: &ReceiveQuestion) -> Result<(), Unfit> {
        if !question.unknown.is_empty() {
            return Err(Unfit::Unknown("attribute"));
        }
        for subject in &question.part.subjects {
            self.listed("SubjectRole", &subject.role)?;
            self.listed("AgeClass", &subject.age_class)?;
        }
        for consent in &question.consents {
            self.listed("ConsentStatus", &consent.status)?;
        }
        for participant in &question.case.participants {
            self.listed("RosterStatus", &participant.status)?;
            if let Some(role) = &participant.role {
                self.listed("Role", role)?;
            }
        }
        Ok(())
    }

    /// Who is asked about, and at which place; nothing unknown among roles, sides, categories and statuses.
    pub(crate) fn receiving<'a>(&'a self, question: &'a ReceiveQuestion) -> Result<Receiving<'a>, Unfit> {
        self.known(question)?;
        self.fits(&question.sender)?;
        self.fits(&question.recipient)?;
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
            optional: bits(&optional(question)),
            ..Key::default()
        };
        Ok(Receiving {
            vocabulary: self,
            question,
            sender_party: sender,
            key,
            principal: self.agency_uid(&question.recipient.id)?,
            sender: self.agency_uid(&question.sender.id)?,
            part: self.resource("Part")?,
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

    /// The facts of a question that evaluation looks at.
    pub(crate) fn facts(
        &self,
        asked: &Receiving<'_>,
        derived: &Derived,
        finding: &str,
        reads: Reads,
    ) -> Result<Pairs, Unfit> {
        let question = asked.question;
        let (case, part) = (&*question.case, &question.part);
        let mut pairs: Pairs = Vec::with_capacity(24);
        let mut add = |name: &str, value: &dyn Fn() -> Result<RestrictedExpression, Unfit>| {
            if reads.fact(name) {
                push(&mut pairs, name, value()?);
            }
            Ok::<(), Unfit>(())
        };
        add("now", &|| Ok(moment(question.now)))?;
        add("sender", &|| {
            Ok(RestrictedExpression::new_entity_uid(asked.sender.clone()))
        })?;
        add("sender_active", &|| Ok(boolean(derived.sender_active)))?;
        add("recipient_active", &|| Ok(boolean(derived.recipient_active)))?;
        add("recipient_flagged", &|| {
            let entry = case.participant(&question.recipient.id);
            Ok(boolean(entry.is_some_and(|p| p.perp_side)))
        })?;
        add("purpose", &|| Ok(string(&question.purpose)))?;
        add("urgency", &|| self.listed_value("Urgency", &question.urgency))?;
        add("roster_version", &|| Ok(long(case.roster_version)))?;
        add("case_status", &|| self.listed_value("CaseStatus", &case.status))?;
        add("subjects", &|| {
            let subjects = part.subjects.iter();
            let roles: Result<Vec<_>, Unfit> = subjects
                .map(|s| self.listed_value("SubjectRole", &s.role))
                .collect();
            Ok(RestrictedExpression::new_set(roles?))
        })?;
        add("secrecy", &|| self.listed_value("Secrecy", &part.source_secrecy))?;
        add("measure_in_force", &|| Ok(boolean(derived.measure_in_force)))?;
        add("measure_ends", &|| {
            let measure = part.measure.as_ref();
            Ok(boolean(measure.is_some_and(|m| m.valid_until.is_some())))
        })?;
        add("measures_in_force", &|| Ok(strings(&derived.measures_in_force)))?;
        add("relevant", &|| Ok(boolean(part.relevant.unwrap_or(true))))?;
        add("pseudonymous", &|| Ok(boolean(part.pseudonymous)))?;
        add("consent", &|| {
            record(vec![
                ("finding".to_owned(), string(finding)),
                ("count".to_owned(), long(question.consents.len() as u64)),
            ])
        })?;
        optional_facts(question, reads, &mut pairs)?;
        self.case_facts(case, reads, &mut pairs)?;
        packet_facts(question, reads, &mut pairs)?;
        Ok(pairs)
    }

    fn case_facts(&self, case: &CaseState, reads: Reads, pairs: &mut Pairs) -> Result<(), Unfit> {
        if let Some(table) = case.consultation.as_ref().filter(|_| reads.fact("consultation")) {
            let mut fields: Pairs = vec![
                ("basis".to_owned(), self.listed_value("TableBasis", &table.basis)?),
                (
                    "status".to_owned(),
                    self.listed_value("TableStatus", &table.status)?,
                ),
                ("finality".to_owned(), string(&table.finality)),
                ("signed_by".to_owned(), self.agencies(&table.signed_by)?),
            ];
            if let Some(end) = table.valid_until {
                push(&mut fields, "valid_until", moment(end));
            }
            push(pairs, "consultation", record(fields)?);
        }
        if let Some(mandate) = case.mandate.as_ref().filter(|_| reads.fact("mandate")) {
            let agency = |id: &str| self.agency_uid(id).map(RestrictedExpression::new_entity_uid);
            let mut fields: Pairs = vec![
                ("holder".to_owned(), agency(&mandate.holder)?),
                ("authority".to_owned(), agency(&mandate.authority)?),
                ("actors".to_owned(), self.agencies(&mandate.actors)?),
                ("status".to_owned(), string(&mandate.status)),
            ];
            if let Some(end) = mandate.until {
                push(&mut fields, "until", moment(end));
            }
            push(pairs, "mandate", record(fields)?);
        }
        Ok(())
    }

    /// The context of the definition "active on the roster".
    pub(crate) fn entry(&self, entry: &Participant, now: Timestamp) -> Result<Pairs, Unfit> {
        let mut pairs: Pairs = vec![
            ("now".to_owned(), moment(now)),
            (
                "status".to_owned(),
                self.listed_value("RosterStatus", &entry.status)?,
            ),
        ];
        for (key, at) in [("from", entry.from), ("until", entry.until)] {
            if let Some(at) = at {
                push(&mut pairs, key, moment(at));
            }
        }
        Ok(pairs)
    }
}

/// Facts that only some questions have.
fn optional_facts(question: &ReceiveQuestion, reads: Reads, pairs: &mut Pairs) -> Result<(), Unfit> {
    if let Some(version) = question
        .roster_version_seen
        .filter(|_| reads.fact("roster_version_seen"))
    {
        push(pairs, "roster_version_seen", long(version));
    }
    if !question.case.region.is_empty() && reads.fact("region") {
        push(pairs, "region", string(&question.case.region));
    }
    if let Some(release) = question.part.release.as_ref().filter(|_| reads.fact("release")) {
        let fields = vec![
            ("by_role".to_owned(), string(&release.by_role)),
            ("scope".to_owned(), strings(&release.scope)),
        ];
        push(pairs, "release", record(fields)?);
    }
    Ok(())
}

fn packet_facts(question: &ReceiveQuestion, reads: Reads, pairs: &mut Pairs) -> Result<(), Unfit> {
    if let Some(glass) = question
        .break_glass
        .as_ref()
        .filter(|_| reads.fact("break_glass"))
    {
        let mut fields: Pairs = vec![
            ("actor".to_owned(), string(&glass.actor)),
            (
                "justification_chars".to_owned(),
                long(u64::from(glass.justification_chars)),
            ),
            ("danger_to".to_owned(), strings(&glass.danger_to)),
            ("reviewer".to_owned(), string(&glass.reviewer)),
        ];
        if let Some(at) = glass.review_by {
            push(&mut fields, "review_by", moment(at));
        }
        push(pairs, "break_glass", record(fields)?);
    }
    if let Some(report) = question.report.as_ref().filter(|_| reads.fact("report")) {
        let fields = vec![
            ("victim_class".to_owned(), string(&report.victim_class)),
            ("danger".to_owned(), string(&report.danger)),
            (
                "cannot_protect_otherwise".to_owned(),
                boolean(report.cannot_protect_otherwise),
            ),
        ];
        push(pairs, "report", record(fields)?);
    }
    Ok(())
}

/// A question whose names are all listed, and the place it is at.
pub(crate) struct Receiving<'a> {
    vocabulary: &'a Vocabulary,
    pub(crate) question: &'a ReceiveQuestion,
    sender_party: &'a Party,
    /// The place, but for the action.
    pub(crate) key: Key,
    pub(crate) principal: EntityUid,
    pub(crate) part: EntityUid,
    pub(crate) sender: EntityUid,
    entities: OnceCell<Entities>,
}

impl Receiving<'_> {
    /// Sender, recipient and part, made when first looked at.
    pub(crate) fn entities(&self) -> Result<&Entities, Unfit> {
        if let Some(made) = self.entities.get() {
            return Ok(made);
        }
        let parents = self.vocabulary.part_parents(self.question)?;
        let mut entities = vec![
            self.vocabulary.agency(&self.question.recipient)?,
            Entity::new_no_attrs(self.part.clone(), parents.into_iter().collect()),
        ];
        if self.sender != self.principal {
            entities.push(self.vocabulary.agency(&self.question.sender)?);
        }
        let made =
            Entities::from_entities(entities, None).map_err(|error| Unfit::Defect(error.to_string()))?;
        Ok(self.entities.get_or_init(|| made))
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
        attributes.extend(side.and_then(literal).map(|side| ("side", side)));
        Fixed {
            principal: role(recipient),
            resource: Kin {
                kinds: PART_KINDS,
                ancestors: place.resource.clone(),
            },
            sender: role(self.sender_party),
            attributes,
            values: Vec::new(),
            optional: OPTIONAL.into_iter().zip(optional(self.question)).collect(),
            nested,
        }
    }
}

/// The place of the definition "active on the roster" for an entry like this one.
pub(crate) fn seat(vocabulary: &Vocabulary, entry: &Participant) -> (Key, Fixed) {
    let there = [entry.from.is_some(), entry.until.is_some()];
    let status = vocabulary.uid("RosterStatus", &entry.status);
    let key = Key {
        status: vocabulary.number("RosterStatus", &entry.status),
        optional: bits(&there),
        ..Key::default()
    };
    let fixed = Fixed {
        values: status
            .and_then(literal)
            .map(|status| ("status", status))
            .into_iter()
            .collect(),
        optional: ["from", "until"].into_iter().zip(there).collect(),
        ..Fixed::default()
    };
    (key, fixed)
}

/// The place of the definition "in force" for a measure like this one.
pub(crate) fn measure(measure: &Measure) -> (Key, Fixed) {
    let there = measure.valid_until.is_some();
    let key = Key {
        optional: bits(&[there]),
        ..Key::default()
    };
    let fixed = Fixed {
        optional: vec![("until", there)],
        ..Fixed::default()
    };
    (key, fixed)
}

/// The context of the definition "in force".
pub(crate) fn measure_facts(measure: &Measure, now: Timestamp) -> Pairs {
    let mut pairs: Pairs = vec![
        ("now".to_owned(), moment(now)),
        ("status".to_owned(), string(&measure.status)),
    ];
    if let Some(end) = &measure.valid_until {
        push(&mut pairs, "until", moment(end.at));
    }
    pairs
}
