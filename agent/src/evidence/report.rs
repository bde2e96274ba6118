//! What a check of evidence found: every check by its name, about what, and how it went.

use schakel_proto::directory::DirectoryError;
use schakel_proto::evidence::EvidenceError;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::CheckpointError;
use serde_json::{Value, json};

use super::words;
use crate::problem::{Problem, printable};

/// The checks, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// The file has the form of a pack.
    Container,
    /// Every member has the digest in the list.
    Files,
    /// The pack says what it is, as the manifest does.
    Description,
    /// The reader gave the authority's certificate.
    Authority,
    /// The authority signed a directory.
    Directory,
    /// A certificate is one of a directory.
    Certificate,
    /// The log's key signed a checkpoint.
    Checkpoint,
    /// Witnesses cosigned the newest checkpoint.
    Cosignatures,
    /// A leaf stands in the tree.
    Inclusion,
    /// A leaf commits to what the entry says.
    Commitment,
    /// An entry is about this packet.
    Entry,
    /// A decision is the one that an entry commits to.
    Decision,
    /// A signed thing is the one that an entry names.
    Attachment,
    /// The manifest parses.
    Manifest,
    /// The sender signed the manifest.
    Signature,
    /// A descriptor is one that the manifest commits to.
    Opening,
    /// A decision is about the parts and recipients of this packet.
    Decided,
    /// A content is what the sender committed to.
    Part,
    /// A ciphertext is what the sender committed to.
    Sealed,
    /// A recipient signed an acknowledgement.
    Acknowledgement,
    /// The sender signed a recall.
    Recall,
    /// A packet expired after its time.
    Expiry,
    /// The log accepted the packet.
    Submission,
    /// The log consigned the packet to who shows the pack.
    Consignment,
    /// Positions and times follow each other.
    Order,
    /// The newest checkpoint extends another.
    Consistency,
    /// A time stamp is there.
    Timestamp,
    /// Two checkpoints contradict each other.
    Contradiction,
    /// An agency signed what it saw of the log.
    Seen,
    /// What it saw and a checkpoint contradict each other.
    Dispute,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::Container,
        Self::Files,
        Self::Description,
        Self::Authority,
        Self::Directory,
        Self::Certificate,
        Self::Checkpoint,
        Self::Cosignatures,
        Self::Inclusion,
        Self::Commitment,
        Self::Entry,
        Self::Decision,
        Self::Attachment,
        Self::Manifest,
        Self::Signature,
        Self::Opening,
        Self::Decided,
        Self::Part,
        Self::Sealed,
        Self::Acknowledgement,
        Self::Recall,
        Self::Expiry,
        Self::Submission,
        Self::Consignment,
        Self::Order,
        Self::Consistency,
        Self::Timestamp,
        Self::Contradiction,
        Self::Seen,
        Self::Dispute,
    ];

    /// Its name, the same in every language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Files => "files",
            Self::Description => "description",
            Self::Authority => "authority",
            Self::Directory => "directory",
            Self::Certificate => "certificate",
            Self::Checkpoint => "checkpoint",
            Self::Cosignatures => "cosignatures",
            Self::Inclusion => "inclusion",
            Self::Commitment => "commitment",
            Self::Entry => "entry",
            Self::Decision => "decision",
            Self::Attachment => "attachment",
            Self::Manifest => "manifest",
            Self::Signature => "signature",
            Self::Opening => "opening",
            Self::Decided => "decided",
            Self::Part => "part",
            Self::Sealed => "sealed",
            Self::Acknowledgement => "acknowledgement",
            Self::Recall => "recall",
            Self::Expiry => "expiry",
            Self::Submission => "submission",
            Self::Consignment => "consignment",
            Self::Order => "order",
            Self::Consistency => "consistency",
            Self::Timestamp => "timestamp",
            Self::Contradiction => "contradiction",
            Self::Seen => "seen",
            Self::Dispute => "dispute",
        }
    }
}

/// Why a check failed, or could not be made: a stable code, and what is exact about this case, in English.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// Stable code.
    pub code: String,
    /// Numbers, names, or a library's own words; may be empty.
    pub detail: String,
}

/// A reason of our own.
pub fn why(code: &str) -> Why {
    Why {
        code: code.to_owned(),
        detail: String::new(),
    }
}

impl Why {
    /// The same, about this.
    #[must_use]
    pub fn of(mut self, detail: impl std::fmt::Display) -> Self {
        self.detail = printable(&detail.to_string(), 300);
        self
    }
}

impl Why {
    /// From an error of a packet.
    pub fn refusal(error: impl Into<Refusal>) -> Self {
        let refusal: Refusal = error.into();
        why(refusal.code).of(refusal.place)
    }

    /// From an error of the log's evidence.
    pub fn evidence(error: &EvidenceError) -> Self {
        let code = match error {
            EvidenceError::Malformed(_) => "EVIDENCE_MALFORMED",
            EvidenceError::Network => "EVIDENCE_NETWORK",
            EvidenceError::Commitment => "EVIDENCE_COMMITMENT",
            EvidenceError::Digest(_) => "EVIDENCE_DIGEST",
            EvidenceError::Checkpoint(CheckpointError::Frozen) => "LOG_FROZEN",
            EvidenceError::Checkpoint(_) => "EVIDENCE_CHECKPOINT",
            EvidenceError::Proof(_) => "EVIDENCE_PROOF",
        };
        why(code).of(error)
    }

    /// From an error of a directory.
    pub fn directory(error: DirectoryError) -> Self {
        let said = error.to_string();
        let refusal = Refusal::from(error);
        why(refusal.code).of(said)
    }

    /// From a problem of our own.
    pub fn problem(problem: &Problem) -> Self {
        why(&problem.code).of(&problem.sentence)
    }
}

/// How a check went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Ok,
    /// It does not.
    Failed(Why),
    /// It could not be made, or there is nothing to check.
    NotApplicable(Why),
}

/// One check with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// About which member, or entry.
    pub about: String,
    /// How it went.
    pub outcome: Outcome,
}

/// What the log says, where it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Position in the log.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// Name of the event.
    pub event: &'static str,
    /// The recipient that it is about.
    pub recipient: Option<AgencyId>,
    /// Reason code, and what else is known of it.
    pub more: String,
    /// It stands in the tree of a checkpoint that enough witnesses cosigned.
    pub witnessed: bool,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the evidence is about: a packet, or a contradiction.
    pub about: String,
    /// Every check.
    pub findings: Vec<Finding>,
    /// What the log says, in its order.
    pub told: Vec<Told>,
    /// The keys that may sign checkpoints, as C2SP verifier keys, for other tools.
    pub log_keys: Vec<String>,
}

impl Report {
    /// Notes a check; whether it holds.
    pub fn note(&mut self, check: Check, about: impl Into<String>, outcome: Result<(), Why>) -> bool {
        let holds = outcome.is_ok();
        let outcome = outcome.map_or_else(Outcome::Failed, |()| Outcome::Ok);
        let about = printable(&about.into(), 200);
        self.findings.push(Finding {
            check,
            about,
            outcome,
        });
        holds
    }

    /// Notes a check that could not be made.
    pub fn skip(&mut self, check: Check, about: impl Into<String>, why: Why) {
        let about = printable(&about.into(), 200);
        let outcome = Outcome::NotApplicable(why);
        self.findings.push(Finding {
            check,
            about,
            outcome,
        });
    }

    /// Notes a check that lacks what it needs: a failure, unless a failed check of the kind `told_by` says so already.
    /// What is not there is never good: who makes a pack chooses what is in it.
    pub(super) fn lacks(&mut self, check: Check, about: impl Into<String>, why: Why, told_by: Check) {
        if self.has_failed(told_by) {
            self.skip(check, about, why);
        } else {
            self.note(check, about, Err(why));
        }
    }

    /// Whether no check failed.
    pub fn is_good(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|f| matches!(f.outcome, Outcome::Failed(_)))
    }

    /// Whether a check of this kind failed.
    pub(super) fn has_failed(&self, check: Check) -> bool {
        self.failed().any(|finding| finding.check == check)
    }

    /// For a person, in a language.
    pub fn to_text(&self, language: &str) -> String {
        let mut lines = vec![self.about.clone()];
        for told in &self.told {
            let recipient = told.recipient.as_ref().map_or("-", AgencyId::as_str);
            let (index, at, event, more) = (told.index, told.at, told.event, &told.more);
            let standing = schakel_proto::words::standing(told.witnessed, language);
            let line = format!("  {at}  {index:>6}  {event}  {recipient}  [{standing}]  {more}");
            lines.push(line.trim_end().to_owned());
        }
        lines.extend(self.log_keys.iter().map(|key| format!("  {key}")));
        let width = words::MARKS_WIDTH;
        for finding in &self.findings {
            let (mark, sentence) = words::line(finding, language);
            let (check, about) = (finding.check.as_str(), &finding.about);
            lines.push(format!(
                "{mark:width$}  {check:15}  {about}\n{:width$}  {sentence}",
                ""
            ));
        }
        let (failed, skipped) = (
            self.failed().count(),
            self.count(|o| matches!(o, Outcome::NotApplicable(_))),
        );
        lines.push(words::verdict(
            self.count(|o| *o == Outcome::Ok),
            failed,
            skipped,
            language,
        ));
        lines.join("\n")
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.findings.iter().filter(|f| which(&f.outcome)).count()
    }

    /// For a program.
    pub fn to_json(&self, language: &str) -> Value {
        let finding = |finding: &Finding| {
            let (result, why) = match &finding.outcome {
                Outcome::Ok => ("ok", None),
                Outcome::Failed(why) => ("failed", Some(why)),
                Outcome::NotApplicable(why) => ("not_applicable", Some(why)),
            };
            json!({
                "check": finding.check.as_str(), "about": finding.about, "result": result,
                "code": why.map(|why| &why.code), "detail": why.map(|why| &why.detail),
                "sentence": words::line(finding, language).1,
            })
        };
        let told = |told: &Told| {
            json!({
                "index": told.index, "at_ms": told.at.millis(), "event": told.event,
                "recipient": told.recipient, "more": told.more, "witnessed": told.witnessed,
            })
        };
        json!({
            "about": self.about,
            "result": if self.is_good() { "ok" } else { "failed" },
            "checks": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "log_keys": self.log_keys,
            "told": self.told.iter().map(told).collect::<Vec<_>>(),
        })
    }
}
