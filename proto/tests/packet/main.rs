//! The packet from outside: there and back, what a flipped bit does, what other OpenPGP tools say.

mod document;
mod flips;
mod interop;
mod key_times;
mod roundtrip;
mod world;
