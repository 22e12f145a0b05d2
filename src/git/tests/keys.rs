use std::path::Path;
use std::process::Command;

use crate::git::keys::{BadKey, PublicKey, export};
use crate::names::KeyId;

fn generate(dir: &Path, args: &[&str]) -> String {
    let file = dir.join(args.join("-"));
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-C", "ada@laptop", "-f"]).arg(&file).args(args).status();
    assert!(made.expect("ssh-keygen runs").success());
    std::fs::read_to_string(file.with_extension("pub")).expect("public key")
}

#[test]
fn keys_of_ssh_keygen_are_read_with_the_fingerprint_it_prints() {
    let dir = tempfile::tempdir().expect("temp dir");
    for args in [
        &["-t", "ed25519"][..],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "rsa", "-b", "3072"],
    ] {
        let line = generate(dir.path(), args);
        let key = PublicKey::parse(&line).unwrap_or_else(|bad| panic!("{args:?}: {bad}"));
        let file = dir.path().join("shown.pub");
        std::fs::write(&file, &line).expect("write");
        let shown = Command::new("ssh-keygen").arg("-lf").arg(&file).output().expect("ssh-keygen runs");
        assert!(String::from_utf8_lossy(&shown.stdout).contains(&key.fingerprint), "{key:?}");
        assert_eq!(key.comment, "ada@laptop");
    }
    let short = generate(dir.path(), &["-t", "rsa", "-b", "2048"]);
    assert_eq!(PublicKey::parse(&short), Err(BadKey::ShortRsa(2048)));
}

#[test]
fn security_keys_are_read() {
    let blob = |kind: &str, fields: &[&[u8]]| {
        let mut out = Vec::new();
        for field in [kind.as_bytes()].iter().chain(fields) {
            out.extend(u32::try_from(field.len()).expect("short").to_be_bytes());
            out.extend(*field);
        }
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, out)
    };
    let kind = "sk-ssh-ed25519@openssh.com";
    let good = format!("{kind} {} me", blob(kind, &[&[7; 32], b"ssh:"]));
    assert_eq!(PublicKey::parse(&good).expect("read").kind, kind);
    for fields in [&[&[7u8; 32][..]][..], &[&[7; 31], b"ssh:"], &[&[7; 32], b"ssh:", b"more"]] {
        assert!(matches!(PublicKey::parse(&format!("{kind} {}", blob(kind, fields))), Err(BadKey::Damaged(_))));
    }
}

#[test]
fn anything_but_one_plain_public_key_is_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let good = generate(dir.path(), &["-t", "ed25519"]);
    let good = good.trim();
    assert_eq!(PublicKey::parse(""), Err(BadKey::Empty));
    assert_eq!(PublicKey::parse("-----BEGIN OPENSSH PRIVATE KEY-----\nxx"), Err(BadKey::Private));
    assert_eq!(PublicKey::parse(&format!("{good}\n{good}")), Err(BadKey::ManyLines));
    for options in ["command=\"sh\"", "no-pty", "environment=\"A=b\",restrict", "cert-authority"] {
        assert_eq!(PublicKey::parse(&format!("{options} {good}")), Err(BadKey::Options), "{options}");
    }
    assert!(matches!(PublicKey::parse("ssh-dss AAAA"), Err(BadKey::Kind(_))));
    assert!(matches!(PublicKey::parse("ssh-ed25519-cert-v01@openssh.com AAAA"), Err(BadKey::Kind(_))));
    let encoded = good.split(' ').nth(1).expect("three words");
    for damaged in [
        format!("ssh-ed25519 {}", &encoded[..40]),
        format!("ssh-rsa {encoded}"),
        "ssh-ed25519 !!!".to_owned(),
        "ssh-ed25519".to_owned(),
    ] {
        assert!(matches!(PublicKey::parse(&damaged), Err(BadKey::Damaged(_))), "{damaged}");
    }
    let loud = PublicKey::parse(&format!("{good}\u{1b}[31m{}", "x".repeat(500))).expect("the key is fine");
    assert!(!loud.comment.contains('\u{1b}') && loud.comment.len() <= 100);
}

#[test]
fn the_file_for_sshd_binds_each_key_to_its_id_and_quotes_paths() {
    let dir = tempfile::tempdir().expect("temp dir");
    let key = PublicKey::parse(&generate(dir.path(), &["-t", "ed25519"])).expect("key");
    let file = dir.path().join("authorized_keys");
    export(&file, Path::new("/opt/my \"paas\"/bin"), Path::new("/etc/it's.toml"), [(KeyId(3), &key)]).expect("written");
    let text = std::fs::read_to_string(&file).expect("read");
    let line = text.lines().find(|line| line.starts_with("restrict,pty,")).expect("one key line");
    // What sshd and then the login shell make of it.
    let quoted = line.split_once("command=\"").expect("command").1.rsplit_once("\" ssh-ed25519 ").expect("end").0;
    let words = shlex::split(&quoted.replace("\\\"", "\"")).expect("words");
    assert_eq!(words, ["/opt/my \"paas\"/bin", "ssh-session", "--config", "/etc/it's.toml", "--key", "k3"]);
    assert!(line.ends_with(" k3"));
    assert!(export(&file, Path::new("/opt/a\nb"), Path::new("/x"), [(KeyId(3), &key)]).is_err());
    assert_eq!(std::fs::read_to_string(&file).expect("read"), text, "untouched");
}
