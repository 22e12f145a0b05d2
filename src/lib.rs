//! paas: one binary that turns one Linux server into a platform. The modules, in reading order and from the ground up
//! (a module may use those above it; `tests/it/layering.rs` enforces it; docs/ARCHITECTURE.md is the map).

// Ground: words and small tools.
pub mod names; // identifiers, parsed once
pub mod base; // clock, durable files, secrets, crash points
pub mod config; // the host's /etc/paas/paas.toml
pub mod manifest; // the app's paas.toml, Procfile and app.json
#[cfg(feature = "server")]
pub mod model; // the nouns as plain data with their pure rules

// Machinery: each does one thing and knows no domain.
#[cfg(feature = "server")]
pub mod handover; // descriptors between processes, systemd, the supervisor of `paas up`
pub mod wire; // messages between our own processes
#[cfg(feature = "server")]
pub mod store; // all the SQL
#[cfg(feature = "server")]
pub mod docker; // all that talks to the Docker engine
#[cfg(feature = "server")]
pub mod proxy; // the data plane
#[cfg(feature = "server")]
pub mod dialer; // the one way into an instance
#[cfg(feature = "server")]
pub mod init; // PID 1 of an instance
#[cfg(feature = "server")]
pub mod workers; // background tasks, named and counted

// Domains: what paas is about.
#[cfg(feature = "server")]
pub mod logs; // segments, follow, query
#[cfg(feature = "server")]
pub mod git; // repositories, keys, the push
#[cfg(feature = "server")]
pub mod builds; // source → image
#[cfg(feature = "server")]
pub mod instances; // one container: create, gate, link to its init, stop
#[cfg(feature = "server")]
pub mod routes; // what the proxy is told, and what it tells
#[cfg(feature = "server")]
pub mod certs; // certificates that people bring
#[cfg(feature = "server")]
pub mod tasks; // release command, one-off runs
#[cfg(feature = "server")]
pub mod disk; // what takes space, and what may begin
#[cfg(feature = "server")]
pub mod deploys; // queue, steps, driver, rollback
#[cfg(feature = "server")]
pub mod alerts; // what somebody should know, told once
#[cfg(feature = "server")]
pub mod doctor; // what an operator would look at on a host

// Edges.
pub mod api; // types, client, server
pub mod cli; // the command line
#[cfg(feature = "server")]
pub mod session; // what runs as the ssh login user: the forced command and git's proc-receive hook
#[cfg(feature = "server")]
pub mod daemon; // the composition root
