//! The data plane against real sockets: a real proxy on its threads, real instances, clients that write bytes.

mod world;

mod answers;
mod any_bytes;
mod connect;
mod drain;
mod forwarding;
mod limits;
mod strict;
mod swap;
mod upgrade;
