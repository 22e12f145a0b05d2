//! When a condition is worth an alert, and when it is over. Pure: facts and times in, a verdict out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::base::clock::UnixMillis;
use crate::model::alert::Kind;
use crate::model::certificate::Certificates;
use crate::model::end::{CALM, SELDOM, is_often};

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Raise,
    Clear,
    /// As before, or not long enough.
    Keep,
}

/// Something that should answer. It may be away for a moment (a restart takes one) without anybody being told.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    away_since: Option<Instant>,
}

impl Patience {
    /// `limit`: how long it may be away.
    pub fn new(limit: Duration) -> Self {
        Self { limit, away_since: None }
    }

    /// Takes whether it answered at `now`. Says the same at every look, as one alone may meet a full disk: what is known is told once anyway.
    pub fn look(&mut self, answers: bool, now: Instant) -> Verdict {
        if answers {
            self.away_since = None;
            return Verdict::Clear;
        }
        let since = *self.away_since.get_or_insert(now);
        if now.saturating_duration_since(since) < self.limit { Verdict::Keep } else { Verdict::Raise }
    }
}

/// Free bytes of a file system and its reserve → verdict. It is over only with a fifth more than the reserve, so that an alert does not
/// flutter.
pub fn disk(free: u64, reserve: u64) -> Verdict {
    if free < reserve {
        Verdict::Raise
    } else if free >= reserve + reserve / 5 {
        Verdict::Clear
    } else {
        Verdict::Keep
    }
}

/// Ends of one place within the hour, the last of them so long ago → verdict. It is over only when they are much fewer, so that an alert does
/// not flutter; and those of a crash loop that is over are not told of once more.
pub fn ends_within_an_hour(ends: u32, since_last: Duration) -> Verdict {
    match ends {
        _ if is_often(ends, since_last) => Verdict::Raise,
        SELDOM.. => Verdict::Keep,
        ..SELDOM => Verdict::Clear,
    }
}

/// An alert that is to be raised, once for its occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub kind: Kind,
    pub subject: String,
    pub occurrence: String,
    pub text: String,
    pub hint: String,
}

/// Certificates → alerts. Told once when the end comes near and once when it has come, and once of one that can't be used.
pub fn certificates(all: &Certificates, now: UnixMillis) -> Vec<Due> {
    let ending = all.good.iter().filter(|c| c.ends_soon(now)).map(|certificate| {
        let hosts = certificate.shown_for();
        let (state, text) = match certificate.has_ended(now) {
            true => ("ended", format!("the certificate for {hosts} has ended: clients refuse https")),
            false => ("soon", format!("the certificate for {hosts} ends in {} days", certificate.days_left(now))),
        };
        let occurrence = format!("{} {state}", certificate.facts.fingerprint);
        let hint = format!("paas certs add {hosts} --chain FILE --key FILE");
        Due { kind: Kind::CertificateEnds, subject: hosts, occurrence, text, hint }
    });
    let spoilt = all.spoilt.iter().map(|spoilt| Due {
        kind: Kind::CertificateSpoilt,
        // Two whose hosts can't be read are two alerts.
        subject: match (&spoilt.facts, spoilt.hosts.is_empty()) {
            (Some(facts), true) => facts.fingerprint.clone(),
            _ => spoilt.shown_for(),
        },
        occurrence: String::new(),
        text: spoilt.text(),
        hint: spoilt.todo(),
    });
    ending.chain(spoilt).collect()
}

/// When the processes of apps ended last. What a crash loop is says `model::end`; this is for its end, after [`CALM`] without one: what crashes
/// each few minutes flutters otherwise. Kept in memory: after a restart of the daemon each is calm only after a whole `CALM` of looking.
#[derive(Debug)]
pub struct LastEnds {
    began: Instant,
    /// By subject (`shop/web`).
    last: BTreeMap<String, Instant>,
}

impl LastEnds {
    pub fn new(now: Instant) -> Self {
        Self { began: now, last: BTreeMap::new() }
    }

    pub fn ended(&mut self, subject: &str, now: Instant) {
        self.last.insert(subject.to_owned(), now);
    }

    pub fn is_calm(&self, subject: &str, now: Instant) -> bool {
        now.saturating_duration_since(*self.last.get(subject).unwrap_or(&self.began)) > CALM
    }

    /// Drops what is over, so that apps which are gone take no memory.
    pub fn tidy(&mut self, now: Instant) {
        self.last.retain(|_, last| now.saturating_duration_since(*last) <= CALM);
    }
}
