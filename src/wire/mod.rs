//! The messages between our own processes, and how they are framed.
//!
//! Owns: message types of daemon ↔ proxy, daemon/proxy ↔ dialer, daemon ↔ init, and their version numbers. Uses: names, base, config (defaults), handover (descriptors).
//! Never: decides anything. Invariant: what a newer peer wants done and we do not know is refused, never guessed; what a newer proxy
//! tells and we do not know is passed over.

pub mod frame;

#[cfg(feature = "server")]
pub mod dialer;
#[cfg(feature = "server")]
pub mod init;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod proxy;
