//! The pages that the proxy answers with itself: small, plain, and telling nothing about what runs here.

use bytes::{BufMut, BytesMut};

use super::h1::head::Fields;
use super::headers::HSTS;

/// One answer of our own.
#[derive(Debug)]
pub struct Page<'a> {
    pub status: u16,
    pub request_id: &'a str,
    pub json: bool,
    /// To HEAD: the same head, no body.
    pub head_only: bool,
    /// Seconds.
    pub retry_after: Option<u32>,
    /// Seconds of Strict-Transport-Security.
    pub hsts: Option<u64>,
    /// An app's own words for its maintenance, as plain text; empty: ours.
    pub maintenance: Option<String>,
    /// Without it the connection goes on.
    pub close: bool,
    /// HTTP/1.0 must be told that the connection goes on.
    pub say_keep_alive: bool,
    /// For 308.
    pub location: Option<String>,
}

impl Page<'_> {
    /// Writes head and body; gives the length of the body.
    pub fn write(&self, out: &mut BytesMut) -> u64 {
        let (reason, title, text) = words(self.status);
        let (title, text) = match self.maintenance.as_deref() {
            None => (title, text),
            Some("") => ("Maintenance", "This site is being worked on. Please try again later."),
            Some(own) => ("Maintenance", own),
        };
        let body = if self.json { self.as_json(title, text) } else { self.as_html(title, &escaped(text)) };
        let kind = if self.json { "application/json" } else { "text/html; charset=utf-8" };
        let mut head = format!("HTTP/1.1 {} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", self.status, body.len());
        head.push_str(&format!("Cache-Control: no-store\r\nX-Request-ID: {}\r\n", self.request_id));
        if let Some(location) = &self.location {
            head.push_str(&format!("Location: {location}\r\n"));
        }
        if let Some(seconds) = self.retry_after {
            head.push_str(&format!("Retry-After: {seconds}\r\n"));
        }
        if let Some(seconds) = self.hsts {
            head.push_str(&format!("{HSTS}: max-age={seconds}\r\n"));
        }
        if self.status == 405 {
            head.push_str("Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        } else if self.say_keep_alive {
            head.push_str("Connection: keep-alive\r\n");
        }
        out.put_slice(head.as_bytes());
        out.put_slice(b"\r\n");
        if self.head_only {
            return 0;
        }
        out.put_slice(body.as_bytes());
        body.len() as u64
    }

    fn as_json(&self, title: &str, text: &str) -> String {
        let error = serde_json::json!({ "status": self.status, "title": title, "message": text, "request_id": self.request_id });
        serde_json::json!({ "error": error }).to_string() + "\n"
    }

    fn as_html(&self, title: &str, text: &str) -> String {
        format!(
            "<!doctype html>\n<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <body style=\"font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em\">\n\
             <h1>{title}</h1>\n<p>{text}</p>\n<p><small>{} · request {}</small></p>\n",
            self.status, self.request_id
        )
    }
}

/// Plain text as HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Reason phrase, title and sentence per status.
fn words(status: u16) -> (&'static str, &'static str, &'static str) {
    match status {
        308 => ("Permanent Redirect", "Moved", "This page has moved for good."),
        400 => ("Bad Request", "Bad request", "The request is not well-formed."),
        404 => ("Not Found", "Not found", "There is nothing at this address."),
        405 => ("Method Not Allowed", "Method not allowed", "This method is not allowed here."),
        408 => ("Request Timeout", "Request timeout", "The request did not arrive in time."),
        413 => ("Content Too Large", "Too large", "The body of the request is larger than this site takes."),
        417 => ("Expectation Failed", "Expectation failed", "The request expects something that can't be met."),
        421 => ("Misdirected Request", "Wrong connection", "This connection was made for another host name."),
        431 => ("Request Header Fields Too Large", "Request too large", "The header of the request is too large."),
        502 => ("Bad Gateway", "Bad gateway", "The app did not give a proper answer."),
        503 => ("Service Unavailable", "Service unavailable", "The app is not available right now. Please try again soon."),
        504 => ("Gateway Timeout", "Gateway timeout", "The app did not answer in time."),
        505 => ("HTTP Version Not Supported", "Version not supported", "Please use HTTP/1.1."),
        _ => ("Error", "Error", "The request could not be answered."),
    }
}

/// Whether the client would rather have JSON: whichever of the two its Accept names first.
pub fn wants_json(fields: &Fields) -> bool {
    let kinds =
        fields.list("accept").map(|k| k.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase());
    let mut known = kinds.filter_map(|k| match k.as_slice() {
        b"text/html" | b"application/xhtml+xml" => Some(false),
        b"application/json" | b"application/problem+json" => Some(true),
        other if other.ends_with(b"+json") => Some(true),
        _ => None,
    });
    known.next().unwrap_or(false)
}
