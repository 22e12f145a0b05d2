//! What crosses the API, one file per resource: plain data with serde, used by client and server and printed by `--json`.
//!
//! Owns: the shapes. Uses: names, base. Never: derives clap or SQL, holds logic. Invariant: fields are only added, with a default.

pub mod alerts;
pub mod apps;
pub mod certs;
pub mod config;
pub mod crashes;
pub mod deploys;
pub mod disk;
pub mod doctor;
pub mod domains;
pub mod git;
pub mod keys;
pub mod logs;
pub mod maintenance;
pub mod metrics;
pub mod processes;
pub mod releases;
pub mod routes;
pub mod status;
pub mod why;
