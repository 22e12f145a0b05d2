//! From instance to client: interim answers, the head, the body.

use std::future::pending;
use std::io::ErrorKind;

use bytes::BufMut;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::access::Record;
use super::conn::{Reader, Writer};
use super::error::ProxyError;
use super::h1::body::{BodyError, Decoder, Framing, Length};
use super::h1::head::{Declared, HeadScan};
use super::h1::request::Request;
use super::h1::response::Response;
use super::headers::{self, Added, Ending};
use super::limits::{ANSWER_TIME, CLOSE_TIME, HEAD_BYTES, INTERIM_ANSWERS, READ_BYTES, STREAM_AFTER};
use super::target::Claim;
use super::upload::Flow;

/// How an answer came to its end.
#[derive(Debug)]
pub enum Ended {
    /// The whole answer is written. `close`: the client was told that the connection ends. `reusable`: the instance's may serve again.
    Answered { close: bool, reusable: bool },
    /// The instance agreed to switch; the 101 is written.
    Switched,
    /// A stream that was ended properly before its own end.
    Cut,
}

/// One answer and all that decides about it.
pub struct Answer<'a> {
    pub request: &'a Request,
    pub record: &'a Record,
    pub claim: &'a Claim,
    pub flow: &'a Flow,
    pub commit_header: bool,
    /// The process ends: no connection goes on.
    pub stopping: bool,
    /// Set when the body is one that we may end properly in the middle (chunked events).
    pub endable: std::cell::Cell<bool>,
}

impl Answer<'_> {
    /// Reads the answer and writes it to the client. Cancel-safe: yes, in the sense that `to.out` then holds whole pieces only.
    pub async fn relay(&self, from: &mut Reader, to: &mut Writer) -> Result<Ended, ProxyError> {
        let response = self.final_head(from, to).await?;
        if response.status == 101 {
            return self.switch(&response, from, to).await;
        }
        let length = response.body(self.request.is_head());
        // An answer before the end of the upload: what is left of the upload can't be told from a next request by a client that stops it.
        let close = !self.request.keep_alive || !self.flow.uploaded.get() || self.stopping;
        let ending = Ending::of(self.request, length, close);
        let release = self.commit_header.then(|| &self.claim.target().about);
        self.record.answered(response.status);
        let added = Added { release, hsts: self.record.hsts() };
        to.prepare();
        headers::write_answer(&mut to.out, self.request, &response, ending, added);
        if response.is_event_stream() {
            self.claim.mark_stream();
            self.endable.set(ending.framing == Framing::Chunked);
        }
        self.body(length, ending.framing, from, to).await?;
        // What declares a body that can't be may still send it: whoever comes next would take it for an answer.
        let doubtful = response.status == 204 && !matches!(response.declared, Declared::Nothing | Declared::Length(0));
        let reusable =
            !doubtful && response.keep_alive && length != Length::UntilClose && from.buf.is_empty() && self.flow.uploaded.get();
        Ok(Ended::Answered { close: ending.close, reusable })
    }

    /// The first head that is not interim; those before it are passed on.
    async fn final_head(&self, from: &mut Reader, to: &mut Writer) -> Result<Response, ProxyError> {
        let mut scan = HeadScan::default();
        let mut interim = 0;
        loop {
            while let Some(length) = scan.scan(&from.buf, HEAD_BYTES).map_err(ProxyError::BadAnswerHead)? {
                let response = Response::take(&mut from.buf, length).map_err(ProxyError::BadAnswerHead)?;
                if !response.is_interim() {
                    return Ok(response);
                }
                interim += 1;
                if interim > INTERIM_ANSWERS {
                    return Err(ProxyError::BadAnswer("too many interim answers"));
                }
                self.pass_interim(&response, from, to).await?;
                scan = HeadScan::default();
            }
            match from.fill().await {
                Ok(n) if n > 0 => {}
                _ if from.buf.is_empty() && interim == 0 => return Err(ProxyError::Died { unsent: false }),
                _ => return Err(ProxyError::BadAnswer("the head broke off")),
            }
        }
    }

    /// Waits until the instance has had its time for a head. The clock starts when it was last given something: a slow upload is the client's
    /// time, not the instance's. Cancel-safe: yes.
    pub async fn overdue(&self) {
        while self.record.status.get() == 0 {
            sleep_until(self.flow.given_at.get() + ANSWER_TIME).await;
            if !self.flow.uploaded.get() {
                self.flow.given_at.set(Instant::now());
            } else if self.record.status.get() == 0 && self.flow.given_at.get().elapsed() >= ANSWER_TIME {
                return;
            }
        }
        pending().await
    }

    async fn pass_interim(&self, response: &Response, from: &mut Reader, to: &mut Writer) -> Result<(), ProxyError> {
        // A 100 that nobody waits for, and any to HTTP/1.0, would only confuse (RFC 9110 §15.2).
        if !self.request.http11 || (response.status == 100 && !self.request.expects_continue) {
            return Ok(());
        }
        headers::write_interim(&mut to.out, response);
        self.write(from, to).await
    }

    async fn body(&self, length: Length, framing: Framing, from: &mut Reader, to: &mut Writer) -> Result<(), ProxyError> {
        let mut body = Decoder::new(length);
        let mut stream_at = None;
        loop {
            let moved = body.transfer(&mut from.buf, &mut to.out, framing).map_err(ProxyError::AnswerBroke)?;
            self.record.bytes_out.set(self.record.bytes_out.get() + moved);
            self.write(from, to).await?;
            if body.is_done() {
                return Ok(());
            }
            // Thousands of event streams wait for minutes. A buffer that grew belongs to one that flows.
            if self.claim.is_stream() && to.out.capacity() <= READ_BYTES {
                to.slim();
            }
            let stream_at = *stream_at.get_or_insert_with(|| Instant::now() + STREAM_AFTER);
            let filled = if self.claim.is_stream() { Ok(from.fill().await) } else { timeout_at(stream_at, from.fill()).await };
            match filled {
                Err(_) => self.claim.mark_stream(),
                Ok(Ok(0)) => body.end(&mut to.out, framing).map_err(ProxyError::AnswerBroke)?,
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(ProxyError::AnswerBroke(BodyError::Truncated)),
            }
        }
    }

    /// Only what the client asked for, and only one protocol (RFC 9110 §7.8); from here on bytes go through unread.
    async fn switch(&self, response: &Response, from: &mut Reader, to: &mut Writer) -> Result<Ended, ProxyError> {
        let Some(wanted) = &self.request.upgrade else {
            return Err(ProxyError::BadAnswer("101 that nobody asked for"));
        };
        let agreed = response.fields.list("upgrade").map(<[u8]>::to_ascii_lowercase).collect::<Vec<_>>();
        if agreed != [wanted.as_bytes()] || !response.fields.list_has("connection", "upgrade") {
            return Err(ProxyError::BadAnswer("101 to another protocol"));
        }
        self.record.answered(101);
        self.claim.mark_stream();
        headers::write_switch(&mut to.out, response, wanted.as_bytes());
        self.write(from, to).await?;
        Ok(Ended::Switched)
    }

    /// A client that takes its time holds what it has not taken, and no empty room beside it.
    async fn write(&self, from: &mut Reader, to: &mut Writer) -> Result<(), ProxyError> {
        if to.out.is_empty() {
            return Ok(());
        }
        let mut slow = false;
        let flushed = to.flush_or(|| {
            from.slim();
            slow = true;
        });
        flushed.await.map_err(|e| match e.kind() {
            ErrorKind::TimedOut => ProxyError::ReaderSlow,
            _ => ProxyError::ClientGone,
        })?;
        if slow {
            to.slim();
        }
        self.flow.progress.set(self.flow.progress.get() + 1);
        Ok(())
    }
}

/// Ends a chunked event stream where it stands: browsers reconnect by themselves and drop an event that is not whole.
pub async fn end_events(to: &mut Writer) {
    to.out.put_slice(b"0\r\n\r\n");
    // A client that does not take it is gone.
    let _ = timeout(CLOSE_TIME, to.flush()).await;
}
