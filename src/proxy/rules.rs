//! What the routes say to do with a request. Pure: the proxy acts by it, and `explain.rs` tells it.

use std::sync::Arc;
use std::time::Duration;

use super::forwarded::Origin;
use super::h1::head::Declared;
use super::h1::request::Request;
use super::routes::{Action, Route, Table};
use super::target::Target;
use crate::names::Hostname;
use crate::wire::proxy::Rules;

/// Paths under which a certificate authority asks by plain HTTP (RFC 8555 §8.3).
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// What the rules look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// The client speaks TLS, with us or with a trusted proxy.
    pub https: bool,
    /// It came through a trusted proxy, which clients reach at the usual ports.
    pub trusted: bool,
    /// A TLS connection that goes to the instance as it is.
    pub passed: bool,
    /// A certificate authority's question.
    pub challenge: bool,
    /// The body's length, if it was said.
    pub length: u64,
}

impl Asked {
    pub fn of(request: &Request, origin: &Origin) -> Self {
        Self {
            https: origin.https,
            trusted: origin.trusted,
            passed: false,
            challenge: request.target().starts_with(CHALLENGES),
            length: if let Declared::Length(n) = request.body { n } else { 0 },
        }
    }
}

/// What is done with a request that has a route.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// 308 to the same host by TLS, at this port.
    Secure(u16),
    /// 308 to another host by the same scheme.
    Redirect(&'a Hostname),
    /// 421: the app ends TLS itself, and this request came by TLS with somebody else, or there is no TLS here to send it to.
    Passthrough,
    /// 503 with the page of the app's maintenance, after waiting so long for its end.
    Maintenance(Duration),
    /// 413: the body is larger than this.
    TooLarge(u64),
    /// Waits for a later snapshot, at most so long.
    Hold(Duration),
    Forward(&'a [Arc<Target>]),
}

impl Table {
    /// The route of a host and what it says. `https_port` is where we are reached by TLS, if at all. None: no such host.
    pub fn decide(&self, host: &Hostname, asked: Asked, https_port: Option<u16>) -> Option<(&Arc<Route>, Step<'_>)> {
        let route = self.route(host)?;
        let rules = &route.rules;
        if route.passthrough && !asked.passed {
            let port = if asked.trusted { Some(443) } else { https_port };
            let step = port.filter(|_| !asked.https).map_or(Step::Passthrough, Step::Secure);
            return Some((route, step));
        }
        if rules.https_redirect && !asked.https && !asked.challenge {
            // Through a trusted proxy clients come back to that one; else to us, if we are reached by TLS at all.
            if let Some(port) = if asked.trusted { Some(443) } else { https_port } {
                return Some((route, Step::Secure(port)));
            }
        }
        let step = match (&route.action, &rules.maintenance, rules.max_body) {
            (Action::Redirect(to), ..) => Step::Redirect(to),
            (_, Some(maintenance), _) => Step::Maintenance(Duration::from_millis(maintenance.hold_ms)),
            (_, None, Some(limit)) if asked.length > limit => Step::TooLarge(limit),
            (Action::Hold(limit), ..) => Step::Hold(*limit),
            (Action::Forward(targets), ..) => Step::Forward(targets),
        };
        Some((route, step))
    }
}

/// The value of Strict-Transport-Security for an answer, which counts only by TLS (RFC 6797 §7.2).
pub fn hsts(rules: &Rules, asked: Asked) -> Option<u64> {
    rules.hsts.filter(|_| asked.https)
}

/// Where a redirect sends the client. `target` is the request's path and query; `port` is left out where the scheme implies it.
pub fn location(https: bool, host: &Hostname, port: Option<u16>, target: &[u8]) -> String {
    let (scheme, usual) = if https { ("https", 443) } else { ("http", 80) };
    let port = port.filter(|p| *p != usual).map(|p| format!(":{p}")).unwrap_or_default();
    let target = String::from_utf8_lossy(target);
    let path = if target.starts_with('/') { target } else { "/".into() };
    format!("{scheme}://{host}{port}{path}")
}
