//! The data plane against real sockets: a real proxy on its threads, real instances, clients that write bytes.

pub(super) mod world;

mod answers;
mod any_bytes;
mod connect;
mod drain;
mod drains;
mod edge;
mod floods;
mod forwarding;
mod h2;
mod h2_flow;
mod h2_strict;
#[cfg(feature = "h2spec")]
mod h2spec;
mod leave;
mod limits;
mod metrics;
mod passthrough;
mod slow;
mod strict;
mod swap;
mod tls;
mod upgrade;
mod websocket;
