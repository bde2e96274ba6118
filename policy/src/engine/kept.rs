//! Slices kept: by the place they are for, and each content once. Bounded; when full, all are begun anew.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use cedar_policy::pst::Expr;
use schakel_proto::ids::Digest;

use super::cut::{Cut, Narrow, Source};
use super::few::Few;
use super::narrow::{Fixed, constant};

/// Most places kept; then all are forgotten and made again as they are asked for.
const PLACES_MAX: usize = 1 << 17;
/// Most different slices kept; most places share theirs.
const SLICES_MAX: usize = 1 << 13;

/// Which place a request is at, in small numbers: two requests with the same key have the same fixed facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) action: u8,
    pub(crate) sender: u16,
    pub(crate) principal: u16,
    pub(crate) side: u16,
    pub(crate) category: u16,
    pub(crate) basis: u16,
    /// Of the case, or of a seat.
    pub(crate) status: u16,
    pub(crate) secrecy: u16,
    /// Optional facts that are there.
    pub(crate) optional: u8,
    /// The agency itself, where policies name it.
    pub(crate) own: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Kept {
    places: HashMap<Key, Arc<Cut>>,
    slices: HashMap<Digest, Arc<Cut>>,
}

/// Cut slices by place, and each content once.
#[derive(Debug, Default)]
pub(crate) struct Cuts(RwLock<Kept>);

impl Cuts {
    /// The slice of a place, if it was asked for before.
    pub(crate) fn kept(&self, key: &Key) -> Option<Arc<Cut>> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.places.get(key).cloned()
    }

    /// Makes and keeps the slice of a place.
    pub(crate) fn make(&self, key: &Key, fixed: &Fixed, sources: &[Arc<Source>]) -> Result<Arc<Cut>, String> {
        let whole = sources.iter().map(|source| (source, source.condition()));
        let (cut, mut kept) = self.narrowed(whole, fixed)?;
        kept.places.insert(key.clone(), Arc::clone(&cut));
        Ok(cut)
    }

    /// A slice narrowed once more.
    pub(crate) fn inner(
        &self,
        cut: &Arc<Cut>,
        few: Few,
        fixed: impl FnOnce() -> Fixed,
    ) -> Result<Arc<Cut>, String> {
        if let Some(known) = cut.inner(&few) {
            return Ok(known);
        }
        let sources = cut.sources.iter().map(|(source, expr)| (source, expr));
        let (inner, kept) = self.narrowed(sources, &fixed())?;
        drop(kept);
        cut.keep(few, &inner);
        Ok(inner)
    }

    /// Narrows, and takes the slice that has this content already, if there is one. Room is left for one more place.
    fn narrowed<'a>(
        &self,
        sources: impl Iterator<Item = (&'a Arc<Source>, &'a Arc<Expr>)>,
        fixed: &Fixed,
    ) -> Result<(Arc<Cut>, RwLockWriteGuard<'_, Kept>), String> {
        let narrowed: Vec<Narrow> = sources
            .map(|(source, expr)| (Arc::clone(source), fixed.narrow(expr)))
            .filter(|(_, expr)| constant(expr) != Some(false))
            .collect();
        let digest = content(&narrowed, fixed.nested);
        let known = {
            let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
            kept.slices.get(&digest).cloned()
        };
        let cut = match known {
            Some(cut) => cut,
            None => Arc::new(Cut::new(narrowed, fixed.nested)?),
        };
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let full = kept.slices.len() >= SLICES_MAX && !kept.slices.contains_key(&digest);
        if full || kept.places.len() >= PLACES_MAX {
            *kept = Kept::default();
        }
        kept.slices.insert(digest, Arc::clone(&cut));
        Ok((cut, kept))
    }
}

/// What a slice holds, as a digest: slices of the same content are one.
fn content(narrowed: &[Narrow], nested: bool) -> Digest {
    let mut text = format!("{nested}\n");
    for (source, expr) in narrowed {
        text.push_str(&format!("{}\0{expr:?}\n", source.id()));
    }
    Digest::of(text.as_bytes())
}
