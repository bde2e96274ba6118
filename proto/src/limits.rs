//! Every bound that the parties of a network share, unit last in the name.
//! Configuration may lower them, never raise them.

/// Longest manifest.
pub const MANIFEST_MAX_BYTES: usize = 64 * 1024;
/// Longest descriptor (recipient or part).
pub const DESCRIPTOR_MAX_BYTES: usize = 16 * 1024;
/// Longest detached signature; ML-DSA-65+Ed25519 takes 3,464 bytes.
pub const SIGNATURE_MAX_BYTES: usize = 8 * 1024;
/// Longest session-key packet; ML-KEM-768+X25519 takes about 1,250 bytes.
pub const KEY_PACKET_MAX_BYTES: usize = 4 * 1024;
/// Most parts in a packet.
pub const PARTS_MAX_COUNT: usize = 64;
/// Most recipients of a packet.
pub const RECIPIENTS_MAX_COUNT: usize = 64;
/// Most subjects of a part.
pub const SUBJECTS_MAX_COUNT: usize = 32;
/// Most endangered roles in a break-glass record.
pub const ENDANGERED_MAX_COUNT: usize = 8;
/// Digests in each of the manifest's two lists, always: `PARTS_MAX_COUNT` and `RECIPIENTS_MAX_COUNT`
/// padded to one size, so that the length says nothing (docs/decisions/0002).
pub const DIGESTS_COUNT: usize = 64;
/// Fewest key-packet digests of a sealing; padded to the next power of two from here.
pub const KEY_PACKET_DIGESTS_MIN_COUNT: usize = 4;
/// Longest content of a part.
pub const PART_MAX_BYTES: u64 = 1 << 30;
/// Longest chunk on a stream.
pub const CHUNK_MAX_BYTES: usize = 256 * 1024;
/// Longest gRPC message: a head with all its openings, or a hand-over.
pub const MESSAGE_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Longest sealed header.
pub const SEALED_HEADER_MAX_BYTES: usize = 4 * 1024;
/// Longest file name, media type or title in the sealed header, in bytes of UTF-8.
pub const SEALED_NAME_MAX_BYTES: usize = 255;
/// Largest value in the store; longer ones become files.
pub const STORE_VALUE_MAX_BYTES: usize = 64 * 1024 - 1;
/// Longest directory.
pub const DIRECTORY_MAX_BYTES: usize = 1024 * 1024;
/// Most agencies in a directory.
pub const AGENCIES_MAX_COUNT: usize = 4096;
/// Longest policy bundle archive.
pub const BUNDLE_MAX_BYTES: usize = 1536 * 1024;
/// Longest statement.
pub const STATEMENT_MAX_BYTES: usize = 32 * 1024;
/// All statements of one case together; an answer with all of them stays within one message.
pub const FACTS_MAX_BYTES: usize = MESSAGE_MAX_BYTES - 256 * 1024;
/// Most statements of one case.
pub const FACTS_MAX_COUNT: usize = 4096;
/// Most values in one list of a statement (categories, recipients, actors …).
pub const STATEMENT_LIST_MAX_COUNT: usize = 64;
/// Most entries on a roster.
pub const ROSTER_MAX_COUNT: usize = 128;
/// Longest policy-facing code list or similar repeated field not named above.
pub const REPEATED_MAX_COUNT: usize = 64;
/// Clock skew tolerated between parties.
pub const CLOCK_SKEW_MAX_MILLIS: i64 = 5 * 60 * 1000;
/// Life of a packet when the sender says nothing.
pub const PACKET_LIFE_DEFAULT_MILLIS: i64 = 14 * 24 * 3600 * 1000;
/// Longest life of a packet.
pub const PACKET_LIFE_MAX_MILLIS: i64 = 30 * 24 * 3600 * 1000;
/// Age of the directory after which nothing new is sealed.
pub const DIRECTORY_FRESH_MAX_MILLIS: i64 = 24 * 3600 * 1000;
/// TCP, TLS handshake and HTTP/2 preface together.
pub const TLS_HANDSHAKE_MAX_MILLIS: u64 = 5_000;
/// From a connection's preface to its first request; and from the first byte of a header block, or of any frame
/// but DATA, to its last.
pub const HEADERS_MAX_MILLIS: u64 = 10_000;
/// From a request's headers to the end of its one message; from the first byte of a DATA frame to its last; and a
/// pause between two frames of a submission.
pub const BODY_MAX_MILLIS: u64 = 30_000;
/// From an answer in one message to the moment that its reader has taken all of it.
pub const ANSWER_MAX_MILLIS: u64 = 60_000;
/// The slowest line that long submissions and answers are given time for.
pub const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;
/// A connection without an open request.
pub const IDLE_MAX_MILLIS: u64 = 120_000;
/// Longest request in one message: a signed statement with room to spare.
pub const REQUEST_MAX_BYTES: usize = 64 * 1024;
/// Longest list of header fields, decoded (RFC 9113, section 6.5.2). HTTP/2 libraries take up to 16 MiB by themselves.
pub const HEADER_LIST_MAX_BYTES: u32 = 16 * 1024;
/// Longest HTTP/2 frame.
pub const FRAME_MAX_BYTES: u32 = 16 * 1024;
/// Open requests of one connection.
pub const STREAMS_MAX_COUNT: u32 = 128;
/// Requests that a peer may reset before they were looked at, on one connection (rapid reset).
pub const RESETS_UNSEEN_MAX_COUNT: usize = 32;
/// Requests that a peer may make us reset by breaking the protocol, on one connection (MadeYouReset). Whoever goes on
/// sending what was refused long ago comes to it too, so it is not low.
pub const RESETS_CAUSED_MAX_COUNT: usize = 1024;
/// What a peer may send ahead on one request.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// What a peer may send ahead on one connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// HTTP/2 keep-alive on an idle stream.
pub const KEEP_ALIVE_INTERVAL_MILLIS: u64 = 20_000;
/// Wait for the keep-alive's answer.
pub const KEEP_ALIVE_TIMEOUT_MILLIS: u64 = 10_000;
/// Packets a recipient may ask for at once.
pub const CREDIT_MAX_PACKETS: u32 = 256;
/// Life of a delivery lease without an acknowledgement.
pub const LEASE_MILLIS: i64 = 60_000;

/// Sizes that a part's plaintext (header, content and all) is padded to, in bytes: 16 classes, none
/// grows a part of 256 KiB or more by more than a factor of two.
pub const PADDED_SIZES_BYTES: [u64; 16] = [
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    512 << 10,
    1 << 20,
    2 << 20,
    4 << 20,
    8 << 20,
    16 << 20,
    32 << 20,
    64 << 20,
    128 << 20,
    256 << 20,
    512 << 20,
    (1 << 30) + (64 << 10),
];
