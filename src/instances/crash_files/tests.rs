use super::*;
use crate::manifest::CrashSpec;

fn entry(kind: EntryType, name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(77);
    if kind == EntryType::Symlink {
        archive.append_link(&mut header, name, "/etc/shadow").expect("append");
    } else {
        archive.append_data(&mut header, name, content).expect("append");
    }
    archive.into_inner().expect("archive")
}

#[tokio::test]
async fn one_plain_file_is_taken_whatever_it_is_called() {
    let long = "x".repeat(300);
    for name in ["core", "a/../../etc/passwd".trim_start_matches("a/../.."), &long] {
        let bytes = entry(EntryType::Regular, name.trim_start_matches('/'), b"dump");
        let mut from = bytes.as_slice();
        assert_eq!(read_head(&mut from).await.expect("a plain file"), Found { bytes: 4, modified: 77 });
        let dir = tempfile::tempdir().expect("temp dir");
        let to = dir.path().join("app").join("c1");
        write(&mut from, 4, &to).await.expect("written");
        assert_eq!(std::fs::read(&to).expect("there"), b"dump");
        assert_eq!(std::fs::read_dir(to.parent().expect("folder")).expect("folder").count(), 1);
    }
}

#[tokio::test]
async fn links_folders_devices_and_rubbish_are_not_taken() {
    for kind in [EntryType::Symlink, EntryType::Directory, EntryType::Char, EntryType::Fifo, EntryType::Link] {
        let bytes = entry(kind, "core", b"");
        assert!(read_head(&mut bytes.as_slice()).await.is_err(), "{kind:?} was taken");
    }
    assert!(read_head(&mut [7; 2048].as_slice()).await.is_err());
    assert!(read_head(&mut [0; 1024].as_slice()).await.is_err(), "an empty archive");
}

#[tokio::test]
async fn a_file_that_is_cut_short_leaves_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("c1");
    assert!(write(&mut b"only this".as_slice(), 100, &to).await.is_err());
    assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 0);
}

#[test]
fn patterns_mean_a_name_anywhere_or_one_path() {
    let wanted = matcher(&CrashSpec::default().files);
    for path in ["/erl_crash.dump", "/app/core", "/tmp/core.1234", "/app/java_pid7.hprof", "/hs_err_pid12.log"] {
        assert!(matches(&wanted, path), "{path}");
    }
    for path in ["/app/core/index.js", "/app/score", "/app/main.log", "/.paas/i/core", "core", "/a\nb/core"] {
        assert!(!matches(&wanted, path), "{path}");
    }
    let wanted = matcher(&["/dumps/*.bin".to_owned()]);
    assert!(matches(&wanted, "/dumps/a.bin") && !matches(&wanted, "/dumps/b/a.bin") && !matches(&wanted, "/a.bin"));
}
