//! What is in force is what the log says came into force last: a ceiling that was put back is found, and so is one that
//! is gone.

use schakel_proto::evidence::{Body, Event};
use schakel_proto::refusal::Refusal;

use super::signatures::{Activated, activated};
use super::{PAGE, ROUNDS_MAX_COUNT, Walk};
use crate::store::{Ceiling, CeilingOf, Filed, FiledEntry, StoreError};

/// Looks at both. The walk is at the end of the log: what is in force now is what it saw last, or came later.
pub(super) async fn check(walk: &mut Walk<'_>) -> Result<(), Refusal> {
    let ceilings = match walk.store().ceilings().await {
        Ok(ceilings) => ceilings,
        // Said by the audit of its row.
        Err(StoreError::Corrupt(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for (of, ceiling, place) in [
        (CeilingOf::Directory, ceilings.directory, "the directory in force"),
        (CeilingOf::Bundle, ceilings.bundle, "the policy bundle in force"),
    ] {
        let last = walk.signatures.last(of);
        let what = match ceiling {
            Some(ceiling) if Some(ceiling) == last => continue,
            Some(ceiling) if last.is_none_or(|last| last.version < ceiling.version) => {
                if later(walk, of, ceiling).await? {
                    continue;
                }
                "came into force without an entry"
            }
            Some(_) => "is not the one that came into force last",
            None if last.is_none() => continue,
            None => "is not on record, and one came into force",
        };
        walk.verdict.wrong(None, place, what);
    }
    Ok(())
}

/// Whether an entry behind the walk says that this came into force. Pending ones first: what leaves them meanwhile is
/// in the tree after.
async fn later(walk: &Walk<'_>, of: CeilingOf, ceiling: Ceiling) -> Result<bool, Refusal> {
    for (filed, mut after) in [(Filed::Pending, None), (Filed::All, walk.at.checked_sub(1))] {
        for _ in 0..ROUNDS_MAX_COUNT {
            let page = match walk.store().filed(filed, after, PAGE).await {
                Ok(page) => page,
                // Said where the entries were walked.
                Err(StoreError::Corrupt(_)) => break,
                Err(error) => return Err(error.into()),
            };
            if page.found.iter().any(|entry| says(walk, entry, (of, ceiling))) {
                return Ok(true);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    Ok(false)
}

fn says(walk: &Walk<'_>, entry: &FiledEntry, (of, ceiling): (CeilingOf, Ceiling)) -> bool {
    let event = match of {
        CeilingOf::Directory => Event::DirectoryActivated,
        CeilingOf::Bundle => Event::BundleActivated,
    };
    let body = Body::parse(&entry.body, &walk.desk.network);
    let body = body.ok().filter(|body| body.event == event);
    let said: Option<Activated> = body.and_then(|body| activated(entry, &body));
    said.is_some_and(|said| said.ceiling == ceiling)
}
