//! A further process in a running container.

use bollard::models::ExecConfig;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;

use super::attach::{StreamKind, split};
use super::client::{CHANGE_LIMIT, Docker, READ_LIMIT};
use super::error::DockerError;

/// How to run it. All default: no terminal, no stdin, the container's own user and working directory.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    pub tty: bool,
    pub stdin: bool,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub env: Vec<(String, String)>,
}

/// A running exec. Dropping it closes the streams; the process itself goes on until it notices.
pub struct ExecSession {
    /// Ends when the process ended and all its output was read.
    pub output: BoxStream<'static, Result<(StreamKind, Bytes), DockerError>>,
    /// Shut it down to end the process's stdin.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    docker: Docker,
    id: String,
}

impl Docker {
    /// Starts `argv` in a running container. NotFound = no such container, Conflict = it does not run.
    pub async fn exec(&self, id: &str, argv: &[String], options: ExecOptions) -> Result<ExecSession, DockerError> {
        let act = format!("running a command in container {id}");
        let tty = options.tty;
        let config = ExecConfig {
            attach_stdin: Some(options.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(tty),
            env: Some(options.env.into_iter().map(|(key, value)| format!("{key}={value}")).collect()),
            cmd: Some(argv.to_vec()),
            user: options.user,
            working_dir: options.workdir,
            ..Default::default()
        };
        let made = self.call(&act, CHANGE_LIMIT, |c| async move { c.create_exec(id, config).await }).await?;
        let body = format!(r#"{{"Detach":false,"Tty":{tty}}}"#);
        let raw = self.hijack(&format!("/exec/{}/start", made.id), "tcp", &[], Some(body), &act).await?;
        let (output, input) = split(raw, tty, act);
        Ok(ExecSession { output, input, docker: self.clone(), id: made.id })
    }
}

impl ExecSession {
    /// A remote control that stays usable after `output` and `input` were moved elsewhere.
    pub fn control(&self) -> ExecControl {
        ExecControl { docker: self.docker.clone(), id: self.id.clone() }
    }

    /// Tells the terminal's size in characters.
    pub async fn resize(&self, width: u16, height: u16) -> Result<(), DockerError> {
        self.control().resize(width, height).await
    }

    /// The exit code; None while it still runs. Ask after `output` ended.
    pub async fn exit_code(&self) -> Result<Option<i64>, DockerError> {
        self.control().exit_code().await
    }
}

/// Resize and exit code of one exec.
#[derive(Clone)]
pub struct ExecControl {
    docker: Docker,
    id: String,
}

impl ExecControl {
    /// Tells the terminal's size in characters.
    pub async fn resize(&self, width: u16, height: u16) -> Result<(), DockerError> {
        let options = bollard::exec::ResizeExecOptions { height, width };
        let id = self.id.as_str();
        self.docker.call("resizing a terminal", CHANGE_LIMIT, |c| async move { c.resize_exec(id, options).await }).await
    }

    /// The exit code; None while it still runs. Cancel-safe: yes, reads only.
    pub async fn exit_code(&self) -> Result<Option<i64>, DockerError> {
        let id = self.id.as_str();
        let found = self.docker.call("asking for an exit code", READ_LIMIT, |c| async move { c.inspect_exec(id).await }).await?;
        Ok(if found.running == Some(true) { None } else { found.exit_code })
    }
}
