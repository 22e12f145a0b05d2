//! All integration tests, one binary. Files are named by the promise that they keep.

mod layering;
mod support;

<<<<<<< HEAD
mod api;
=======
mod alerts;
>>>>>>> 03722cc (alerts, doctor, status: what somebody should know is told once; a host is looked at as an operator would)
mod bad_input;
mod builds;
mod cancel;
mod config;
mod crash_recovery;
mod dialer;
mod docker;
mod doctor;
mod domains;
mod git_push;
mod git_push_parts;
mod init;
mod isolation;
mod logs;
mod logs_cli;
mod release_command;
mod rollback;
mod secrets;
mod ssh_cli;
mod supervise;
mod tarball;
mod units;
mod workers;
mod zero_downtime;
