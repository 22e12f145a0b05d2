//! What the proxy is told, and what it tells.
//!
//! Owns: the snapshot of all routes, its number, the connections of all proxy generations, the sums of their counts and of
//! what they measured. Uses: store, wire, logs.
//! Never: touches a request or a container. Invariant: one publisher at a time over all apps; prepare → commit → activate, and the store decides
//! what is true if a crash comes between. A proxy is believed nothing of apps and instances that the store does not have, and whatever it does
//! or leaves, what is kept for it is bounded.

pub mod access_log;
pub mod metrics;
pub mod proxies;
pub mod publisher;
pub mod table;
