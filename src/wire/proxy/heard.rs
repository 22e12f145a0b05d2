//! Daemon and proxy need not be of one version: during an upgrade each meets the other of before and after.
//!
//! What a proxy tells is information: what of it the daemon does not know it passes over. What the daemon asks is to be done wholly or not
//! at all: a snapshot that the proxy can't read to the last field is refused, and the old one stays.

use serde_json::Value;

use super::{FromProxy, ToProxy};

/// What the daemon makes of a proxy's message.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Message(FromProxy),
    /// A message that this version does not know, or not in this shape: its name, and what was not understood.
    Unknown {
        name: String,
        why: String,
    },
}

/// Takes one message of a proxy. Errors: it is not JSON at all.
pub fn heard(bytes: &[u8]) -> Result<Heard, serde_json::Error> {
    serde_json::from_slice(bytes).map(Heard::Message).or_else(|error| {
        let value: Value = serde_json::from_slice(bytes)?;
        Ok(Heard::Unknown { name: name(&value), why: error.to_string() })
    })
}

/// The fields of a message that were passed over, as `Counts.target`.
pub fn passed_over(bytes: &[u8], understood: &FromProxy) -> Vec<String> {
    let (Ok(sent), Ok(known)) = (serde_json::from_slice(bytes), serde_json::to_value(understood)) else { return Vec::new() };
    let mut found = Vec::new();
    difference(&sent, &known, "", &mut found);
    found.sort();
    found.dedup();
    found
}

fn difference(sent: &Value, known: &Value, at: &str, found: &mut Vec<String>) {
    match (sent, known) {
        (Value::Object(sent), Value::Object(known)) => {
            for (key, value) in sent {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match known.get(key) {
                    Some(known) => difference(value, known, &at, found),
                    None => found.push(at),
                }
            }
        }
        (Value::Array(sent), Value::Array(known)) => {
            sent.iter().zip(known).for_each(|(sent, known)| difference(sent, known, at, found));
        }
        _ => {}
    }
}

/// What a proxy makes of the daemon's message.
#[allow(clippy::large_enum_variant, reason = "as with ToProxy")]
#[derive(Debug, PartialEq)]
pub enum Asked {
    Message(ToProxy),
    /// A snapshot of which not everything is understood; `version` is its number.
    Unreadable {
        version: u64,
        why: String,
    },
    /// Another message that this version does not know.
    Unknown {
        name: String,
        why: String,
    },
}

/// Takes one message of the daemon. Errors: it is not JSON at all.
pub fn asked(bytes: &[u8]) -> Result<Asked, serde_json::Error> {
    serde_json::from_slice(bytes).map(Asked::Message).or_else(|error| {
        let value: Value = serde_json::from_slice(bytes)?;
        let why = error.to_string();
        Ok(match value.pointer("/Prepare/version").and_then(Value::as_u64) {
            Some(version) => Asked::Unreadable { version, why },
            None => Asked::Unknown { name: name(&value), why },
        })
    })
}

/// How a message calls itself.
fn name(message: &Value) -> String {
    let key = message.as_object().and_then(|fields| fields.keys().next());
    let name = key.map(String::as_str).or_else(|| message.as_str()).unwrap_or("a message without a name");
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    const COUNTS: &str = r#"{"Counts":[{"target":"i1","in_flight":0,"streams":0,"served":5,"held":0,"retried":0,"retried_draining":0,"failed":0,"failed_draining":0,"drained":0,"cut":0,"by_class":[0,0,5,0,0,0],"lately":{"a":1}}]}"#;

    #[test]
    fn what_a_newer_proxy_tells_is_passed_over_and_the_rest_understood() {
        let Heard::Message(message) = heard(COUNTS.as_bytes()).expect("JSON") else { panic!("not understood") };
        let FromProxy::Counts(counts) = &message else { panic!("{message:?}") };
        assert_eq!(counts[0].served, 5);
        assert_eq!(passed_over(COUNTS.as_bytes(), &message), ["Counts.lately"]);

        let hello =
            r#"{"Hello":{"version":1,"pid":2,"generation":"g","active":null,"listening":[],"listening_quic":["[::]:443"]}}"#;
        assert!(matches!(heard(hello.as_bytes()), Ok(Heard::Message(FromProxy::Hello { pid: 2, .. }))));
        let unknown = heard(br#"{"Weather":{"rain":true}}"#).expect("JSON");
        assert!(matches!(&unknown, Heard::Unknown { name, .. } if name == "Weather"), "{unknown:?}");
        assert!(heard(b"{\"Counts\":").is_err(), "no JSON is no message");
        let known = br#"{"Prepared":{"version":3}}"#;
        let Ok(Heard::Message(message)) = heard(known) else { panic!("not understood") };
        assert!(passed_over(known, &message).is_empty());
    }

    #[test]
    fn a_snapshot_that_is_not_wholly_understood_is_refused_by_its_number() {
        let front = Front::default();
        let snapshot = Snapshot { version: 7, routes: vec![], targets: vec![], commit_header: true, front };
        let json = serde_json::to_string(&ToProxy::Prepare(snapshot.clone())).expect("encode");
        assert_eq!(asked(json.as_bytes()).expect("JSON"), Asked::Message(ToProxy::Prepare(snapshot)));
        for (known, newer) in [("\"commit_header\":true", "\"commit_header\":true,\"geo\":1"), ("\"trusted\"", "\"believed\"")] {
            let newer = json.replace(known, newer);
            assert_ne!(newer, json);
            let refused = asked(newer.as_bytes()).expect("JSON");
            assert!(matches!(&refused, Asked::Unreadable { version: 7, why } if why.contains("unknown field")), "{refused:?}");
        }
        let unknown = asked(br#"{"Dance":{"version":7}}"#).expect("JSON");
        assert!(matches!(&unknown, Asked::Unknown { name, .. } if name == "Dance"), "{unknown:?}");
        assert!(asked(b"no JSON").is_err());
    }

    #[test]
    fn what_an_app_does_not_ask_for_is_not_told_to_a_proxy_of_before() {
        let rules = serde_json::to_string(&Rules::default()).expect("encode");
        assert!(!rules.contains("access"), "{rules}");
        let errors = Rules { access: AccessLines { sample_ppm: 0, troubles: true }, ..Rules::default() };
        let json = serde_json::to_string(&errors).expect("encode");
        assert_eq!(serde_json::from_str::<Rules>(&json).expect("decode"), errors);
    }
}
