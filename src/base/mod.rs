//! Small tools that know nothing of paas.
//!
//! Owns: the clock, the host's accounts, durable files, secrets in memory, back-off, the registry of crash points, reading TOML with good
//! errors, nearest words, this program's file, sizes, networks and filesystems.
//! Uses: std (and `libc`-free crates) only.
//! Never: imports another room.

pub mod accounts;
pub mod atomic_file;
pub mod backoff;
pub mod cidr;
pub mod clock;
pub mod crash;
#[cfg(feature = "server")]
pub mod filesystem;
#[cfg(feature = "server")]
pub mod histogram;
pub mod nearest;
pub mod program;
pub mod secret;
pub mod size;
pub mod toml_file;
pub mod version;
