//! Messages of proxies that may be newer than this daemon.

use std::collections::{BTreeSet, HashMap};
use std::io;

use tokio::io::AsyncRead;

use crate::wire::frame;
use crate::wire::proxy::{FromProxy, Heard, heard, passed_over};

/// Messages of each kind that are searched for fields that we do not know: a new field stands in all of them.
const SEARCHED: u8 = 8;

/// One proxy's messages; what is not known is told once in the log and passed over.
#[derive(Default)]
pub struct Hearing {
    searched: HashMap<std::mem::Discriminant<FromProxy>, u8>,
    told: BTreeSet<String>,
}

impl Hearing {
    /// The next message that we know, of at most `limit` bytes. None: the proxy is gone, or sends what is no message at all. Cancel-safe: no.
    pub async fn next(&mut self, from: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Option<FromProxy>> {
        while let Some(bytes) = frame::read_bytes(from, limit).await? {
            match heard(&bytes)? {
                Heard::Message(message) => {
                    self.search(&bytes, &message);
                    return Ok(Some(message));
                }
                Heard::Unknown { name, why } => {
                    if self.is_new(&name) {
                        tracing::warn!(message = name, why, "the proxy tells what this version does not know; passed over");
                    }
                }
            }
        }
        Ok(None)
    }

    fn search(&mut self, bytes: &[u8], message: &FromProxy) {
        let searched = self.searched.entry(std::mem::discriminant(message)).or_default();
        if *searched >= SEARCHED {
            return;
        }
        *searched += 1;
        let unknown: Vec<String> = passed_over(bytes, message).into_iter().filter(|field| self.is_new(field)).collect();
        if !unknown.is_empty() {
            tracing::warn!(fields = unknown.join(", "), "the proxy tells fields that this version does not know; passed over");
        }
    }

    /// Bounded, whatever a proxy makes up.
    fn is_new(&mut self, what: &str) -> bool {
        self.told.len() < 100 && self.told.insert(what.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_a_proxy_that_makes_things_up_is_bounded() {
        let mut hearing = Hearing::default();
        assert!(hearing.is_new("Weather") && !hearing.is_new("Weather"), "told once");
        for n in 0..1000 {
            hearing.is_new(&n.to_string());
        }
        assert_eq!(hearing.told.len(), 100);
        let message = FromProxy::Prepared { version: 1 };
        (0..1000).for_each(|_| hearing.search(br#"{"Prepared":{"version":1}}"#, &message));
        assert_eq!(hearing.searched.values().copied().collect::<Vec<_>>(), [SEARCHED]);
    }
}
