//! One container of a process type: made behind its gate, opened, reached, stopped, removed.
//!
//! Owns: the containers and networks of apps, their folders, the link to each init, the dialer's register. Uses: store, docker, logs, dialer (wire).
//! Never: decides which instances there should be (that is `deploys`). Invariant: every act may be repeated; what exists is found by its
//! deterministic name and adopted.

pub mod crash_files;
pub mod ends;
pub mod finding;
pub mod leftovers;
pub mod lifecycle;
pub mod link;
pub mod memory;
pub mod net;
pub mod probe;
pub mod spec;
pub mod usage;
pub mod vitals;
