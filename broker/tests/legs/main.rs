//! Both legs over real TLS on loopback: statements, submissions, deliveries, acknowledgements, receipts.

mod delivery;
mod door;
mod inbox;
mod packet;
mod peer;
mod question;
mod submission;
