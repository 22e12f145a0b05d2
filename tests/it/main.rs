//! All integration tests, one binary. Files are named by the promise that they keep.

mod layering;
mod support;

mod api;
mod bad_input;
mod builds;
mod cancel;
mod config;
mod crash_recovery;
mod dialer;
mod docker;
mod domains;
mod git_push;
mod git_push_parts;
mod init;
mod isolation;
mod logs;
mod logs_cli;
mod neighbours;
mod release_command;
mod rollback;
mod ssh_cli;
mod supervise;
mod tarball;
mod units;
mod why;
mod workers;
mod zero_downtime;
