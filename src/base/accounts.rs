//! Users and groups of this host, read from `/etc/passwd` and `/etc/group`.
//!
//! Not by getpwnam(3) and its like: they load the C library's name services at run time, and a static binary, as ours is, crashes in there
//! as soon as a name is not in the files (or is asked of `systemd`). So accounts of a directory service are not seen.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    pub home: PathBuf,
}

/// The user of that name, if there is one. Errors: `/etc/passwd` can't be read.
pub fn user(name: &str) -> io::Result<Option<Account>> {
    Ok(find_user(&read("/etc/passwd")?, |user| user.name == name))
}

/// The first user of that number, if there is one.
pub fn user_of(uid: u32) -> io::Result<Option<Account>> {
    Ok(find_user(&read("/etc/passwd")?, |user| user.uid == uid))
}

/// The number of the group of that name, if there is one.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    Ok(groups(&read("/etc/group")?).find(|group| group.name == name).map(|group| group.gid))
}

/// All groups of a user, the primary one first.
pub fn groups_of(user: &Account) -> io::Result<Vec<u32>> {
    Ok(member_of(&read("/etc/group")?, user))
}

/// Names may be of any encoding; one that is no UTF-8 is none that we look for.
fn read(path: impl AsRef<Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

fn find_user(passwd: &str, wanted: impl Fn(&Account) -> bool) -> Option<Account> {
    passwd.lines().filter_map(parse_user).find(wanted)
}

fn parse_user(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _password, uid, gid, _about, home, ..] = fields[..] else { return None };
    Some(Account { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.into() })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _password, gid, ref rest @ ..] = fields[..] else { return None };
        Some(Group { name, gid: gid.parse().ok()?, members: rest.first().copied().unwrap_or_default() })
    })
}

fn member_of(text: &str, user: &Account) -> Vec<u32> {
    let mut found = vec![user.gid];
    for group in groups(text) {
        if group.members.split(',').any(|member| member.trim() == user.name) && !found.contains(&group.gid) {
            found.push(group.gid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_read_and_broken_lines_are_passed_over() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\n:::\nann:x:1000:100:Ann,,,:/home/ann:/bin/sh\n";
        let ann = find_user(passwd, |user| user.name == "ann").expect("she is there");
        assert_eq!(ann, Account { name: "ann".to_owned(), uid: 1000, gid: 100, home: "/home/ann".into() });
        assert_eq!(find_user(passwd, |user| user.uid == 0).map(|user| user.name).as_deref(), Some("root"));
        assert_eq!(find_user(passwd, |user| user.name == "an"), None);
        let text = "root:x:0:\nusers:x:100:ann\nx\nadmin:x:27:bob,ann\nother:x:28:annabel\nalone:x:29\n";
        assert_eq!(member_of(text, &ann), [100, 27]);
        assert_eq!(groups(text).find(|group| group.name == "other").map(|group| group.gid), Some(28));
    }

    #[test]
    fn a_name_that_is_not_there_is_no_error() {
        assert_eq!(user("root").expect("readable").map(|user| user.uid), Some(0));
        assert_eq!(user("no-such-user-of-paas").expect("readable"), None);
        assert_eq!(group("no-such-group-of-paas").expect("readable"), None);
    }
}
