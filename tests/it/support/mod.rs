//! The world that the end-to-end tests live in: the real binary, a real dockerd, a real sshd, real git.
//!
//! Owns: starting a whole installation in a temporary folder, a client for each of its doors, and the proof that nothing is left behind.
//! Uses: the programs of the machine (`tests/run` installs them). Never: imports the library; it sees what a user sees.
//! Invariant: a world takes only names, subnets, ports and folders that no other world, run or installation has.

mod busy;
mod cli;
mod crash;
mod door;
mod engine;
mod facts;
mod footprint;
mod h2;
mod http;
mod invariants;
mod lasting;
mod listening;
mod machine;
mod net;
mod other_docker;
mod own_engine;
mod repo;
mod server;
mod shared;
mod small_disk;
mod sshd;
mod tarball;
mod traffic;
mod wait;
mod websocket;
mod world;

#[cfg(test)]
mod tests;

pub use busy::Busy;
pub use cli::{Done, json_lines, run};
pub use crash::Armed;
pub use door::{Door, trusting};
pub use footprint::{Footprint, difference};
pub use http::Client;
pub use invariants::{invariants, routes_follow_since};
pub use lasting::{Kind, Lasting, Outcome as LastingOutcome};
pub use machine::processes;
pub use other_docker::two_dockerds;
pub use own_engine::OwnEngine;
pub use repo::{Repo, SCRATCH, place_program, testapp_binary, testapp_file};
pub use server::Server;
pub use small_disk::{SmallDisk, free};
pub use sshd::make_key;
pub use tarball::{Entry, Tarball};
pub use traffic::{Counted, Traffic};
pub use wait::{eventually, until};
pub use websocket::{Message, Socket};
pub use world::World;
