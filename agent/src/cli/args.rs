//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use schakel_proto::ids::{CaseRef, PacketId, PartId, StatementId};
use schakel_proto::party::{AgencyId, Code};
use schakel_proto::words::LANGUAGES;

use crate::request::PartRequest;
use crate::statements::StatementRequest;

/// An agency's side of Schakel: the daemon, and the commands that talk to it.
#[derive(Debug, Parser)]
#[command(name = "schakel-agent", version, max_term_width = 100)]
pub struct Cli {
    /// The settings file (agent.toml); says which daemon is meant.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    pub json: bool,
    /// Language in which it is told what went wrong.
    #[arg(long, global = true, value_name = "LANGUAGE", default_value = "en", value_parser = LANGUAGES)]
    pub lang: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    Run {
        /// Accept a network minted by certs-dev, and only such a one.
        #[arg(long)]
        development: bool,
        /// Follow simulated time: this file says by how many milliseconds the clock is ahead.
        #[arg(long, value_name = "FILE", requires = "development")]
        simulated_time: Option<PathBuf>,
        /// Check settings, keys and folders, then end.
        #[arg(long)]
        check_config: bool,
        /// Log as JSON.
        #[arg(long)]
        log_json: bool,
    },
    /// Seal a packet and send it.
    #[command(after_help = SEND_EXAMPLE)]
    Send(Box<Send>),
    /// Sign a statement and hand it in.
    #[command(subcommand)]
    Statement(Box<StatementRequest>),
    /// What was received.
    Inbox {
        /// List it, write a part out, or look into the quarantine.
        #[command(subcommand)]
        command: Option<Inbox>,
    },
    /// What became of what was sent; without a packet: everything, and how the agent stands.
    Status {
        /// One packet.
        packet: Option<PacketId>,
    },
    /// What the recipients have, or may have, of what was sent.
    Disclosed {
        /// Only what would not be handed over any more: consent withdrawn, roster left, case closed, measure ended …
        #[arg(long)]
        ended: bool,
    },
    /// Take back what is not handed over yet.
    Recall {
        /// The packet.
        packet: PacketId,
        /// sent_in_error, superseded or other.
        #[arg(long, default_value = "sent_in_error")]
        reason: Code,
    },
    /// The facts of a case, as far as they are shown to this agency.
    Facts {
        /// The case.
        case: CaseRef,
    },
    /// Evidence of what became of a packet: to a file, and checked from one.
    Evidence {
        /// Write it, or check it.
        #[command(subcommand)]
        command: Evidence,
    },
    /// Make a new random reference; keep it beside the case or person in your own system.
    Ref {
        /// Of what.
        kind: RefKind,
    },
}

/// Evidence.
#[derive(Debug, Subcommand)]
pub enum Evidence {
    /// Write everything that proves what became of a packet to one new file.
    Export {
        /// The packet, sent or received.
        packet: PacketId,
        /// The new file; PACKET.tar in the working directory unless given.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Leave contents and ciphertexts out.
        #[arg(long)]
        without_content: bool,
        /// Ask the broker for nothing: what is here must do.
        #[arg(long)]
        offline: bool,
        /// Put in this part's content although it must not be sent on, or shown; may be given more than once.
        #[arg(long, value_name = "PART", conflicts_with = "without_content")]
        with_bound: Vec<PartId>,
    },
    /// Check such a file, or a contradiction or dispute that was kept, without agent, broker or network.
    Verify {
        /// The file, or a folder.
        file: PathBuf,
        /// Certificates of the network's authority; those of --config unless given.
        #[arg(long, value_name = "FILE")]
        authority: Option<PathBuf>,
        /// How many of them must have signed a directory.
        #[arg(long, value_name = "COUNT", default_value_t = 1, requires = "authority")]
        authority_threshold: usize,
        /// The newest directory that you know: it says where shards of the log ended; that of --config unless given.
        #[arg(long, value_name = "FILE")]
        directory: Option<PathBuf>,
    },
}

const SEND_EXAMPLE: &str = "Example:
  schakel-agent send --config agent.toml --case case-… --to parket-antwerpen --purpose prosecution \\
    --basis legal_duty --urgency urgent \\
    --part 'category=facts_summary,file=samenvatting.pdf,subject=victim:adult:subject-…,\\
secrecy=investigation,media=application/pdf,title=Samenvatting' --wait";

/// What a reference is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RefKind {
    /// A case.
    Case,
    /// A person within one case.
    Subject,
}

/// How long `send` waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Until the broker has the packet, or refuses it.
    Accepted,
    /// Until every part is decided for every recipient; what was handed over is acknowledged.
    Decided,
    /// Until every outcome is final and proved.
    Settled,
}

/// A packet.
#[derive(Debug, Args)]
pub struct Send {
    /// The case.
    #[arg(long)]
    pub case: CaseRef,
    /// Recipients.
    #[arg(long, required = true, value_delimiter = ',', value_name = "AGENCY")]
    pub to: Vec<AgencyId>,
    /// Purpose code.
    #[arg(long)]
    pub purpose: Code,
    /// Legal basis code.
    #[arg(long)]
    pub basis: Code,
    /// routine, urgent or immediate.
    #[arg(long, default_value = "routine")]
    pub urgency: Code,
    /// Life of the packet, in hours; 336 (14 days) unless given, at most 720.
    #[arg(long, value_name = "HOURS")]
    pub expires_hours: Option<u32>,
    /// The packet that this one answers.
    #[arg(long, value_name = "PACKET")]
    pub in_reply_to: Option<PacketId>,
    /// The consultation that the basis refers to.
    #[arg(long, value_name = "STATEMENT")]
    pub consultation: Option<StatementId>,
    /// The mandate that the basis refers to.
    #[arg(long, value_name = "STATEMENT")]
    pub mandate: Option<StatementId>,
    /// The measure that the basis refers to.
    #[arg(long, value_name = "STATEMENT")]
    pub measure: Option<StatementId>,
    /// A part: category=…,file=…[,subject=ROLE:AGE:REF]…[,secrecy=…][,media=…][,title=…][,name=…][,to=…]…
    #[arg(long = "part", required = true, value_parser = super::parse::part, value_name = "FIELDS")]
    pub parts: Vec<PartRequest>,
    /// Wait for the outcome.
    #[arg(long, num_args = 0..=1, default_missing_value = "decided", value_name = "UNTIL")]
    pub wait: Option<Wait>,
    /// Wait no longer than this, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub wait_seconds: u64,
}

/// The inbox.
#[derive(Debug, Subcommand)]
pub enum Inbox {
    /// List what was received.
    List,
    /// Open a part and write it to a new file.
    Open {
        /// The packet.
        packet: PacketId,
        /// The part.
        part: PartId,
        /// The new file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Say that an obligation was carried out; its sender gets the evidence.
    Fulfilled {
        /// The packet.
        packet: PacketId,
        /// The part.
        part: PartId,
        /// The obligation, as the list shows it.
        obligation: String,
    },
    /// Say that a part is not what its label says; its sender gets that, signed and logged.
    Mislabelled {
        /// The packet.
        packet: PacketId,
        /// The part.
        part: PartId,
    },
    /// List what was not accepted, and why.
    Quarantine,
}
