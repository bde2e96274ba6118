//! The names that a bundle's schema lists, and the Cedar entities made from them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{CedarSchemaError, EntityId, EntityTypeName, EntityUid, Schema, SchemaFragment};

use crate::bundle::BundleError;
use crate::matrix::{Matrix, Names};
use crate::places::{line_of, too_deep};

/// The schema's file in a bundle.
pub(crate) const FILE: &str = "schakel.cedarschema";

/// Enumerated types that the engine itself relies on.
const REQUIRED: [&str; 15] = [
    "Role",
    "Circle",
    "Side",
    "Category",
    "List",
    "Basis",
    "Urgency",
    "CaseStatus",
    "RosterStatus",
    "SubjectRole",
    "AgeClass",
    "Secrecy",
    "TableBasis",
    "TableStatus",
    "ConsentStatus",
];

/// Actions that the engine asks about.
const ACTIONS: [&str; 9] = [
    "receive",
    "delivered",
    "held",
    "refused",
    "active",
    "in_force",
    "state_case_opened",
    "state_roster_changed",
    "inspect",
];

/// The Basis that stands for every basis not listed.
pub(crate) const UNKNOWN_BASIS: &str = "unknown";

/// Names in the schema's order, and their entities.
#[derive(Clone, Debug)]
pub(crate) struct Vocabulary {
    lists: BTreeMap<String, Vec<String>>,
    /// For each kind in `REQUIRED`, its members by name, each with its number from 1.
    uids: Vec<Vec<(String, u16, EntityUid)>>,
    types: Vec<(&'static str, EntityTypeName)>,
    /// Actions, and the resources of questions without one of their own.
    constants: Vec<(&'static str, EntityUid)>,
    /// Ancestors of an agency of a role: the role and its circles.
    role_parents: HashMap<String, Vec<EntityUid>>,
    /// Ancestors of a part of a category: the category and its lists.
    category_parents: HashMap<String, Vec<EntityUid>>,
    default_sides: HashMap<String, String>,
}

/// Parses the schema. Errors carry the line.
pub(crate) fn parse_schema(text: &str) -> Result<(Schema, Vocabulary), BundleError> {
    let bad = |sentence: String, line: usize| BundleError::new("BUNDLE_SCHEMA", &sentence, FILE, line);
    if let Some(line) = too_deep(text) {
        return Err(bad("the schema nests too deep".to_owned(), line));
    }
    let at = |error: &CedarSchemaError| {
        let details = DetailedError::from(error);
        let line = details
            .source_locations
            .first()
            .map_or(1, |l| line_of(text, l.loc.start));
        bad(details.message, line)
    };
    let (fragment, _) = SchemaFragment::from_cedarschema_str(text).map_err(|error| at(&error))?;
    let (schema, _) = Schema::from_cedarschema_str(text).map_err(|error| at(&error))?;
    let json = fragment
        .to_json_value()
        .map_err(|error| bad(error.to_string(), 1))?;
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, kind) in json
        .pointer("//entityTypes")
        .and_then(|t| t.as_object())
        .into_iter()
        .flatten()
    {
        if let Some(members) = kind.get("enum").and_then(|e| e.as_array()) {
            let members = members
                .iter()
                .filter_map(|m| m.as_str().map(str::to_owned))
                .collect();
            lists.insert(name.clone(), members);
        }
    }
    // The JSON form keeps the order of an enumeration only as long as Cedar does; the text is the authority.
    for (name, members) in &mut lists {
        let at = text.find(&format!("entity {name} ")).unwrap_or(0);
        let body = text.get(at..).unwrap_or("");
        members.sort_by_key(|m: &String| body.find(&format!("\"{m}\"")).unwrap_or(usize::MAX));
    }
    for required in REQUIRED {
        if lists.get(required).is_none_or(Vec::is_empty) {
            return Err(bad(format!("the schema does not enumerate {required}"), 1));
        }
    }
    Ok((schema, Vocabulary::new(lists)?))
}

/// An order in which two names are seldom compared letter by letter.
fn by_length(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Whether two names of the engine's own are the same: most often they are one and the same text.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && (std::ptr::eq(a, b) || a == b)
}

fn entity_type(name: &str) -> Result<EntityTypeName, BundleError> {
    EntityTypeName::from_str(name)
        .map_err(|error| BundleError::new("BUNDLE_SCHEMA", &error.to_string(), FILE, 1))
}

impl Vocabulary {
    fn new(lists: BTreeMap<String, Vec<String>>) -> Result<Self, BundleError> {
        let mut uids = Vec::new();
        let (mut types, mut constants) = (Vec::new(), Vec::new());
        let entity = |kind: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
        };
        for name in REQUIRED {
            let kind = entity_type(name)?;
            let members = lists.get(name).into_iter().flatten();
            let mut of_kind: Vec<(String, u16, EntityUid)> = members
                .zip(1_u16..=u16::MAX)
                .map(|(m, number)| (m.clone(), number, entity(&kind, m)))
                .collect();
            of_kind.sort_by(|a, b| by_length(&a.0, &b.0));
            uids.push(of_kind);
        }
        for name in ["Agency", "Part", "Case", "Measure", "Action"] {
            types.push((name, entity_type(name)?));
        }
        for name in ["Part", "Case", "Measure"] {
            constants.push((name, entity(&entity_type(name)?, "asked")));
        }
        for name in ACTIONS {
            constants.push((name, entity(&entity_type("Action")?, name)));
        }
        Ok(Self {
            lists,
            uids,
            types,
            constants,
            role_parents: HashMap::new(),
            category_parents: HashMap::new(),
            default_sides: HashMap::new(),
        })
    }

    /// Takes circles, lists and default sides from the matrix.
    pub(crate) fn with_matrix(mut self, matrix: &Matrix) -> Self {
        for (role, entry) in &matrix.roles {
            let circles = entry
                .circles
                .iter()
                .filter_map(|c| self.uid("Circle", c))
                .cloned();
            let parents = self
                .uid("Role", role)
                .cloned()
                .into_iter()
                .chain(circles)
                .collect();
            self.role_parents.insert(role.clone(), parents);
            self.default_sides.insert(role.clone(), entry.side.clone());
        }
        for category in self.members("Category").to_vec() {
            let on = matrix
                .lists
                .iter()
                .filter(|(_, members)| members.contains(&category));
            let lists = on.filter_map(|(list, _)| self.uid("List", list)).cloned();
            let parents = self
                .uid("Category", &category)
                .cloned()
                .into_iter()
                .chain(lists)
                .collect();
            self.category_parents.insert(category, parents);
        }
        self
    }

    /// The entity of a listed name; `None`: not listed.
    pub(crate) fn uid(&self, kind: &str, name: &str) -> Option<&EntityUid> {
        self.member(kind, name).map(|(_, _, uid)| uid)
    }

    fn member(&self, kind: &str, name: &str) -> Option<&(String, u16, EntityUid)> {
        let of_kind = self.of_kind(kind)?;
        let at = of_kind
            .binary_search_by(|(member, ..)| by_length(member, name))
            .ok()?;
        of_kind.get(at)
    }

    /// The number of a listed name; 0: not listed.
    pub(crate) fn number(&self, kind: &str, name: &str) -> u16 {
        self.member(kind, name).map_or(0, |(_, number, _)| *number)
    }

    /// The entity of a listed name by its number.
    pub(crate) fn numbered(&self, kind: &str, number: u16) -> Option<&EntityUid> {
        let mut of_kind = self.of_kind(kind)?.iter();
        of_kind.find(|(_, n, _)| *n == number).map(|(.., uid)| uid)
    }

    fn of_kind(&self, kind: &str) -> Option<&[(String, u16, EntityUid)]> {
        let at = REQUIRED.iter().position(|known| same(known, kind))?;
        self.uids.get(at).map(Vec::as_slice)
    }

    /// The entity of an action, or the resource of a question without one of its own.
    pub(crate) fn constant(&self, name: &str) -> Option<&EntityUid> {
        let mut constants = self.constants.iter();
        constants.find(|(known, _)| same(known, name)).map(|(_, uid)| uid)
    }

    /// An entity that is not enumerated.
    pub(crate) fn entity(&self, kind: &str, id: &str) -> Option<EntityUid> {
        let (_, kind) = self.types.iter().find(|(known, _)| same(known, kind))?;
        Some(EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id)))
    }

    /// The names of an enumeration, in the schema's order.
    pub(crate) fn members(&self, kind: &str) -> &[String] {
        self.lists.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The kinds that the schema enumerates.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(String::as_str)
    }

    /// Role and circles.
    pub(crate) fn role_parents(&self, role: &str) -> Option<&[EntityUid]> {
        self.role_parents.get(role).map(Vec::as_slice)
    }

    /// Category and lists.
    pub(crate) fn category_parents(&self, category: &str) -> Option<&[EntityUid]> {
        self.category_parents.get(category).map(Vec::as_slice)
    }

    /// The side that a role serves unless the directory says otherwise.
    pub(crate) fn default_side(&self, role: &str) -> Option<&str> {
        self.default_sides.get(role).map(String::as_str)
    }

    /// What the matrix must cover.
    pub(crate) fn names(&self) -> Names<'_> {
        Names {
            roles: self.members("Role"),
            categories: self.members("Category"),
            circles: self.members("Circle"),
            lists: self.members("List"),
            sides: self.members("Side"),
        }
    }
}
