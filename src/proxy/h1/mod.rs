//! HTTP/1.1 messages as bytes (RFC 9112), strict on both sides.
//!
//! Owns: heads, body framing, trailers. Uses: httparse and bytes. Never: does I/O, knows routes or targets.
//! Invariant: bytes of a peer are never passed on raw; what leaves was parsed and written anew, so both sides agree where a message ends.

pub mod body;
pub mod head;
pub mod host;
pub mod request;
pub mod response;

#[cfg(test)]
mod tests;
