//! Facts: statements come in, are judged by the policy (action `state`), numbered, chained and logged; and
//! are shown to those whom the policy lets see them (action `inspect`).

use std::sync::Arc;

use schakel_policy::asking::{self, BrokenGlass};
use schakel_proto::evidence::Event;
use schakel_proto::ids::CaseRef;
use schakel_proto::limits;
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::statement::{
    FactChain, ParsedStatement, Statement, StatementBody, VerifiedStatement, fact_head,
};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::activate;
use crate::inspect::{Audience, Reader, audience};
use crate::log::entry::EntryDraft;
use crate::redact::{Code, safe};
use crate::roles::Caller;
use crate::state::State;
use crate::store::{self, AcceptedStatement, NewStatement, StatementAdded, Store};

/// How often a statement is judged anew because the case's facts changed meanwhile.
const JUDGED_MAX_COUNT: usize = 8;

/// The facts of a case as they are now, their chain checked.
///
/// # Errors
/// The store cannot be read, or what it holds does not hold together.
pub async fn chain(state: &State, case: CaseRef) -> Result<FactChain, Refusal> {
    stored(state.store.as_ref(), case).await
}

/// The same, out of a store.
///
/// # Errors
/// As [`chain`].
pub async fn stored(store: &dyn Store, case: CaseRef) -> Result<FactChain, Refusal> {
    let facts = store.facts(case).await?;
    Ok(FactChain::check(&to_wire(case, facts))?)
}

/// All facts of a case as they go to whoever may see them all.
pub fn to_wire(case: CaseRef, facts: store::Facts) -> wire::CaseFacts {
    wire::CaseFacts {
        case_ref: case.to_vec().into(),
        entries: facts.entries,
    }
}

/// Takes a statement, if its agency may make it as the case stands.
///
/// # Errors
/// Malformed, forged, not the caller's, not permitted, or not possible as the case stands.
pub async fn submit(
    state: &Arc<State>,
    caller: &Caller,
    request: wire::SubmitStatementRequest,
) -> Result<wire::SubmitStatementAnswer, Refusal> {
    let _place = state.submissions.enter(caller.agency(), state.clock.now())?;
    let signed = request.statement.ok_or_else(|| {
        Refusal::new(
            Fault::Invalid,
            "FIELD_MISSING",
            "There is no statement",
            "Send one.",
        )
        .at("statement")
    })?;
    let now = state.clock.now();
    let mut caller = caller.clone();
    let mut statement = verified(state, &caller, &signed, now)?;
    for _ in 0..JUDGED_MAX_COUNT {
        let (added, audience) = attempt(state, &caller, &statement, now).await?;
        match added {
            StatementAdded::New { answer, reconsider } => {
                let kind = statement.statement().body().kind();
                tracing::info!(agency = safe(caller.agency()), kind, "statement accepted");
                reconsider.iter().for_each(|agency| state.bells.ring(agency));
                tell_of_change(state, statement.statement().case_ref(), &audience, now).await;
                return Ok(answer_to(answer));
            }
            StatementAdded::Repeated(answer) => return Ok(answer_to(answer)),
            StatementAdded::Conflict => {
                // If it is not the facts: another directory is in force, and what it says of the caller counts.
                activate::catch_up(state).await?;
                caller = caller.again(state.directories.current())?;
                statement = verified(state, &caller, &signed, now)?;
            }
            StatementAdded::ConflictingDigest => {
                let sentence = "This statement id was used for another statement";
                let remedy = "Make the statement anew, with a new id.";
                return Err(Refusal::new(
                    Fault::Conflict,
                    "STATEMENT_ID_REUSED",
                    sentence,
                    remedy,
                ));
            }
        }
    }
    let sentence = "The case's facts keep changing";
    Err(Refusal::new(Fault::Unavailable, "FACTS_BUSY", sentence, "Try again.").retry_after(1_000))
}

/// Checks that it is the caller's, under the directory that the caller is known by.
fn verified(
    state: &State,
    caller: &Caller,
    signed: &wire::Signed,
    now: Timestamp,
) -> Result<VerifiedStatement, Refusal> {
    let parsed = ParsedStatement::parse(signed)?;
    if parsed.statement().agency() != caller.agency() {
        let sentence = "The statement names another agency than the connection belongs to";
        let remedy = "Only the agency itself hands in its statements.";
        return Err(Refusal::new(
            Fault::Forbidden,
            "STATEMENT_NOT_CALLER",
            sentence,
            remedy,
        ));
    }
    let _valid = state.directories.valid(now)?;
    let (directory, network) = (caller.directory(), &state.network);
    Ok(VerifiedStatement::verify(parsed, directory, network, now)?)
}

/// Judges and commits once, on the facts as they are now.
async fn attempt(
    state: &State,
    caller: &Caller,
    statement: &VerifiedStatement,
    now: Timestamp,
) -> Result<(StatementAdded, Audience), Refusal> {
    let (fields, judged_by) = (statement.statement(), state.rules.current().version());
    let mut facts = to_wire(fields.case_ref(), state.store.facts(fields.case_ref()).await?);
    let chain = FactChain::check(&facts)?;
    let repeated = chain.statements().any(|known| known.id() == fields.id());
    if !repeated {
        permitted(state, caller, statement, (&chain, now)).await?;
    }
    let draft = EntryDraft {
        case: Some(fields.case_ref()),
        sender: Some(fields.agency().clone()),
        reason: fields.body().kind().to_owned(),
        attachment: Some(statement.signed().clone()),
        ..EntryDraft::new(Event::StatementAccepted, now)
    };
    let head = fact_head(chain.head(), statement.signed());
    facts.entries.push(wire::FactEntry {
        number: chain.count() + 1,
        statement: Some(statement.signed().clone()),
        head: head.to_vec().into(),
        accepted_ms: now.millis(),
        ..wire::FactEntry::default()
    });
    let audience = if repeated {
        Audience::default()
    } else {
        audience(state, caller, fields, (&chain, &FactChain::check(&facts)?))
    };
    let draft = draft.concerning(caller.agency(), false);
    let tell = |draft: EntryDraft, agency| draft.concerning(agency, false);
    let entry = state.entry(audience.shown.iter().fold(draft, tell)).await?;
    let new = NewStatement {
        statement: fields.id(),
        case: fields.case_ref(),
        agency: fields.agency().clone(),
        signed: statement.signed().clone(),
        expected_head: chain.head(),
        expected_count: chain.count(),
        head,
        roster_version: fields
            .body()
            .roster()
            .map_or(chain.roster_version(), |(version, _)| version),
        bundle_version: judged_by,
        directory_version: caller.directory().version(),
        reviews: match fields.body() {
            StatementBody::BreakGlassReviewed { packet, .. } => Some(*packet),
            _ => None,
        },
        accepted_at: now,
        entry,
    };
    Ok((state.store.add_statement(new).await?, audience))
}

/// Whether the policy lets the caller make the statement (action `state`), and it continues the case.
async fn permitted(
    state: &State,
    caller: &Caller,
    statement: &VerifiedStatement,
    (chain, now): (&FactChain, Timestamp),
) -> Result<(), Refusal> {
    let fields = statement.statement();
    // To whom the case is not shown, its roster version and size are none of its business either.
    let coordinates = coordinates(caller);
    if chain.facts().is_empty() || Reader::of(caller).may_see(state, chain) {
        continues(chain, statement, coordinates)?;
    }
    let broken = broken_glass(state, fields).await?;
    let question = asking::state_question(fields, chain, caller.directory(), (broken.as_ref(), now));
    let permission = state.rules.current().engine().state(&question);
    if !permission.alarms().is_empty() {
        tracing::error!(
            agency = safe(caller.agency()),
            "alarm: the policy engine reported defects"
        );
    }
    if !permission.granted() {
        let sentence = format!(
            "The rules do not let this agency make this statement ({})",
            permission.reason()
        );
        let remedy = "The statement must be made by an agency that is entitled to it.";
        return Err(Refusal::new(Fault::Forbidden, "STATE_REFUSED", sentence, remedy));
    }
    continues(chain, statement, coordinates)
}

/// Tells those who saw the case before, or see it now, and are not shown the statement, that its facts changed:
/// what they hold or sent may have lost its ground. It says nothing else. Should it fail they look by themselves,
/// less soon.
async fn tell_of_change(state: &State, case: CaseRef, audience: &Audience, at: Timestamp) {
    if audience.others.is_empty() {
        return;
    }
    let draft = EntryDraft {
        case: Some(case),
        ..EntryDraft::new(Event::FactsChanged, at)
    };
    let tell = |draft: EntryDraft, agency| draft.concerning(agency, false);
    let told = match state.entry(audience.others.iter().fold(draft, tell)).await {
        Ok(entry) => state.store.record(entry).await.map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = told {
        tracing::warn!(
            code = safe(Code(&refusal)),
            "a change of facts is not told to all"
        );
    }
}

/// Whether the caller is a justice authority or may coordinate cases, and so states for others too.
fn coordinates(caller: &Caller) -> bool {
    let role = caller
        .directory()
        .agency(caller.agency())
        .map(|agency| agency.role().as_str().to_owned());
    role.is_some_and(|role| ["prosecutor", "family_court", "fjc", "case_director"].contains(&role.as_str()))
}

/// Whose emergency a review is about; none: it reviews nothing, or a packet that is not of this case.
async fn broken_glass(state: &State, statement: &Statement) -> Result<Option<BrokenGlass>, Refusal> {
    let StatementBody::BreakGlassReviewed { packet, .. } = statement.body() else {
        return Ok(None);
    };
    let Some(stored) = state.store.packet(*packet).await? else {
        return Ok(None);
    };
    if stored.case != statement.case_ref() {
        return Ok(None);
    }
    let manifest = ManifestFields::parse(&stored.manifest.bytes).map_err(|_| {
        let remedy = "The operator must restore the store from a copy.";
        Refusal::new(
            Fault::Internal,
            "CORRUPT",
            "a stored manifest no longer parses",
            remedy,
        )
    })?;
    Ok(manifest.break_glass.map(|record| BrokenGlass {
        by: stored.sender,
        reviewer: record.reviewer,
    }))
}

/// Whether there is room for the statement, and it continues the case.
fn continues(chain: &FactChain, statement: &VerifiedStatement, coordinates: bool) -> Result<(), Refusal> {
    let fields = statement.statement();
    let (mut all, mut own) = (Taken::default(), Taken::default());
    for fact in chain.facts() {
        let bytes = fact.signed().map_or(0, weight);
        all.add(bytes);
        if fact
            .statement()
            .is_some_and(|known| known.agency() == fields.agency())
        {
            own.add(bytes);
        }
    }
    let bytes = weight(statement.signed());
    all.add(bytes);
    own.add(bytes);
    has_room(all, own, fields.body().only_narrows(), coordinates)?;
    fits(chain, statement)
}

/// How many statements, and how many bytes.
#[derive(Clone, Copy, Default)]
struct Taken {
    count: usize,
    bytes: usize,
}

impl Taken {
    fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
    }

    /// Whether it is within this part of what a case may have.
    fn within(self, (share, of): (usize, usize)) -> bool {
        self.count <= limits::FACTS_MAX_COUNT * share / of
            && self.bytes <= limits::FACTS_MAX_BYTES * share / of
    }
}

/// Bytes that one statement takes in an answer with all facts: itself, its signature, head, number and time.
fn weight(signed: &wire::Signed) -> usize {
    const OVERHEAD_BYTES: usize = 96;
    signed.bytes.len() + signed.signature.len() + OVERHEAD_BYTES
}

/// Whether there is room in the case. A quarter is kept for what ends, withdraws or changes the roster, so that
/// nobody can fill a case to keep it open; and who does not coordinate it has an eighth for itself.
fn has_room(all: Taken, own: Taken, only_narrows: bool, coordinates: bool) -> Result<(), Refusal> {
    let room = if only_narrows {
        all.within((1, 1))
    } else {
        all.within((3, 4)) && (coordinates || own.within((1, 8)))
    };
    if room {
        return Ok(());
    }
    Err(Refusal::new(
        Fault::Exhausted,
        "FACTS_FULL",
        "This case has as many statements of this kind as one case, or one agency in it, can have",
        "Withdrawing, ending, closing and changing the roster still go; for more, open a new case with a new reference.",
    ))
}

/// Whether the statement continues the case: opened once and first, roster versions without gap.
fn fits(chain: &FactChain, statement: &VerifiedStatement) -> Result<(), Refusal> {
    let refuse =
        |code, sentence: String, remedy| Err(Refusal::new(Fault::Precondition, code, sentence, remedy));
    let next = chain.roster_version() + 1;
    match statement.statement().body().roster() {
        Some((1, _)) if next > 1 => {
            let remedy = "Change its roster, or open another case with a new reference.";
            refuse(
                "CASE_ALREADY_OPEN",
                "This case was opened before".to_owned(),
                remedy,
            )
        }
        Some((version, _)) if version > 1 && next == 1 => {
            let sentence = format!("Roster version {version} of a case that nobody opened");
            refuse("CASE_NOT_OPEN", sentence, "Open the case first.")
        }
        Some((version, _)) if version != next => {
            let sentence = format!("The next roster version is {next}, the statement says {version}");
            refuse(
                "STALE_ROSTER",
                sentence,
                "Fetch the case's facts and make the statement anew.",
            )
        }
        _ => match chain.out_of_place(statement.statement()) {
            None => Ok(()),
            Some(what) => refuse(
                "STATEMENT_OUT_OF_PLACE",
                format!("The statement {what}"),
                "Fetch the case's facts and make the statement anew.",
            ),
        },
    }
}

fn answer_to(accepted: AcceptedStatement) -> wire::SubmitStatementAnswer {
    wire::SubmitStatementAnswer {
        number: accepted.number,
        head: accepted.head.to_vec().into(),
        leaf_hash: accepted.leaf_hash.to_vec().into(),
        roster_version: accepted.roster_version,
    }
}

/// Shows the facts of a case to an agency that the policy lets see them. To all others the case does not
/// exist.
///
/// # Errors
/// Unknown case, or none of the caller's business: the same answer.
pub async fn show(
    state: &State,
    caller: &Caller,
    request: &wire::GetFactsRequest,
) -> Result<wire::GetFactsAnswer, Refusal> {
    let case = CaseRef::try_from(request.case_ref.as_ref()).map_err(|_| {
        let sentence = "The case reference does not have 16 bytes";
        Refusal::new(
            Fault::Invalid,
            "FIELD_INVALID",
            sentence,
            "Send a case reference.",
        )
        .at("case_ref")
    })?;
    let facts = state.store.facts(case).await?;
    let facts = to_wire(case, facts);
    let chain = FactChain::check(&facts)?;
    let reader = Reader::of(caller);
    if !reader.may_see(state, &chain) {
        let sentence = "There is no such case that this agency may see";
        return Err(Refusal::new(
            Fault::NotFound,
            "CASE_UNKNOWN",
            sentence,
            "Check the case reference.",
        ));
    }
    Ok(wire::GetFactsAnswer {
        facts: Some(reader.shown(state, &chain, facts)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_a_case_stay_within_one_answer() {
        let of = |count, bytes| Taken { count, bytes };
        let full = of(limits::FACTS_MAX_COUNT, limits::FACTS_MAX_BYTES);
        let few = of(1, 1);
        assert!(
            has_room(full, full, true, false).is_ok(),
            "a withdrawal always finds room"
        );
        assert!(has_room(of(limits::FACTS_MAX_COUNT + 1, 0), few, true, true).is_err());
        assert!(has_room(of(1, limits::FACTS_MAX_BYTES + 1), few, true, true).is_err());
        let most = of(limits::FACTS_MAX_COUNT * 3 / 4, 0);
        assert!(has_room(most, few, false, false).is_ok());
        assert_eq!(
            has_room(of(most.count + 1, 0), few, false, true)
                .unwrap_err()
                .code,
            "FACTS_FULL"
        );
        let share = of(limits::FACTS_MAX_COUNT / 8, limits::FACTS_MAX_BYTES / 8);
        assert!(has_room(share, share, false, false).is_ok());
        let more = of(share.count + 1, 0);
        assert!(
            has_room(more, more, false, false).is_err(),
            "nobody fills a case alone"
        );
        assert!(has_room(more, more, false, true).is_ok());
        let signed = wire::Signed {
            bytes: vec![0; 1000].into(),
            signature: vec![0; 500].into(),
        };
        let entry = wire::FactEntry {
            number: u64::MAX,
            head: vec![0; 32].into(),
            accepted_ms: i64::MAX,
            statement: Some(signed.clone()),
            ..wire::FactEntry::default()
        };
        assert!(
            prost::Message::encoded_len(&entry) + 8 <= weight(&signed),
            "the weight is an upper bound"
        );
    }
}
