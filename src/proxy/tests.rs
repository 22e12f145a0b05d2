//! The data plane against real sockets: a real proxy on its threads, real instances, clients that write bytes.

mod world;

mod answers;
mod connect;
mod drain;
mod edge;
mod forwarding;
mod strict;
mod swap;
mod upgrade;
