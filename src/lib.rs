//! paas: one binary that turns one Linux server into a platform. The modules, in reading order and from the ground up
//! (a module may use those above it; `tests/it/layering.rs` enforces it; docs/ARCHITECTURE.md is the map).

// Ground: words and small tools.
pub mod base; // clock, durable files, secrets, crash points
pub mod config; // the host's /etc/paas/paas.toml
pub mod manifest; // the app's paas.toml, Procfile and app.json
#[cfg(feature = "server")]
pub mod model;
pub mod names; // identifiers, parsed once // the nouns as plain data with their pure rules

// Machinery: each does one thing and knows no domain.
#[cfg(feature = "server")]
pub mod dialer; // the one way into an instance
#[cfg(feature = "server")]
pub mod docker; // all that talks to the Docker engine
#[cfg(feature = "server")]
pub mod handover; // descriptors between processes, systemd, the supervisor of `paas up`
#[cfg(feature = "server")]
pub mod init;
#[cfg(feature = "server")]
pub mod proxy; // the data plane
#[cfg(feature = "server")]
pub mod store; // all the SQL
pub mod wire;
#[cfg(feature = "server")]
pub mod workers; // background tasks, named and counted // messages between our own processes // PID 1 of an instance

// Domains: what paas is about.
#[cfg(feature = "server")]
pub mod alerts; // what somebody should know, told once
#[cfg(feature = "server")]
pub mod builds; // source → image
#[cfg(feature = "server")]
pub mod deploys;
pub mod disk; // what takes space, and what may begin
#[cfg(feature = "server")]
pub mod doctor; // what an operator would look at on a host
#[cfg(feature = "server")]
pub mod git; // repositories, keys, the push
#[cfg(feature = "server")]
pub mod instances; // one container: create, gate, link to its init, stop
#[cfg(feature = "server")]
pub mod logs; // segments, follow, query
#[cfg(feature = "server")]
pub mod routes; // what the proxy is told, and what it tells
#[cfg(feature = "server")]
pub mod tasks; // release command, one-off runs // queue, steps, driver, rollback

// Edges.
pub mod api; // types, client, server
pub mod cli; // the command line
#[cfg(feature = "server")]
pub mod daemon;
#[cfg(feature = "server")]
pub mod session; // what runs as the ssh login user: the forced command and git's proc-receive hook // the composition root
