//! BuildKit inside the engine, over its own gRPC (the classic build endpoint has neither secrets from memory nor, with a session, a
//! progress stream).
//!
//! Owns: one build = a session that serves context and secrets (`session`), the solve itself (`solve`), its progress (`status`).
//! Never: writes a secret to disk, decides what is built. Invariant: dropping a solve cancels the build in the engine.

mod session;
mod solve;
mod status;

pub use session::ContextStream;
pub use solve::{SolveError, SolveJob, Solved};
pub use status::{FailedStep, StepEvent};

#[cfg(test)]
mod tests;
