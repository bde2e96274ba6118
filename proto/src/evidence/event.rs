//! The kinds of log entries, and their names on the wire.

/// What an entry is about: events of ETSI EN 319 522, and our own with the prefix `schakel:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// A packet was accepted.
    SubmissionAcceptance,
    /// A submission was refused.
    SubmissionRejection,
    /// Parts were made available to a recipient.
    ContentConsignment,
    /// A recipient's agent acknowledged parts as received (or later as taken).
    ContentHandover,
    /// A recipient's agent refused parts.
    ContentHandoverFailure,
    /// Decided: nothing of the packet goes to a recipient; only the sender is told.
    ContentWithheld,
    /// The sender took back what was not handed over yet.
    Recalled,
    /// The packet's life ended before everything was handed over.
    Expired,
    /// A recipient's agent carried out an obligation.
    ObligationFulfilled,
    /// A statement became a fact of its case.
    StatementAccepted,
    /// The facts of a case changed; for those who are not shown how.
    FactsChanged,
    /// A statement was refused.
    StatementRejected,
    /// A policy bundle came into force.
    BundleActivated,
    /// A directory came into force.
    DirectoryActivated,
    /// The broker's operator looked something up.
    AdminAct,
    /// The shard ends with this entry.
    ShardFrozen,
    /// A shard continues a frozen one.
    ShardOpened,
    /// The erasure key of a case was destroyed: what its entries said can no longer be shown or proved.
    KeyDestroyed,
    /// Records went from the broker because their retention had ended, or their case was erased.
    RecordsErased,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::SubmissionAcceptance,
        Self::SubmissionRejection,
        Self::ContentConsignment,
        Self::ContentHandover,
        Self::ContentHandoverFailure,
        Self::ContentWithheld,
        Self::Recalled,
        Self::Expired,
        Self::ObligationFulfilled,
        Self::StatementAccepted,
        Self::FactsChanged,
        Self::StatementRejected,
        Self::BundleActivated,
        Self::DirectoryActivated,
        Self::AdminAct,
        Self::ShardFrozen,
        Self::ShardOpened,
        Self::KeyDestroyed,
        Self::RecordsErased,
    ];

    /// The name in an entry's body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SubmissionAcceptance => "SubmissionAcceptance",
            Self::SubmissionRejection => "SubmissionRejection",
            Self::ContentConsignment => "ContentConsignment",
            Self::ContentHandover => "ContentHandover",
            Self::ContentHandoverFailure => "ContentHandoverFailure",
            Self::ContentWithheld => "schakel:ContentWithheld",
            Self::Recalled => "schakel:Recalled",
            Self::Expired => "schakel:Expired",
            Self::ObligationFulfilled => "schakel:ObligationFulfilled",
            Self::StatementAccepted => "schakel:StatementAccepted",
            Self::FactsChanged => "schakel:FactsChanged",
            Self::StatementRejected => "schakel:StatementRejected",
            Self::BundleActivated => "schakel:BundleActivated",
            Self::DirectoryActivated => "schakel:DirectoryActivated",
            Self::AdminAct => "schakel:AdminAct",
            Self::ShardFrozen => "schakel:ShardFrozen",
            Self::ShardOpened => "schakel:ShardOpened",
            Self::KeyDestroyed => "schakel:KeyDestroyed",
            Self::RecordsErased => "schakel:RecordsErased",
        }
    }

    /// From the name in an entry's body.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.as_str() == name)
    }
}
