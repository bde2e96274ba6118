//! The log page by page for whoever looks: a row that cannot be read is said, and hides no other.

use crate::store::{Filed, FiledEntry, Store, StoreError};

/// What stands at a position.
pub(super) enum Row {
    /// An entry.
    Entry(Box<FiledEntry>),
    /// Something that cannot be read.
    Unreadable(u64),
}

/// Rows after a position, at most `limit`; and where to go on, if there may be more. Where one cannot be read, the next
/// positions are all looked at, one by one, whatever `of` says: nobody can say what the unreadable one is about.
pub(super) async fn after(
    store: &dyn Store,
    of: Filed,
    after: Option<u64>,
    (limit, size): (usize, u64),
) -> Result<(Vec<Row>, Option<u64>), StoreError> {
    match store.filed(of, after, limit).await {
        Ok(page) => {
            let rows = page.found.into_iter().map(|entry| Row::Entry(Box::new(entry)));
            return Ok((rows.collect(), page.next));
        }
        Err(StoreError::Corrupt(_)) => {}
        Err(error) => return Err(error),
    }
    let from = after.map_or(0, |after| after.saturating_add(1));
    let to = from
        .saturating_add(u64::try_from(limit).unwrap_or(u64::MAX))
        .min(size);
    let mut rows = Vec::new();
    for index in from..to {
        let mut found = match store.filed(Filed::All, index.checked_sub(1), 1).await {
            Ok(page) => page.found,
            Err(StoreError::Corrupt(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let here = found.pop().filter(|entry| entry.index == index);
        rows.push(here.map_or(Row::Unreadable(index), |entry| Row::Entry(Box::new(entry))));
    }
    Ok((rows, to.checked_sub(1).filter(|_| from < to && to < size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::damaged::{damage, put};
    use crate::store::conformance::{Backend, Bench, filed};
    use crate::store::kv::keys;

    /// Positions page by page; what cannot be read is marked.
    async fn positions(bench: &Bench, of: Filed, limit: usize) -> Vec<(u64, bool)> {
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let (rows, more) = after(bench.store().as_ref(), of, next, (limit, 4)).await.unwrap();
            all.extend(rows.iter().map(|row| match row {
                Row::Entry(entry) => (entry.index, true),
                Row::Unreadable(index) => (*index, false),
            }));
            match more {
                Some(more) => next = Some(more),
                None => return all,
            }
        }
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_said_and_hides_no_other() {
        for whole in [true, false] {
            let mut bench = Bench::new(Backend::Memory).await;
            let (cases, _) = filed::two_cases(&mut bench).await;
            filed::integrate(&bench).await;
            let sound = positions(&bench, Filed::All, 2).await;
            assert_eq!(sound, [(0, true), (1, true), (2, true), (3, true)]);
            if whole {
                put(&bench, &keys::entry(3), None);
                damage(&bench, &keys::entry(1));
            } else {
                damage(&bench, &keys::entry(1));
                damage(&bench, &keys::entry(3));
            }
            for limit in [1, 2, 3, 9] {
                let all = positions(&bench, Filed::All, limit).await;
                assert_eq!(all[..3], [(0, true), (1, false), (2, true)], "by {limit}");
                assert_eq!(
                    all[3..],
                    [(3, false)],
                    "by {limit}: also one that is gone at the end"
                );
                let of_case = positions(&bench, Filed::Case(cases[0]), limit).await;
                assert!(of_case.contains(&(0, true)), "by {limit}: {of_case:?}");
                assert!(of_case.contains(&(3, false)), "by {limit}: {of_case:?}");
            }
        }
    }
}
