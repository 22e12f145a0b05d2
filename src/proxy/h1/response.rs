//! The head of an instance's answer, judged with the same care as a request: the instance may be hostile, or confused by a hostile client.

use std::mem::MaybeUninit;

use bytes::BytesMut;

use super::body::Length;
use super::head::{Declared, Fields, HeadError, Span, declared, refused, take};
use super::request::keeps_alive;
use crate::proxy::limits::HEAD_FIELDS;

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    reason: Span,
    pub fields: Fields,
    pub declared: Declared,
    pub keep_alive: bool,
}

impl Response {
    /// Takes `length` bytes of head (as told by the scan) off the buffer and judges them.
    pub fn take(buf: &mut BytesMut, length: usize) -> Result<Self, HeadError> {
        let bytes = take(buf, length);
        let mut room = [const { MaybeUninit::uninit() }; HEAD_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        if parser.parse_response_with_uninit_headers(&mut parsed, &bytes, &mut room).map_err(refused)?.is_partial() {
            return Err(HeadError::Malformed("no end"));
        }
        let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
            return Err(HeadError::Malformed("the status line"));
        };
        if !(100..=599).contains(&status) {
            return Err(HeadError::Malformed("the status"));
        }
        let reason = Span::of(&bytes, parsed.reason.unwrap_or("").as_bytes());
        let spans = Fields::spans(&bytes, parsed.headers);
        let fields = Fields::new(bytes, spans);
        let http11 = version == 1;
        // 204 and 1xx have no body whatever they declare, but two lengths or an odd one is still a reason for doubt.
        let declared = declared(&fields, http11)?;
        let keep_alive = keeps_alive(&fields, http11);
        Ok(Self { status, reason, fields, declared, keep_alive })
    }

    pub fn reason(&self) -> &[u8] {
        self.reason.get(self.fields.bytes())
    }

    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// How the body of the answer to such a request ends (RFC 9112 §6.3).
    pub fn body(&self, to_head: bool) -> Length {
        match self.declared {
            _ if to_head || matches!(self.status, 100..=199 | 204 | 304) => Length::None,
            Declared::Length(n) => Length::Exact(n),
            Declared::Chunked => Length::Chunked,
            Declared::Nothing => Length::UntilClose,
        }
    }

    pub fn is_event_stream(&self) -> bool {
        let kind = self.fields.first("content-type").unwrap_or_default();
        kind.get(..17).is_some_and(|k| k.eq_ignore_ascii_case(b"text/event-stream"))
    }
}
