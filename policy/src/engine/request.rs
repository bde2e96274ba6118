//! From typed questions to Cedar requests: entities and context. A value that the schema does not list is
//! reported as unknown; nothing is left out silently.

use cedar_policy::{Context, Entities, Entity, EntityUid, RestrictedExpression};
use schakel_proto::time::Timestamp;

use super::slice::Place;
use super::vocabulary::{UNKNOWN_BASIS, Vocabulary};
use crate::facts::{CaseState, Participant};
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
    pub(crate) finding: &'static str,
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

    /// An agency with role, circles and side.
    pub(crate) fn agency(&self, party: &Party) -> Result<Entity, Unfit> {
        let parents = self
            .role_parents(&party.role)
            .ok_or(Unfit::Unknown("Role"))?
            .iter()
            .cloned()
            .collect();
        let side = party
            .side
            .as_deref()
            .or_else(|| self.default_side(&party.role))
            .unwrap_or("");
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
        self.entity(kind, "asked")
            .ok_or_else(|| Unfit::Defect(format!("the schema lacks {kind}")))
    }

    /// The entity of an action.
    pub(crate) fn action(&self, name: &str) -> Result<EntityUid, Unfit> {
        self.entity("Action", name)
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

    /// Entities, place and fixed facts of a question; what `derived` says is added by `facts`.
    pub(crate) fn receiving(&self, question: &ReceiveQuestion) -> Result<Receiving, Unfit> {
        self.known(question)?;
        let sender = self.agency(&question.sender)?;
        let recipient = self.agency(&question.recipient)?;
        if question.sender.id == question.recipient.id && question.sender.role != question.recipient.role {
            // An agency has one role. Two in one question would be one entity, and one of them not asked about.
            return Err(Unfit::Unknown("Role"));
        }
        let parents = self.part_parents(question)?;
        let part = self.resource("Part")?;
        let place = Place {
            action: self.action("receive")?,
            principal: self
                .role_parents(&question.recipient.role)
                .unwrap_or(&[])
                .to_vec(),
            resource: parents.clone(),
        };
        let principal = recipient.uid();
        let sender_uid = sender.uid();
        let mut entities = vec![
            recipient,
            Entity::new_no_attrs(part.clone(), parents.into_iter().collect()),
        ];
        if sender_uid != principal {
            entities.push(sender);
        }
        let entities =
            Entities::from_entities(entities, None).map_err(|error| Unfit::Defect(error.to_string()))?;
        Ok(Receiving {
            entities,
            place,
            principal,
            part,
            sender: sender_uid,
        })
    }

    /// The context of a question.
    pub(crate) fn facts(
        &self,
        question: &ReceiveQuestion,
        sender: &EntityUid,
        derived: &Derived,
    ) -> Result<Pairs, Unfit> {
        let case = &*question.case;
        let flagged = case.entries(&question.recipient.id).any(|p| p.perp_side);
        let subjects: Result<Vec<_>, Unfit> = question
            .part
            .subjects
            .iter()
            .map(|s| self.listed_value("SubjectRole", &s.role))
            .collect();
        let part = &question.part;
        let consent = vec![
            ("finding".to_owned(), string(derived.finding)),
            ("count".to_owned(), long(question.consents.len() as u64)),
        ];
        let ends = part.measure.as_ref().is_some_and(|m| m.valid_until.is_some());
        let mut pairs: Pairs = Vec::with_capacity(24);
        push(&mut pairs, "now", moment(question.now));
        push(
            &mut pairs,
            "sender",
            RestrictedExpression::new_entity_uid(sender.clone()),
        );
        push(&mut pairs, "sender_active", boolean(derived.sender_active));
        push(&mut pairs, "recipient_active", boolean(derived.recipient_active));
        push(&mut pairs, "recipient_flagged", boolean(flagged));
        push(&mut pairs, "purpose", string(&question.purpose));
        push(
            &mut pairs,
            "urgency",
            self.listed_value("Urgency", &question.urgency)?,
        );
        push(&mut pairs, "roster_version", long(case.roster_version));
        push(
            &mut pairs,
            "case_status",
            self.listed_value("CaseStatus", &case.status)?,
        );
        push(&mut pairs, "subjects", RestrictedExpression::new_set(subjects?));
        push(
            &mut pairs,
            "secrecy",
            self.listed_value("Secrecy", &part.source_secrecy)?,
        );
        push(&mut pairs, "measure_in_force", boolean(derived.measure_in_force));
        push(&mut pairs, "measure_ends", boolean(ends));
        push(
            &mut pairs,
            "measures_in_force",
            strings(&derived.measures_in_force),
        );
        push(&mut pairs, "relevant", boolean(part.relevant.unwrap_or(true)));
        push(&mut pairs, "pseudonymous", boolean(part.pseudonymous));
        push(&mut pairs, "consent", record(consent)?);
        optional_facts(question, &mut pairs)?;
        self.case_facts(case, &mut pairs)?;
        packet_facts(question, &mut pairs)?;
        Ok(pairs)
    }

    fn case_facts(&self, case: &CaseState, pairs: &mut Pairs) -> Result<(), Unfit> {
        if let Some(table) = &case.consultation {
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
        if let Some(mandate) = &case.mandate {
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
fn optional_facts(question: &ReceiveQuestion, pairs: &mut Pairs) -> Result<(), Unfit> {
    if let Some(version) = question.roster_version_seen {
        push(pairs, "roster_version_seen", long(version));
    }
    if !question.case.region.is_empty() {
        push(pairs, "region", string(&question.case.region));
    }
    if let Some(release) = &question.part.release {
        let fields = vec![
            ("by_role".to_owned(), string(&release.by_role)),
            ("scope".to_owned(), strings(&release.scope)),
        ];
        push(pairs, "release", record(fields)?);
    }
    Ok(())
}

fn packet_facts(question: &ReceiveQuestion, pairs: &mut Pairs) -> Result<(), Unfit> {
    if let Some(glass) = &question.break_glass {
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
    if let Some(report) = &question.report {
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

/// Entities and place of a question.
pub(crate) struct Receiving {
    pub(crate) entities: Entities,
    pub(crate) place: Place,
    pub(crate) principal: EntityUid,
    pub(crate) part: EntityUid,
    pub(crate) sender: EntityUid,
}
