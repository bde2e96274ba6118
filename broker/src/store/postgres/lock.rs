//! Locks of the database that brokers agree by. They end with the connection that holds them, so a broker that dies
//! holds nothing.

use schakel_proto::ids::Digest;

/// Held by whoever commits.
pub(super) const WRITER: &str = "writer";
/// Held while the schema changes.
pub(super) const MIGRATION: &str = "migration";

/// The number of a lock of one schema.
pub(super) fn key(schema: &str, what: &str) -> i64 {
    let digest = Digest::of_all(&[b"schakel/lock/v1", schema.as_bytes(), b"/", what.as_bytes()]);
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The class of the locks by which the brokers of one schema show that they live; each holds its own number in it.
pub(super) fn class(schema: &str) -> i32 {
    let [a, b, c, d, ..] = key(schema, "alive").to_be_bytes();
    // PostgreSQL shows it as an unsigned number: without a sign both are the same.
    i32::from_be_bytes([a & 0x7f, b, c, d])
}
