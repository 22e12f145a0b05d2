//! The API of the daemon: HTTP/1.1 with JSON over a Unix socket, or over ssh.
//!
//! Owns: the types that cross it (`types`), its errors, the frames of interactive sessions, its client and (on the server) its router.
//! Uses: names, base; `server` uses the domains. Never: decides anything; a type here has no behaviour but its own spelling.
//! Invariant: client and server compile the same structs, and every call of `client` has exactly one route.

pub mod client;
pub mod error;
pub mod render;
#[cfg(feature = "server")]
pub mod server;
pub mod stream;
pub mod types;
