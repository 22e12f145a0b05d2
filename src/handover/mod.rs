//! Descriptors between processes: passing, inheriting, keeping.
//!
//! Owns: SCM_RIGHTS, the socket-passing protocol of systemd (sd_listen_fds(3), sd_notify(3)) on both sides, the supervisor behind `paas up`,
//! and how a process gives its place to a newer one.
//! Uses: base. Never: knows what a descriptor is for. Invariant: every descriptor is an `OwnedFd` from the moment we have it, and close-on-exec
//! until the very exec that hands it on; what cannot be received whole is closed, not kept in part.

pub mod fds;
pub mod supervise;
pub mod systemd;
pub mod takeover;
