//! What several brokers on one store tell each other through it: that something changed, never what. Whoever hears it
//! looks into the store. A word that is lost costs time only: every listener also looks by itself, less often.

use schakel_proto::party::AgencyId;
use tokio::sync::broadcast;

use super::Store;
use super::kv::{Batch, keys};

/// Words kept for a listener that is slow; more, and it hears [`Heard::Everything`].
pub const HEARD_MAX_COUNT: usize = 1_024;

/// What changed on the store, by this process or another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// Something may wait for this recipient.
    Work(AgencyId),
    /// Something that cannot wait may wait for this recipient.
    Urgent(AgencyId),
    /// The tree has a newer checkpoint, or its shard another state.
    Tree,
    /// A directory or bundle came into force, or was kept.
    Ceilings,
    /// What witnesses are to cosign, or cosigned, changed.
    Cosigned,
    /// Words may have been missed: look at everything.
    Everything,
}

impl Heard {
    /// What a changed row has to say. Only a row that is put there says something: what goes is nobody's work.
    pub(crate) fn of_row(key: &[u8], is_put: bool) -> Option<Self> {
        if !is_put {
            return None;
        }
        match *key.first()? {
            keys::CANDIDATE | keys::COSIGNATURE => Some(Self::Cosigned),
            keys::SHARD => Some(Self::Tree),
            keys::KEPT => Some(Self::Ceilings),
            keys::QUEUE => {
                let agency = keys::queue_agency(key)?;
                let urgent = keys::queue_priority(key) == Some(0);
                Some(if urgent {
                    Self::Urgent(agency)
                } else {
                    Self::Work(agency)
                })
            }
            _ if key == keys::CHECKPOINT => Some(Self::Tree),
            _ if keys::is_ceiling(key) => Some(Self::Ceilings),
            _ => None,
        }
    }

    /// What a batch has to say, each word once.
    pub(crate) fn of_batch(batch: &Batch) -> std::collections::BTreeSet<Self> {
        let word = |(key, change): (&Vec<u8>, &Option<Vec<u8>>)| Self::of_row(key, change.is_some());
        batch.iter().filter_map(word).collect()
    }

    /// As one word, for a channel that carries text.
    pub fn to_text(&self) -> String {
        match self {
            Self::Work(agency) => format!("work {agency}"),
            Self::Urgent(agency) => format!("urgent {agency}"),
            Self::Tree => "tree".to_owned(),
            Self::Ceilings => "ceilings".to_owned(),
            Self::Cosigned => "cosigned".to_owned(),
            Self::Everything => "everything".to_owned(),
        }
    }

    /// Out of its text. What is not understood (of a newer broker) means everything: it is looked at, not believed.
    pub fn parse(text: &str) -> Self {
        let agency = |name| AgencyId::new(name).ok();
        match text.split_once(' ') {
            Some(("work", name)) => agency(name).map_or(Self::Everything, Self::Work),
            Some(("urgent", name)) => agency(name).map_or(Self::Everything, Self::Urgent),
            None if text == "tree" => Self::Tree,
            None if text == "ceilings" => Self::Ceilings,
            None if text == "cosigned" => Self::Cosigned,
            _ => Self::Everything,
        }
    }
}

/// A listener. Whoever is alone on the store never hears anything.
#[derive(Debug)]
pub struct Ear(Option<broadcast::Receiver<Heard>>);

impl Ear {
    /// On this store, from now on.
    pub fn on(store: &dyn Store) -> Self {
        Self(store.heard())
    }

    /// The next word; waits for ever if none can come. Cancel-safe.
    pub async fn next(&mut self) -> Heard {
        let Some(words) = &mut self.0 else {
            return std::future::pending().await;
        };
        match words.recv().await {
            Ok(word) => word,
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Everything,
            Err(broadcast::error::RecvError::Closed) => {
                self.0 = None;
                std::future::pending().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schakel_proto::ids::{CaseRef, PacketId};
    use schakel_proto::time::Timestamp;

    use super::super::facts::CeilingOf;
    use super::*;

    fn agency(name: &str) -> AgencyId {
        AgencyId::new(name).unwrap()
    }

    #[test]
    fn rows_say_what_concerns_others_and_nothing_else() {
        let (packet, at) = (PacketId::from_bytes([7; 16]), Timestamp::from_millis(5));
        let queue = |priority| keys::queue(&agency("caw-rupel"), priority, at, &packet);
        let of = |key: &[u8]| Heard::of_row(key, true);
        assert_eq!(of(&queue(1)), Some(Heard::Work(agency("caw-rupel"))));
        assert_eq!(of(&queue(0)), Some(Heard::Urgent(agency("caw-rupel"))));
        assert_eq!(Heard::of_row(&queue(1), false), None, "what is done is no work");
        assert_eq!(of(keys::CHECKPOINT), Some(Heard::Tree));
        assert_eq!(of(&keys::shard(1)), Some(Heard::Tree));
        for kind in [CeilingOf::Directory, CeilingOf::Bundle] {
            assert_eq!(of(&keys::ceiling(kind)), Some(Heard::Ceilings));
            assert_eq!(of(&keys::kept(kind, 3)), Some(Heard::Ceilings));
        }
        let line = keys::cosignature(9, &agency("coc"));
        assert_eq!(
            (of(&keys::candidate(9)), of(&line)),
            (Some(Heard::Cosigned), Some(Heard::Cosigned))
        );
        let held = keys::held(&CaseRef::from_bytes([1; 16]), &packet, &agency("caw-rupel"));
        for silent in [
            keys::NEXT_SEQUENCE,
            keys::FILED,
            keys::SCHEMA,
            &held,
            &keys::packet(&packet),
            b"",
        ] {
            assert_eq!(of(silent), None);
        }
        let batch = Batch::from([
            (queue(1), Some(vec![])),
            (queue(2), Some(vec![])),
            (queue(3), None),
        ]);
        assert_eq!(Heard::of_batch(&batch).len(), 1, "each once");
    }

    #[test]
    fn a_word_is_read_as_it_was_written_and_what_is_strange_means_everything() {
        for word in [
            Heard::Work(agency("pz-rupel")),
            Heard::Urgent(agency("pz-rupel")),
            Heard::Tree,
            Heard::Ceilings,
            Heard::Cosigned,
            Heard::Everything,
        ] {
            assert_eq!(Heard::parse(&word.to_text()), word);
        }
        for strange in ["", "work", "work ", "work A B", "tree 1", "leaf", "urgent\u{0}"] {
            assert_eq!(Heard::parse(strange), Heard::Everything, "{strange}");
        }
    }

    #[tokio::test]
    async fn who_listens_too_slowly_looks_at_everything() {
        let (sender, words) = broadcast::channel(2);
        let mut ear = Ear(Some(words));
        for _ in 0..3 {
            sender.send(Heard::Tree).unwrap();
        }
        assert_eq!(ear.next().await, Heard::Everything);
        assert_eq!((ear.next().await, ear.next().await), (Heard::Tree, Heard::Tree));
        drop(sender);
        let silent = tokio::time::timeout(std::time::Duration::from_millis(20), ear.next()).await;
        assert!(silent.is_err(), "a store that is closed says nothing more");
    }
}
