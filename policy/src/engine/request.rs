//! From typed questions to Cedar requests: entities and context. A value that the schema does not list is
//! reported as unknown; nothing is left out silently.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use cedar_policy::pst::SmolStr;
use cedar_policy::{Context, Entities, EntityUid};
use cedar_policy_core::ast::{Entity, EntityUID, ExtensionFunction, Name, PartialValue, Value};
use cedar_policy_core::entities::{NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use schakel_proto::time::Timestamp;

use super::cut::Reads;
use super::few::TRUTHS;
use super::receiving::Receiving;
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
pub(crate) type Pairs = Vec<(&'static str, Value)>;

/// Facts that are asked for beforehand (definitions) or computed (consent).
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    pub(crate) sender_active: bool,
    pub(crate) recipient_active: bool,
    pub(crate) measure_in_force: bool,
    pub(crate) measures_in_force: Vec<String>,
}

/// First and last moment that Cedar's `datetime` can be given as text: years 0001 to 9999.
const MOMENT_MIN_MILLIS: i64 = -62_135_596_800_000;
const MOMENT_MAX_MILLIS: i64 = 253_402_300_799_999;

/// Cedar's function that makes a `datetime` of a text, looked up once.
static DATETIME: LazyLock<Option<&'static ExtensionFunction>> = LazyLock::new(|| {
    let name = Name::parse_unqualified_name("datetime").ok()?;
    Extensions::all_available().func(&name).ok()
});

/// Most moments kept: those of one packet and its facts are asked for again and again.
const MOMENTS_MAX: usize = 1 << 10;

thread_local! {
    static MOMENTS: RefCell<HashMap<i64, Value>> = RefCell::default();
}

/// A moment; one outside years 1 to 9999 becomes the first or last of these.
pub(crate) fn moment(at: Timestamp) -> Result<Value, Unfit> {
    let millis = at.millis().clamp(MOMENT_MIN_MILLIS, MOMENT_MAX_MILLIS);
    if let Some(known) = MOMENTS.with_borrow(|known| known.get(&millis).cloned()) {
        return Ok(known);
    }
    let text = Value::from(Timestamp::from_millis(millis).to_string());
    let function = DATETIME.ok_or_else(|| Unfit::Defect("Cedar lacks datetime".to_owned()))?;
    let value = match function.call(&[text]) {
        Ok(PartialValue::Value(value)) => value,
        Ok(PartialValue::Residual(_)) => return Err(Unfit::Defect("a moment is unknown".to_owned())),
        Err(error) => return Err(Unfit::Defect(error.to_string())),
    };
    MOMENTS.with_borrow_mut(|known| {
        if known.len() >= MOMENTS_MAX {
            known.clear();
        }
        known.insert(millis, value.clone());
    });
    Ok(value)
}

pub(crate) fn string(text: &str) -> Value {
    Value::from(text)
}

fn strings<'a>(texts: impl IntoIterator<Item = &'a String>) -> Value {
    Value::set(texts.into_iter().map(|t| string(t)), None)
}

pub(crate) fn boolean(value: bool) -> Value {
    Value::from(value)
}

/// A number that Cedar cannot hold is its largest.
pub(crate) fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn entity(uid: &EntityUid) -> Value {
    Value::from(EntityUID::from(uid.clone()))
}

pub(crate) fn record(pairs: Pairs) -> Value {
    Value::record_arc(map(pairs), None)
}

pub(crate) fn context(pairs: Pairs) -> Context {
    cedar_policy_core::ast::Context::Value(map(pairs)).into()
}

pub(crate) fn map(pairs: Pairs) -> Arc<BTreeMap<SmolStr, Value>> {
    let named = pairs.into_iter();
    Arc::new(
        named
            .map(|(key, value)| (SmolStr::new_static(key), value))
            .collect(),
    )
}

impl Vocabulary {
    /// A listed name as an entity, or unknown.
    pub(crate) fn listed(&self, kind: &'static str, name: &str) -> Result<&EntityUid, Unfit> {
        self.uid(kind, name).ok_or(Unfit::Unknown(kind))
    }

    fn listed_value(&self, kind: &'static str, name: &str) -> Result<Value, Unfit> {
        self.listed(kind, name).map(entity)
    }

    /// The entity of an agency.
    pub(crate) fn agency_uid(&self, id: &str) -> Result<EntityUid, Unfit> {
        self.entity("Agency", id)
            .ok_or_else(|| Unfit::Defect("the schema lacks Agency".to_owned()))
    }

    fn agencies<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> Result<Value, Unfit> {
        let uids: Result<Vec<_>, Unfit> = ids.into_iter().map(|id| self.agency_uid(id)).collect();
        Ok(Value::set(uids?.iter().map(entity), None))
    }

    /// The side an agency serves: its own, or its role's.
    pub(super) fn side<'a>(&'a self, party: &'a Party) -> &'a str {
        let own = party.side.as_deref();
        own.or_else(|| self.default_side(&party.role)).unwrap_or("")
    }

    /// Whether role and side of an agency are listed.
    pub(super) fn fits(&self, party: &Party) -> Result<(), Unfit> {
        self.role_parents(&party.role).ok_or(Unfit::Unknown("Role"))?;
        self.listed("Side", self.side(party)).map(|_| ())
    }

    /// An agency with role, circles and side.
    pub(crate) fn agency(&self, party: &Party) -> Result<Entity, Unfit> {
        let parents = self
            .role_parents(&party.role)
            .ok_or(Unfit::Unknown("Role"))?
            .iter()
            .cloned();
        let side = self.side(party);
        let mut attributes = vec![
            ("code", string(&party.id)),
            ("role", string(&party.role)),
            ("side", self.listed_value("Side", side)?),
        ];
        if let Some(region) = &party.region {
            attributes.push(("region", string(region)));
        }
        Ok(plain_entity(self.agency_uid(&party.id)?, attributes, parents))
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
    pub(super) fn part_parents(&self, question: &ReceiveQuestion) -> Result<Vec<EntityUid>, Unfit> {
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
    pub(super) fn known(&self, question: &ReceiveQuestion) -> Result<(), Unfit> {
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
        let mut add = |name: &'static str, value: &dyn Fn() -> Result<Value, Unfit>| {
            if reads.fact(name) {
                pairs.push((name, value()?));
            }
            Ok::<(), Unfit>(())
        };
        for name in TRUTHS {
            add(name, &|| Ok(boolean(asked.truth(derived, name))))?;
        }
        add("now", &|| moment(question.now))?;
        add("sender", &|| Ok(entity(&asked.sender)))?;
        add("purpose", &|| Ok(string(&question.purpose)))?;
        add("urgency", &|| self.listed_value("Urgency", &question.urgency))?;
        add("roster_version", &|| Ok(Value::from(long(case.roster_version))))?;
        add("case_status", &|| self.listed_value("CaseStatus", &case.status))?;
        add("subjects", &|| {
            let subjects = part.subjects.iter();
            let roles: Result<Vec<_>, Unfit> = subjects
                .map(|s| self.listed_value("SubjectRole", &s.role))
                .collect();
            Ok(Value::set(roles?, None))
        })?;
        add("secrecy", &|| self.listed_value("Secrecy", &part.source_secrecy))?;
        add("measures_in_force", &|| Ok(strings(&derived.measures_in_force)))?;
        add("consent", &|| {
            Ok(record(vec![
                ("finding", string(finding)),
                ("count", Value::from(long(question.consents.len() as u64))),
            ]))
        })?;
        optional_facts(question, reads, &mut pairs)?;
        self.case_facts(case, reads, &mut pairs)?;
        packet_facts(question, reads, &mut pairs)?;
        Ok(pairs)
    }

    fn case_facts(&self, case: &CaseState, reads: Reads, pairs: &mut Pairs) -> Result<(), Unfit> {
        if let Some(table) = case.consultation.as_ref().filter(|_| reads.fact("consultation")) {
            let mut fields: Pairs = vec![
                ("basis", self.listed_value("TableBasis", &table.basis)?),
                ("status", self.listed_value("TableStatus", &table.status)?),
                ("finality", string(&table.finality)),
                ("signed_by", self.agencies(&table.signed_by)?),
            ];
            if let Some(end) = table.valid_until {
                fields.push(("valid_until", moment(end)?));
            }
            pairs.push(("consultation", record(fields)));
        }
        if let Some(mandate) = case.mandate.as_ref().filter(|_| reads.fact("mandate")) {
            let agency = |id: &str| self.agency_uid(id).map(|uid| entity(&uid));
            let mut fields: Pairs = vec![
                ("holder", agency(&mandate.holder)?),
                ("authority", agency(&mandate.authority)?),
                ("actors", self.agencies(&mandate.actors)?),
                ("status", string(&mandate.status)),
            ];
            if let Some(end) = mandate.until {
                fields.push(("until", moment(end)?));
            }
            pairs.push(("mandate", record(fields)));
        }
        Ok(())
    }

    /// The context of the definition "active on the roster".
    pub(crate) fn entry(&self, entry: &Participant, now: Timestamp) -> Result<Pairs, Unfit> {
        let mut pairs: Pairs = vec![
            ("now", moment(now)?),
            ("status", self.listed_value("RosterStatus", &entry.status)?),
        ];
        for (key, at) in [("from", entry.from), ("until", entry.until)] {
            if let Some(at) = at {
                pairs.push((key, moment(at)?));
            }
        }
        Ok(pairs)
    }
}

/// An entity whose parents are all it is in: enumerated entities are in nothing themselves.
pub(crate) fn plain_entity(
    uid: EntityUid,
    attributes: Pairs,
    parents: impl IntoIterator<Item = EntityUid>,
) -> Entity {
    let attributes = attributes.into_iter();
    Entity::new_with_attr_partial_value(
        uid.into(),
        attributes.map(|(key, value)| (SmolStr::new_static(key), PartialValue::Value(value))),
        HashSet::new(),
        parents.into_iter().map(EntityUID::from).collect(),
        [],
    )
}

/// These entities; nothing is left to be found out of what they are in.
pub(crate) fn entities(all: impl IntoIterator<Item = Entity>) -> Result<Entities, Unfit> {
    let made = cedar_policy_core::entities::Entities::from_entities(
        all,
        None::<&NoEntitiesSchema>,
        TCComputation::AssumeAlreadyComputed,
        Extensions::all_available(),
    );
    made.map(Into::into)
        .map_err(|error| Unfit::Defect(error.to_string()))
}

/// Facts that only some questions have.
fn optional_facts(question: &ReceiveQuestion, reads: Reads, pairs: &mut Pairs) -> Result<(), Unfit> {
    if let Some(version) = question
        .roster_version_seen
        .filter(|_| reads.fact("roster_version_seen"))
    {
        pairs.push(("roster_version_seen", Value::from(long(version))));
    }
    if !question.case.region.is_empty() && reads.fact("region") {
        pairs.push(("region", string(&question.case.region)));
    }
    if let Some(release) = question.part.release.as_ref().filter(|_| reads.fact("release")) {
        let fields = vec![
            ("by_role", string(&release.by_role)),
            ("scope", strings(&release.scope)),
        ];
        pairs.push(("release", record(fields)));
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
            ("actor", string(&glass.actor)),
            (
                "justification_chars",
                Value::from(i64::from(glass.justification_chars)),
            ),
            ("danger_to", strings(&glass.danger_to)),
            ("reviewer", string(&glass.reviewer)),
        ];
        if let Some(at) = glass.review_by {
            fields.push(("review_by", moment(at)?));
        }
        pairs.push(("break_glass", record(fields)));
    }
    if let Some(report) = question.report.as_ref().filter(|_| reads.fact("report")) {
        let fields = vec![
            ("victim_class", string(&report.victim_class)),
            ("danger", string(&report.danger)),
            (
                "cannot_protect_otherwise",
                boolean(report.cannot_protect_otherwise),
            ),
        ];
        pairs.push(("report", record(fields)));
    }
    Ok(())
}

/// The context of the definition "in force".
pub(crate) fn measure_facts(measure: &Measure, now: Timestamp) -> Result<Pairs, Unfit> {
    let mut pairs: Pairs = vec![("now", moment(now)?), ("status", string(&measure.status))];
    if let Some(end) = &measure.valid_until {
        pairs.push(("until", moment(end.at)?));
    }
    Ok(pairs)
}
