//! Who received what about a person of a case, when and on which ground: for the data protection officer who
//! answers a request of access. Metadata only; the broker has nothing else.

use schakel_policy::texts::Texts;
use schakel_proto::directory::Directory;
use schakel_proto::ids::{CaseRef, PacketId, PartId, SubjectRef};
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;
use serde_json::{Value, json};

use crate::decide::stored_head;
use crate::store::{PAGE_MAX_COUNT, PartState, Stage, Store, StoredPacket};
use words::Words;

pub(crate) use words::LANGUAGES;

mod text;

mod words;

/// How sure it is that the recipient has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The recipient acknowledged that it opened and stored it.
    Received,
    /// It was handed over; the recipient did not acknowledge it, or refused it. It may have it.
    Possibly,
}

impl Standing {
    /// Its name in JSON and CSV.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Possibly => "possibly_disclosed",
        }
    }

    /// Where a part stands as to disclosure; none: it never went out.
    fn of(state: &PartState) -> Option<Self> {
        match state.stage {
            Stage::Received => Some(Self::Received),
            _ if state.possibly_disclosed || state.stage == Stage::HandedOver => Some(Self::Possibly),
            _ => None,
        }
    }
}

/// One disclosure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Since when it stands so.
    pub at: Timestamp,
    /// Who sent it.
    pub sender: AgencyId,
    /// Who received it.
    pub recipient: AgencyId,
    /// Category code.
    pub category: String,
    /// Reason code of the decision; empty: the recipient refused it afterwards, its reason stands in `said`.
    pub reason: String,
    /// Legal basis code that the sender signed.
    pub basis: String,
    /// Purpose code that the sender signed.
    pub purpose: String,
    /// How sure.
    pub standing: Standing,
    /// What the recipient said against it, or what ended it; or empty.
    pub said: String,
    /// It comes from police or prosecutor: not shown to the person without permission of the source.
    pub shielded: bool,
    /// The packet.
    pub packet: PacketId,
    /// The part.
    pub part: PartId,
}

/// All disclosures of one case about one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disclosures {
    case: CaseRef,
    subject: SubjectRef,
    at: Timestamp,
    entries: Vec<Entry>,
    /// Parts about the person that went to nobody.
    kept_back: u64,
}

/// Goes through everything that is stored about a case.
///
/// # Errors
/// The store cannot be read.
pub async fn find(
    store: &dyn Store,
    (case, subject): (CaseRef, SubjectRef),
    at: Timestamp,
) -> Result<Disclosures, Refusal> {
    let mut found = Disclosures {
        case,
        subject,
        at,
        entries: Vec::new(),
        kept_back: 0,
    };
    let mut after = None;
    loop {
        let page = store.packets_of(case, after, PAGE_MAX_COUNT).await?;
        for packet in page.found {
            found.add(store, packet).await?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    found
        .entries
        .sort_by(|a, b| (a.at, &a.recipient, &a.category).cmp(&(b.at, &b.recipient, &b.category)));
    Ok(found)
}

impl Disclosures {
    async fn add(&mut self, store: &dyn Store, packet: PacketId) -> Result<(), Refusal> {
        let found = (store.packet(packet).await?, store.outcome(packet).await?);
        let (Some(packet), Some(outcome)) = found else {
            return Ok(());
        };
        let head = stored_head(&packet)?;
        let about = head.parts().iter().filter(|part| {
            let subjects = &part.descriptor().subjects;
            subjects.iter().any(|one| one.subject_ref == self.subject)
        });
        for part in about {
            let states = outcome.parts.iter().filter(|state| state.part == part.id());
            let manifest = head.manifest();
            let category = part.descriptor().category.as_str();
            let codes = (
                category,
                manifest.legal_basis.basis.as_str(),
                manifest.purpose.as_str(),
            );
            let entries: Vec<Entry> = states.filter_map(|state| entry(&packet, codes, state)).collect();
            self.kept_back += u64::from(entries.is_empty());
            self.entries.extend(entries);
        }
        Ok(())
    }

    /// The disclosures, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Parts about the person that went to nobody.
    pub fn kept_back(&self) -> u64 {
        self.kept_back
    }

    /// For programs, with the words of one language (`nl`, `fr`, `en`) beside the codes.
    pub fn to_json(&self, language: &str, (texts, directory): (&Texts, &Directory)) -> Value {
        let words = Words::of(language);
        let entry = |one: &Entry| {
            json!({
                "at_ms": one.at.millis(), "at": one.at.to_string(),
                "sender": one.sender.to_string(), "sender_name": name(directory, &one.sender),
                "recipient": one.recipient.to_string(), "recipient_name": name(directory, &one.recipient),
                "category": one.category, "category_text": words.category(texts, &one.category),
                "reason": one.reason, "reason_text": words.reason(texts, &one.reason),
                "basis": one.basis, "basis_text": words.basis(&one.basis),
                "purpose": one.purpose, "purpose_text": words.purpose(&one.purpose),
                "standing": one.standing.as_str(), "said": one.said, "shielded": one.shielded,
                "packet": one.packet.to_string(), "part": one.part.to_string(),
            })
        };
        json!({
            "case": self.case.to_string(), "subject": self.subject.to_string(), "language": words.language,
            "made": self.at.to_string(), "title": words.title, "about": words.about, "law": words.law,
            "disclosures": self.entries.iter().map(entry).collect::<Vec<_>>(),
            "kept_back": self.kept_back, "not_included": words.not_included,
            "text": text::page(self, words, (texts, directory)),
            "csv": text::csv(self, words, (texts, directory)),
        })
    }
}

fn entry(
    packet: &StoredPacket,
    (category, basis, purpose): (&str, &str, &str),
    state: &PartState,
) -> Option<Entry> {
    let standing = Standing::of(state)?;
    // What a recipient said afterwards, or what ended the packet, stands where the decision's reason was.
    let decided = matches!(state.stage, Stage::Received | Stage::HandedOver);
    let (reason, said) = if decided {
        (state.reason.clone(), String::new())
    } else {
        (
            String::new(),
            format!("{} {}", state.stage.as_str(), state.reason),
        )
    };
    Some(Entry {
        at: state.since,
        sender: packet.sender.clone(),
        recipient: state.recipient.clone(),
        category: category.to_owned(),
        reason,
        basis: basis.to_owned(),
        purpose: purpose.to_owned(),
        standing,
        said: said.trim_end().to_owned(),
        shielded: state.obligations.iter().any(|one| one == "police-origin-shield"),
        packet: packet.packet,
        part: state.part,
    })
}

/// The agency's name for people, in one line; its id if the directory no longer lists it.
fn name(directory: &Directory, agency: &AgencyId) -> String {
    let known = directory.agency(agency).map(|known| known.name().to_owned());
    let name = known.unwrap_or_else(|| agency.to_string());
    name.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
