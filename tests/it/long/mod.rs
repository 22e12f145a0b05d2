//! Tests that take minutes: `tests/run --long` runs them, and without it they are left out by their names.

mod crash_walk;
mod docker_faults;
mod held;
mod init;
mod isolation;
mod size;
mod upgrade;
mod zero_loss;
