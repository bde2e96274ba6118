//! Slicing: only policies whose scope can match a request are given to the authorizer. The index is built
//! when a bundle is loaded; the policy sets that requests fall into are built once each and kept. Their
//! number is bounded by the vocabulary, so that neither policies elsewhere nor cases make a decision dearer.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::pst::PstConstructionError;
use cedar_policy::{EntityUid, Policy, PolicyId, PolicySet, Template};

use super::compile::templates;
use super::cut::{Cut, Source};
use super::few::{Few, Words};
use super::kept::{Cuts, Key};
use super::narrow::Fixed;
use super::request::Unfit;
use super::rule::{Rule, Scope};
use super::vocabulary::Vocabulary;

/// Most slices kept: actions x roles x categories x bases stays far below.
const SLICES_MAX: usize = 1 << 16;

/// What a request is in: its action, and the entities that principal and resource are or are in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) action: EntityUid,
    pub(crate) principal: Vec<EntityUid>,
    pub(crate) resource: Vec<EntityUid>,
}

type Scopes = (EntityUid, Scope, Scope);

/// Policies by the scope they ask for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_scope: HashMap<Scopes, Vec<(Policy, Arc<Source>)>>,
    /// Strings that policies name.
    pub(crate) words: Words,
    /// Entities that some policy names as its principal.
    principals: HashSet<EntityUid>,
    /// Entities that some policy of an action names in its scope.
    named: HashSet<(EntityUid, EntityUid)>,
    templates: HashMap<String, Template>,
    slices: RwLock<HashMap<Place, Arc<PolicySet>>>,
    cuts: Cuts,
}

impl Index {
    /// Builds the index of all policies of a bundle.
    pub(crate) fn new(all: &PolicySet, rules: &HashMap<String, Rule>) -> Result<Self, PstConstructionError> {
        let mut by_scope: HashMap<Scopes, Vec<(Policy, Arc<Source>)>> = HashMap::new();
        let mut principals = HashSet::new();
        let mut named = HashSet::new();
        for policy in all.policies() {
            let id: &str = policy.id().as_ref();
            let Some(rule) = rules.get(id) else { continue };
            let source = Arc::new(Source::new(policy)?);
            if let Scope::In(uid) = &rule.principal {
                principals.insert(uid.clone());
            }
            for action in &rule.actions {
                for scope in [&rule.principal, &rule.resource] {
                    if let Scope::In(uid) = scope {
                        named.insert((action.clone(), uid.clone()));
                    }
                }
                let key = (action.clone(), rule.principal.clone(), rule.resource.clone());
                let entry = (policy.clone(), Arc::clone(&source));
                by_scope.entry(key).or_default().push(entry);
            }
        }
        let conditions = by_scope.values().flatten();
        let words = Words::new(conditions.map(|(_, source)| &**source.condition()));
        Ok(Self {
            by_scope,
            words,
            principals,
            named,
            templates: templates(all),
            slices: RwLock::default(),
            cuts: Cuts::default(),
        })
    }

    /// Whether a policy names this entity as its principal.
    pub(crate) fn names(&self, uid: &EntityUid) -> bool {
        self.principals.contains(uid)
    }

    /// The slice of a place, narrowed by what is fixed there. `key` must tell apart whatever `at` tells apart.
    /// An error means that a policy could not be taken along, and must deny.
    pub(crate) fn cut(
        &self,
        key: &Key,
        at: impl FnOnce() -> Result<(Place, Fixed), Unfit>,
    ) -> Result<Arc<Cut>, Unfit> {
        if let Some(cut) = self.cuts.kept(key) {
            return Ok(cut);
        }
        let (place, fixed) = at()?;
        let mut sources = Vec::new();
        self.each(&place, |(_, source)| {
            sources.push(Arc::clone(source));
            Ok(())
        })
        .map_err(Unfit::Defect)?;
        // In one order, whatever the hash maps say: the same policies are then the same slice.
        sources.sort_by(|a, b| a.id().cmp(b.id()));
        self.cuts.make(key, &fixed, &sources).map_err(Unfit::Defect)
    }

    /// A slice narrowed once more, by facts of which there are few values. An error must deny.
    pub(crate) fn inner(&self, cut: &Arc<Cut>, few: Few, vocabulary: &Vocabulary) -> Result<Arc<Cut>, Unfit> {
        let fixed = || few.fixed(vocabulary, &self.words, cut.nested);
        self.cuts.inner(cut, few, fixed).map_err(Unfit::Defect)
    }

    /// The policies that can match a request at this place. `own` is an entity that only this request has
    /// (the agency itself); a slice with policies of its own is made anew each time. An error means that a
    /// policy could not be taken along, and must deny.
    pub(crate) fn slice(&self, place: &Place, own: Option<&EntityUid>) -> Result<Arc<PolicySet>, String> {
        if let Some(uid) = own.filter(|uid| self.principals.contains(uid)) {
            let mut place = place.clone();
            place.principal.push(uid.clone());
            return self.build(&place).map(Arc::new);
        }
        if let Some(slice) = self
            .slices
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(place)
        {
            return Ok(Arc::clone(slice));
        }
        let slice = self.canonical(place)?;
        let mut slices = self.slices.write().unwrap_or_else(PoisonError::into_inner);
        if slices.len() < SLICES_MAX {
            slices.insert(place.clone(), Arc::clone(&slice));
        }
        Ok(slice)
    }

    /// The slice of every place that the same policies can match: only entities that a policy of the action
    /// names tell places apart.
    fn canonical(&self, place: &Place) -> Result<Arc<PolicySet>, String> {
        let named = |uid: &&EntityUid| self.named.contains(&(place.action.clone(), (*uid).clone()));
        let same = Place {
            action: place.action.clone(),
            principal: place.principal.iter().filter(named).cloned().collect(),
            resource: place.resource.iter().filter(named).cloned().collect(),
        };
        if let Some(slice) = self
            .slices
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&same)
        {
            return Ok(Arc::clone(slice));
        }
        let slice = Arc::new(self.build(&same)?);
        let mut slices = self.slices.write().unwrap_or_else(PoisonError::into_inner);
        if slices.len() < SLICES_MAX {
            slices.insert(same, Arc::clone(&slice));
        }
        Ok(slice)
    }

    fn build(&self, place: &Place) -> Result<PolicySet, String> {
        let mut set = PolicySet::new();
        self.each(place, |(policy, _)| self.add(&mut set, policy))?;
        Ok(set)
    }

    fn each<'a>(
        &'a self,
        place: &Place,
        mut take: impl FnMut(&'a (Policy, Arc<Source>)) -> Result<(), String>,
    ) -> Result<(), String> {
        let scopes = |uids: &[EntityUid]| -> Vec<Scope> {
            [Scope::Any, Scope::Other]
                .into_iter()
                .chain(uids.iter().cloned().map(Scope::In))
                .collect()
        };
        let resources = scopes(&place.resource);
        for principal in scopes(&place.principal) {
            for resource in &resources {
                let key = (place.action.clone(), principal.clone(), resource.clone());
                for policy in self.by_scope.get(&key).into_iter().flatten() {
                    take(policy)?;
                }
            }
        }
        Ok(())
    }

    fn add(&self, set: &mut PolicySet, policy: &Policy) -> Result<(), String> {
        let id: &str = policy.id().as_ref();
        let lost = |error: &dyn std::fmt::Display| format!("policy {id} cannot be sliced: {error}");
        let Some(template_id) = policy.template_id() else {
            return set.add(policy.clone()).map_err(|error| lost(&error));
        };
        let template = self
            .templates
            .get::<str>(template_id.as_ref())
            .ok_or_else(|| lost(&"no template"))?;
        let values = policy.template_links().ok_or_else(|| lost(&"no link"))?;
        if set.template(template_id).is_none() {
            set.add_template(template.clone()).map_err(|error| lost(&error))?;
        }
        set.link(template_id.clone(), PolicyId::new(id), values)
            .map_err(|error| lost(&error))
    }
}
