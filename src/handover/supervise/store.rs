//! What a role tells on its notify socket, and the descriptors that it stores (sd_notify(3)).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// More than this is a leak of the role, and would take the descriptors of the supervisor itself.
const MOST: usize = if cfg!(test) { 20 } else { 1024 };

/// One datagram, understood. Unknown assignments are skipped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub ready: bool,
    pub stopping: bool,
    pub status: Option<String>,
    pub store: bool,
    pub remove: bool,
    pub name: Option<String>,
    /// The process that the role is from now on.
    pub main_pid: Option<i32>,
}

impl Message {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut message = Self::default();
        for line in String::from_utf8_lossy(bytes).lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => message.ready = true,
                Some(("STOPPING", "1")) => message.stopping = true,
                Some(("STATUS", text)) => message.status = Some(text.to_owned()),
                Some(("FDSTORE", "1")) => message.store = true,
                Some(("FDSTOREREMOVE", "1")) => message.remove = true,
                Some(("FDNAME", name)) => message.name = Some(name.to_owned()),
                Some(("MAINPID", pid)) => message.main_pid = pid.parse().ok(),
                _ => {}
            }
        }
        message
    }
}

/// The stored descriptors of one role. Under one name only the newest message's are kept.
#[derive(Debug, Default)]
pub(super) struct Store(BTreeMap<String, Vec<OwnedFd>>);

impl Store {
    /// Does what a message asks for; gives an error text for the log if that can't be.
    pub(super) fn take(&mut self, message: &Message, fds: Vec<OwnedFd>) -> Result<(), String> {
        // What systemd calls a descriptor that came without a name.
        let name = message.name.as_deref().unwrap_or("stored");
        if message.remove {
            self.0.remove(name);
        }
        if !message.store || fds.is_empty() {
            return Ok(());
        }
        if name.is_empty() || name.len() > 255 || name.contains(':') || name.chars().any(|c| !c.is_ascii_graphic() && c != ' ') {
            return Err(format!("`{name}` is no name for a descriptor"));
        }
        self.0.remove(name);
        if self.0.values().map(Vec::len).sum::<usize>() + fds.len() > MOST {
            return Err(format!("more than {MOST} descriptors; `{name}` is not stored"));
        }
        self.0.insert(name.to_owned(), fds);
        Ok(())
    }

    /// All of them with their names, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        self.0.iter().flat_map(|(name, fds)| fds.iter().map(move |fd| (name.as_str(), fd)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn null() -> OwnedFd {
        File::open("/dev/null").expect("a file").into()
    }

    #[test]
    fn the_newest_of_a_name_is_kept_until_it_is_removed() {
        let mut store = Store::default();
        let put = |name: &str| Message::parse(format!("FDSTORE=1\nFDNAME={name}").as_bytes());
        store.take(&put("a"), vec![null(), null()]).expect("stored");
        store.take(&put("b"), vec![null()]).expect("stored");
        store.take(&put("a"), vec![null()]).expect("replaced");
        assert_eq!(store.all().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
        assert!(store.take(&put("a:b"), vec![null()]).is_err(), "a colon would break LISTEN_FDNAMES");
        store.take(&Message::parse(b"FDSTOREREMOVE=1\nFDNAME=a\n"), vec![]).expect("removed");
        assert_eq!(store.all().map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
        store.take(&Message::parse(b"BARRIER=1"), vec![null()]).expect("not for the store");
        assert_eq!(store.all().count(), 1);
    }

    #[test]
    fn a_role_can_not_store_without_end() {
        let mut store = Store::default();
        let put = |name: &str| Message::parse(format!("FDSTORE=1\nFDNAME={name}").as_bytes());
        for n in 0..MOST {
            store.take(&put(&n.to_string()), vec![null()]).expect("there is room");
        }
        assert!(store.take(&put("more"), vec![null()]).is_err());
        store.take(&put("0"), vec![null()]).expect("one is replaced by one");
        assert_eq!(store.all().count(), MOST);
    }

    #[test]
    fn a_message_is_read_line_by_line() {
        let read = Message::parse(b"READY=1\nSTATUS=a=b\nX=1\nMAINPID=3\n");
        assert_eq!(read, Message { ready: true, status: Some("a=b".to_owned()), main_pid: Some(3), ..Message::default() });
        assert!(Message::parse(b"STOPPING=1").stopping);
        assert_eq!(Message::parse(b"\xff"), Message::default());
    }
}
