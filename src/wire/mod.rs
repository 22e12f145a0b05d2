//! The messages between our own processes, and how they are framed.
//!
//! Owns: message types of daemon ↔ proxy, daemon/proxy ↔ dialer, daemon ↔ init, and their version numbers. Uses: names, base, config (defaults), handover (descriptors).
//! Never: decides anything. Invariant: a message of a newer peer that we do not know is an error, never a guess.

pub mod frame;

#[cfg(feature = "server")]
pub mod dialer;
#[cfg(feature = "server")]
pub mod init;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(feature = "server")]
pub mod proxy;
