//! Both legs over real TLS on loopback: statements, submissions, deliveries, acknowledgements, receipts.

mod delivery;
mod door;
mod packet;
mod peer;
mod question;
mod submission;
