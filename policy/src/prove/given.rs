//! From a request that the solver found to a question in the case format that gives the same facts, and from
//! there to the smallest one that still breaks what was broken.

use serde_json::{Value, json};

use super::cases;
use crate::consent::Finding;
use crate::engine::symbolic::{Agency, Model};
use crate::question::ReceiveQuestion;
use schakel_proto::time::Timestamp;

/// Most consents made for one question.
const CONSENTS_MAX: i64 = 16;

/// A day, in milliseconds.
const DAY: i64 = 24 * 3600 * 1000;

/// How often everything is tried away.
const PASSES: usize = 2;

/// How agencies are called.
#[derive(Clone, Copy)]
enum Names {
    /// `recipient`, `sender`, `other-1` …
    Plain,
    /// By the code that the solver gave them, in case a rule compares it.
    Own,
}

/// A question that `breaks`, as small as removing one thing after another makes it; `None`: the facts that the
/// solver found cannot be had from the engine, or the engine decides otherwise on them.
pub(super) fn question(model: &Model, breaks: &dyn Fn(&ReceiveQuestion) -> bool) -> Option<Value> {
    let holds = |given: &Value| cases::question(given).is_some_and(|question| breaks(&question));
    let tried = [Names::Plain, Names::Own].map(|names| Builder { model, names }.given());
    let given = tried.into_iter().flatten().find(|given| holds(given))?;
    // What was needed for something that is gone is not needed any more.
    Some((0..PASSES).fold(given, |given, _| smaller(given, &holds)))
}

struct Builder<'a> {
    model: &'a Model,
    names: Names,
}

impl Builder<'_> {
    fn fact(&self, key: &str) -> Option<&Value> {
        self.model.context.get(key)
    }

    fn yes(&self, key: &str) -> bool {
        self.fact(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn text(&self, key: &str) -> &str {
        self.fact(key).and_then(Value::as_str).unwrap_or("")
    }

    /// What an agency is called in the case.
    fn id(&self, uid: &str) -> String {
        let (recipient, sender) = (&self.model.recipient, &self.model.sender);
        let code = |agency: &Agency| Some(agency.code.clone()).filter(|code| !code.is_empty());
        match self.names {
            Names::Plain if uid == recipient.uid => "recipient".to_owned(),
            Names::Plain if uid == sender.uid => "sender".to_owned(),
            Names::Own if uid == recipient.uid => code(recipient).unwrap_or_else(|| uid.to_owned()),
            Names::Own if uid == sender.uid => code(sender).unwrap_or_else(|| uid.to_owned()),
            _ => format!("other-{uid}"),
        }
    }

    /// A text that may be an agency's code.
    fn code(&self, text: &Value) -> Value {
        let agencies = [&self.model.recipient, &self.model.sender];
        let of = agencies
            .into_iter()
            .find(|agency| text.as_str() == Some(&agency.code));
        of.map_or_else(|| text.clone(), |agency| json!(self.id(&agency.uid)))
    }

    fn ids(&self, value: Option<&Value>) -> Value {
        let uids = value.and_then(Value::as_array).into_iter().flatten();
        uids.filter_map(Value::as_str)
            .map(|uid| json!(self.id(uid)))
            .collect()
    }

    fn given(&self) -> Option<Value> {
        let model = self.model;
        let (recipient, sender) = (&model.recipient, &model.sender);
        let mut given = json!({
            "now": moment(self.fact("now")?)?,
            "sender": self.id(&sender.uid),
            "sender_role": sender.role,
            "sender_side": sender.side,
            "recipient": self.id(&recipient.uid),
            "recipient_role": recipient.role,
            "recipient_side": recipient.side,
            "purpose": self.text("purpose"),
            "legal_basis": model.basis,
            "urgency": self.text("urgency"),
            "case": self.case()?,
            "part": self.part(),
            "consent": self.consents()?,
        });
        for key in ["roster_version_seen", "report"] {
            put(&mut given, key, self.fact(key).cloned());
        }
        put(&mut given, "break_glass", self.timed("break_glass", "review_by")?);
        Some(given)
    }

    /// A record one of whose attributes is a moment.
    fn timed(&self, key: &str, at: &str) -> Option<Option<Value>> {
        let Some(record) = self.fact(key).and_then(Value::as_object) else {
            return Some(None);
        };
        let mut record = record.clone();
        if let Some(value) = record.get_mut(at) {
            *value = json!(moment(value)?);
        }
        Some(Some(Value::Object(record)))
    }

    fn case(&self) -> Option<Value> {
        let kinds = self.fact("measures_in_force").and_then(Value::as_array);
        let measures: Vec<Value> = kinds
            .into_iter()
            .flatten()
            .map(|kind| json!({ "kind": kind, "status": "in_force" }))
            .collect();
        let mut case = json!({
            "id": "prove", "status": self.text("case_status"), "type": "partner_violence",
            "region": self.text("region"), "roster_version": self.fact("roster_version"),
            "participants": self.participants(), "measures": measures,
        });
        let consultation = self.timed("consultation", "valid_until")?.map(|mut table| {
            let signed = self.ids(table.get("signed_by"));
            put(&mut table, "signed_by", Some(signed));
            table
        });
        let mandate = self.timed("mandate", "until")?.map(|mut mandate| {
            for key in ["holder", "authority"] {
                let id = mandate
                    .get(key)
                    .and_then(Value::as_str)
                    .map(|uid| json!(self.id(uid)));
                put(&mut mandate, key, id);
            }
            let actors = self.ids(mandate.get("actors"));
            put(&mut mandate, "actors", Some(actors));
            mandate
        });
        put(&mut case, "consultation", consultation);
        put(&mut case, "mandate", mandate);
        Some(case)
    }

    /// Who is active is listed as active; whoever is not is listed only if flag or region need it.
    fn participants(&self) -> Vec<Value> {
        let (recipient, sender) = (&self.model.recipient, &self.model.sender);
        let entry = |agency: &Agency, active: bool, flagged: bool| {
            let mut entry = json!({
                "id": self.id(&agency.uid), "role": agency.role,
                "status": if active { "active" } else { "left" },
            });
            if flagged {
                put(&mut entry, "perp_side", Some(json!(true)));
            }
            put(
                &mut entry,
                "region",
                agency.region.as_ref().map(|region| json!(region)),
            );
            (active || flagged || agency.region.is_some()).then_some(entry)
        };
        let mut all = vec![entry(
            recipient,
            self.yes("recipient_active"),
            self.yes("recipient_flagged"),
        )];
        if sender.uid != recipient.uid {
            all.push(entry(sender, self.yes("sender_active"), false));
        }
        all.into_iter().flatten().collect()
    }

    fn subjects(&self) -> Vec<&str> {
        let set = self.fact("subjects").and_then(Value::as_array);
        set.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The first person whose consent counts.
    fn person(&self) -> &str {
        let mut subjects = self.subjects().into_iter();
        subjects.find(|role| *role != "professional").unwrap_or("victim")
    }

    fn part(&self) -> Value {
        let age = match self.finding() {
            Some(Finding::GuardianConflict) => "minor_0_11",
            Some(Finding::MinorCosign | Finding::ParentsCosign | Finding::Form) => "minor_12_17",
            _ => "adult",
        };
        let mut subjects: Vec<Value> = self
            .subjects()
            .iter()
            .map(|role| json!({ "role": role, "age_class": age }))
            .collect();
        if self.finding() == Some(Finding::Incomplete) {
            // Two persons in one role, of whom one consented.
            let role = self.person();
            subjects.retain(|subject| subject.get("role") != Some(&json!(role)));
            subjects.extend(
                ["p1", "p2"].map(|person| json!({ "role": role, "age_class": age, "reference": person })),
            );
        }
        let mut part = json!({
            "category": self.model.category, "subjects": subjects, "source_secrecy": self.text("secrecy"),
            "relevant": self.yes("relevant"), "pseudonymous": self.yes("pseudonymous"),
        });
        let release = self.fact("release").cloned().map(|mut release| {
            let scope = release.get("scope").and_then(Value::as_array);
            let scope: Value = scope.into_iter().flatten().map(|text| self.code(text)).collect();
            put(&mut release, "scope", Some(scope));
            release
        });
        put(&mut part, "release", release);
        let (in_force, ends) = (self.yes("measure_in_force"), self.yes("measure_ends"));
        if !in_force || ends {
            let status = if in_force { "in_force" } else { "ended" };
            let mut measure = json!({ "kind": "house_ban", "status": status });
            let tomorrow = self.fact("now").and_then(Value::as_i64);
            let tomorrow = tomorrow.and_then(|now| moment(&json!(now.saturating_add(DAY))));
            put(
                &mut measure,
                "valid_until",
                tomorrow.filter(|_| ends).map(|at| json!(at)),
            );
            put(&mut part, "measure", Some(measure));
        }
        part
    }

    fn finding(&self) -> Option<Finding> {
        let word = self.fact("consent")?.get("finding")?.as_str()?;
        Finding::ALL.into_iter().find(|finding| finding.as_str() == word)
    }

    /// Consents that the consent check judges as the solver has it, as many as it has.
    fn consents(&self) -> Option<Value> {
        let finding = self.finding()?;
        let mut subjects = self.subjects();
        subjects.retain(|role| *role != "professional");
        let first = self.person();
        let one = |changes: Value| {
            let mut consent = self.consent(first);
            if let (Value::Object(consent), Value::Object(changes)) = (&mut consent, changes) {
                consent.extend(changes);
            }
            vec![consent]
        };
        let mut all = match finding {
            Finding::Missing => return Some(Value::Null),
            Finding::Valid if subjects.is_empty() => one(json!({})),
            Finding::Valid => subjects.iter().map(|role| self.consent(role)).collect(),
            Finding::Refused => one(json!({ "status": "refused" })),
            Finding::Withdrawn => one(json!({ "status": "withdrawn" })),
            Finding::Pending => one(json!({ "status": "pending" })),
            Finding::Expired => one(json!({ "expires_at": moment(self.fact("now")?)? })),
            Finding::NotInformed => one(json!({ "informed": false })),
            Finding::WrongPerson => one(json!({ "capacity": "partner" })),
            Finding::GuardianConflict => one(json!({ "capacity": "guardian", "given_by": "perpetrator" })),
            Finding::MinorCosign => one(json!({ "capacity": "guardian", "given_by": "other_adult" })),
            Finding::ParentsCosign => one(json!({})),
            Finding::Incomplete => one(json!({ "subject_reference": "p1" })),
            Finding::Form => one(json!({ "parents_cosign": true, "form": "oral" })),
            Finding::Scope => one(json!({ "scope": {} })),
        };
        let count = self.fact("consent")?.get("count")?.as_i64()?.min(CONSENTS_MAX);
        while let Some(last) = all.last().filter(|_| (all.len() as i64) < count) {
            all.push(last.clone());
        }
        Some(Value::Array(all))
    }

    /// A consent that is valid for an adult in this role.
    fn consent(&self, subject: &str) -> Value {
        json!({
            "subject": subject, "given_by": subject, "capacity": "self", "status": "given", "informed": true,
            "form": "written",
            "scope": {
                "categories": [self.model.category],
                "recipients": [self.id(&self.model.recipient.uid)],
                "purposes": [self.text("purpose")],
            },
        })
    }
}

fn put(object: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), value);
    }
}

fn moment(millis: &Value) -> Option<String> {
    Some(Timestamp::from_millis(millis.as_i64()?).to_string())
}

/// What is tried away, one after another.
const NOT_NEEDED: [&str; 14] = [
    "/case/consultation",
    "/case/mandate",
    "/case/measures",
    "/break_glass",
    "/report",
    "/part/release",
    "/part/measure",
    "/part/relevant",
    "/part/pseudonymous",
    "/roster_version_seen",
    "/sender_side",
    "/recipient_side",
    "/consent",
    "/case/region",
];

/// What is tried plain.
const PLAIN: [(&str, &str); 3] = [
    ("/urgency", "routine"),
    ("/part/source_secrecy", "none"),
    ("/case/status", "open"),
];

/// The question without whatever it does not need to stay what it is.
fn smaller(mut given: Value, holds: &dyn Fn(&Value) -> bool) -> Value {
    let keep_if = |tried: Value, given: &mut Value| {
        if tried != *given && holds(&tried) {
            *given = tried;
        }
    };
    for path in NOT_NEEDED {
        let mut tried = given.clone();
        let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
        if let Some(object) = tried.pointer_mut(parent).and_then(Value::as_object_mut) {
            object.remove(key);
        }
        keep_if(tried, &mut given);
    }
    for (path, word) in PLAIN {
        let mut tried = given.clone();
        if let Some(value) = tried.pointer_mut(path) {
            *value = json!(word);
        }
        keep_if(tried, &mut given);
    }
    for path in [
        "/part/subjects",
        "/case/participants",
        "/consent",
        "/case/measures",
    ] {
        let count = given.pointer(path).and_then(Value::as_array).map_or(0, Vec::len);
        for n in (0..count).rev() {
            let mut tried = given.clone();
            if let Some(list) = tried.pointer_mut(path).and_then(Value::as_array_mut) {
                list.remove(n);
            }
            keep_if(tried, &mut given);
        }
    }
    given
}
