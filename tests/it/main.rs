//! All integration tests, one binary. Files are named by the promise that they keep.

mod layering;
mod support;

mod alerts;
mod api;
mod bad_input;
mod builds;
mod cancel;
mod config;
mod crash_recovery;
mod dialer;
mod docker;
mod docker_faults;
mod doctor;
mod domains;
mod drill;
mod git_push;
mod git_push_parts;
mod host;
mod init;
mod install;
mod isolation;
mod logs;
mod logs_cli;
mod long;
mod people;
mod release_command;
mod rollback;
mod secrets;
mod ssh_cli;
mod supervise;
mod tarball;
mod units;
mod workers;
mod zero_downtime;
mod zero_loss;
