//! What would happen to a request, and why: the proxy's own parser, routes, rules and headers asked about a request that nobody sends. Pure.
//!
//! For `paas routes explain`. It claims no target, so that asking changes nothing; which of several targets a request gets depends on the moment.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use tokio_rustls::rustls::SignatureScheme;

use super::error::ProxyError;
use super::forwarded::Origin;
use super::h1::body::Length;
use super::h1::head::HeadScan;
use super::h1::request::Request;
use super::h1::response::Response;
use super::headers::{self, Added, Ending, Provenance, given_id};
use super::limits::HEAD_BYTES;
use super::routes::{Action, Route, Table};
use super::rules::{self, Asked, Step, location};
use crate::base::clock::UnixMillis;
use crate::names::{Hostname, InstanceId};
use crate::wire::proxy::Snapshot;

/// What stands in the place of an id that is made for each request.
pub const MADE: &str = "(made for each request)";

/// A request as a client would send it.
#[derive(Debug, Clone)]
pub struct Question {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Host among them.
    pub fields: Vec<(String, String)>,
    /// The other end of the connection.
    pub from: IpAddr,
    /// The connection is TLS with us.
    pub tls: bool,
    /// Where it comes in.
    pub port: u16,
    /// Where we are reached by TLS, if at all.
    pub https_port: Option<u16>,
    pub at: UnixMillis,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    pub outcome: Outcome,
    /// The status of the proxy's own answer; none: the instance answers.
    pub status: Option<u16>,
    /// None for a request that could not be read.
    pub origin: Option<Origin>,
    pub host: Option<Hostname>,
    /// The head that the instance gets, and what it does not get.
    pub request: Vec<Change>,
    /// The names of the certificate that a client by TLS is shown; empty: the self-signed one. None: there is none to show.
    pub certificate: Option<Vec<String>>,
    /// What is added to the instance's answer, or to ours.
    pub answer: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// No client gets further with it.
    Refused(String),
    NotReady,
    UnknownHost,
    /// To the same host by TLS.
    Secure(String),
    Redirect(String),
    Maintenance {
        hold_ms: u64,
    },
    TooLarge(u64),
    Hold {
        limit_ms: u64,
    },
    NoInstance,
    /// The connection goes through undecrypted: nothing in it is read.
    Passthrough(Vec<InstanceId>),
    Forward(Vec<InstanceId>),
}

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    pub name: String,
    pub value: String,
    /// For one that does not go on.
    pub why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Kept,
    Added,
    /// The name was there with another value.
    Replaced,
    Removed,
}

/// Answers the question by the snapshot; a snapshot that no proxy would take explains nothing.
pub fn explain(snapshot: Option<&Snapshot>, question: &Question) -> Explained {
    let table = snapshot.map(|s| Table::build(s, &Table::default()));
    let table = match table.transpose() {
        Ok(table) => table.unwrap_or_default(),
        Err(bad) => return refused(&ProxyError::NotReady, format!("the proxy refuses the routes: {bad}")),
    };
    let request = match read(question) {
        Ok(request) => request,
        Err(error) => return refused(&error, error.to_string()),
    };
    let origin = Origin::of(&request.fields, question.from, question.tls, &table.trusted);
    let asked = Asked::of(&request, &origin);
    let decided = request.host.name.as_ref().and_then(|host| Some((host, table.decide(host, asked, question.https_port)?)));
    let (outcome, error, route) = match decided {
        None if table.version.is_none() => (Outcome::NotReady, Some(ProxyError::NotReady), None),
        None => (Outcome::UnknownHost, Some(ProxyError::UnknownHost), None),
        Some((_, (route, _))) if route.passthrough && question.tls => (passed_through(route), None, None),
        Some((host, (route, step))) => {
            let (outcome, error) = outcome(host, step, asked, &request);
            (outcome, error, Some(route))
        }
    };
    let forwards = matches!(outcome, Outcome::Forward(_) | Outcome::Hold { .. });
    let redirects = matches!(outcome, Outcome::Secure(_) | Outcome::Redirect(_));
    let target = snapshot.filter(|s| s.commit_header).and_then(|s| match &outcome {
        Outcome::Forward(ids) => s.targets.iter().find(|t| ids.contains(&t.id)),
        _ => None,
    });
    let hsts = route.and_then(|route| rules::hsts(&route.rules, asked));
    Explained {
        status: if redirects { Some(308) } else { error.as_ref().and_then(ProxyError::status) },
        request: if forwards { to_instance(&request, question, &origin) } else { Vec::new() },
        answer: to_client(&request, Added { release: target, hsts }),
        certificate: request.host.name.as_ref().and_then(|host| shown(&table, host)),
        host: request.host.name.clone(),
        origin: Some(origin),
        outcome,
    }
}

fn refused(error: &ProxyError, why: String) -> Explained {
    let status = error.status();
    Explained {
        outcome: Outcome::Refused(why),
        status,
        origin: None,
        host: None,
        request: Vec::new(),
        certificate: None,
        answer: Vec::new(),
    }
}

/// What a client that knows all common ways to sign is shown.
fn shown(table: &Table, host: &Hostname) -> Option<Vec<String>> {
    let schemes = [
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ED25519,
        SignatureScheme::RSA_PSS_SHA256,
    ];
    table.certs.choose(Some(host.as_str()), &schemes).map(|shown| shown.names().to_vec())
}

fn passed_through(route: &Route) -> Outcome {
    match &route.action {
        Action::Forward(targets) => Outcome::Passthrough(targets.iter().map(|t| t.id()).collect()),
        Action::Redirect(_) | Action::Hold(_) => Outcome::Passthrough(Vec::new()),
    }
}

fn outcome(host: &Hostname, step: Step<'_>, asked: Asked, request: &Request) -> (Outcome, Option<ProxyError>) {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match step {
        Step::Secure(port) => (Outcome::Secure(location(true, host, Some(port), request.target())), None),
        Step::Passthrough => (Outcome::Refused(ProxyError::Misdirected.to_string()), Some(ProxyError::Misdirected)),
        Step::Redirect(to) => (Outcome::Redirect(location(asked.https, to, request.host.port, request.target())), None),
        Step::Maintenance(hold) => (Outcome::Maintenance { hold_ms: millis(hold) }, Some(ProxyError::Maintenance)),
        Step::TooLarge(limit) => (Outcome::TooLarge(limit), Some(ProxyError::TooLarge(limit))),
        Step::Hold(limit) => (Outcome::Hold { limit_ms: millis(limit) }, None),
        Step::Forward([]) => (Outcome::NoInstance, Some(ProxyError::NoInstance)),
        Step::Forward(targets) => (Outcome::Forward(targets.iter().map(|t| t.id()).collect()), None),
    }
}

/// The head as bytes, read as the proxy reads it.
fn read(question: &Question) -> Result<Request, ProxyError> {
    let mut head = BytesMut::new();
    head.put_slice(format!("{} {} HTTP/1.1\r\n", question.method, question.target).as_bytes());
    for (name, value) in &question.fields {
        head.put_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    head.put_slice(b"\r\n");
    let length = HeadScan::default().scan(&head, HEAD_BYTES).map_err(ProxyError::BadRequest)?;
    Request::take(&mut head, length.unwrap_or_default()).map_err(ProxyError::BadRequest)
}

fn to_instance(request: &Request, question: &Question, origin: &Origin) -> Vec<Change> {
    let about = Provenance {
        client: question.from,
        port: question.port,
        trusted: origin.trusted,
        https: question.tls,
        id: given_id(request).filter(|_| origin.trusted).unwrap_or(MADE),
        at: question.at,
    };
    let mut out = BytesMut::new();
    headers::write_request(&mut out, request, &about);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let before: Vec<(String, String)> = request.fields.iter().map(|(n, v)| (text(n), text(v))).collect();
    let after = fields_of(&out);
    let mut changes: Vec<Change> = Vec::new();
    for (name, value) in &after {
        let of_name = || before.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let kind = match (of_name().any(|(_, v)| v == value), of_name().next()) {
            (true, _) => ChangeKind::Kept,
            (false, Some(_)) => ChangeKind::Replaced,
            (false, None) => ChangeKind::Added,
        };
        changes.push(Change { kind, name: name.clone(), value: value.clone(), why: "" });
    }
    for (name, value) in before {
        if after.iter().any(|(n, _)| n.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let why = headers::why_not(&request.fields, name.as_bytes(), origin.trusted).unwrap_or("not passed on");
        changes.push(Change { kind: ChangeKind::Removed, name, value, why });
    }
    changes
}

/// What an answer without any field of its own would get.
fn to_client(request: &Request, added: Added<'_>) -> Vec<Change> {
    let mut bare = BytesMut::from(&b"HTTP/1.1 204 No Content\r\n\r\n"[..]);
    let length = bare.len();
    let Ok(response) = Response::take(&mut bare, length) else { return Vec::new() };
    let ending = Ending::of(request, Length::None, false);
    let mut out = BytesMut::new();
    headers::write_answer(&mut out, request, &response, ending, added);
    let change = |(name, value)| Change { kind: ChangeKind::Added, name, value, why: "" };
    fields_of(&out).into_iter().map(change).collect()
}

/// The fields of a head that we wrote.
fn fields_of(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().skip(1).filter_map(field).collect()
}
