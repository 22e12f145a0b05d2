//! A tarball is deployed like a push: from the host, or by plain ssh; and no tarball reaches anything outside its own tree.

use crate::support::{Entry, Tarball, World};

#[test]
fn plain_gzip_and_zstd_are_deployed_alike() {
    let w = World::shared("tarball");
    let app = w.app("tar");
    w.paas(&["apps", "create", &app]).ok();
    for (version, bytes) in [
        ("plain", Tarball::testapp("plain").tar()),
        ("gzip", Tarball::testapp("gzip").gz()),
        ("zstd", Tarball::testapp("zstd").zst()),
    ] {
        let file = w.state_dir().with_file_name(format!("{version}.tar"));
        std::fs::write(&file, bytes).expect("a file can be written");
        w.paas(&["deploy", "--tarball", &file.display().to_string(), "-a", &app]).ok();
        w.serves(&app, version);
    }
}

#[test]
fn a_laptop_with_nothing_but_ssh_deploys_from_standard_input() {
    let w = World::shared("tarball");
    let app = w.app("tar");
    w.paas(&["apps", "create", &app]).ok();

    let done = w.ssh("laptop", &["deploy", "--tarball", "-", "-a", &app], &Tarball::testapp("by-ssh").gz()).ok();

    w.serves(&app, "by-ssh");
    done.says(&["----->"]);
}

#[test]
fn a_hostile_tarball_is_refused_and_touches_nothing() {
    let w = World::shared("tarball");
    let app = w.app("tar");
    w.paas(&["apps", "create", &app]).ok();
    w.paas_in(&["deploy", "--tarball", "-", "-a", &app], &Tarball::testapp("good").gz()).ok();
    let long = "d/".repeat(3000);
    let hostile: Vec<(&str, Entry<'_>)> = vec![
        ("a path with ..", Entry::file("../escaped-by-test", b"x")),
        ("an absolute path", Entry::file("/tmp/escaped-by-test", b"x")),
        ("a hidden ..", Entry::file("a/../../escaped-by-test", b"x")),
        ("a link out", Entry::link("link", b'2', "../../../../etc/passwd")),
        ("an absolute link", Entry::link("link", b'2', "/etc/passwd")),
        ("a hard link out", Entry::link("hard", b'1', "../../etc/passwd")),
        ("a device", Entry { kind: b'4', ..Entry::file("disk", b"") }),
        ("a pipe", Entry { kind: b'6', ..Entry::file("pipe", b"") }),
        ("an endless file", Entry { size: Some(8 << 30), ..Entry::file("endless", b"x") }),
        ("an endless path", Entry::file(&long, b"x")),
    ];
    for (what, entry) in &hostile {
        let bytes = Tarball::testapp("evil").with(entry).gz();
        let done = w.paas_in(&["deploy", "--tarball", "-", "-a", &app], &bytes);
        assert_eq!(done.code, 1, "{what} was taken:\n{done}");
        done.never_says(&["panicked"]);
        w.serves(&app, "good");
    }
    for reached in ["/tmp/escaped-by-test", "/escaped-by-test"] {
        assert!(!std::path::Path::new(reached).exists(), "{reached} was written");
    }
}

#[test]
fn a_file_below_a_link_is_never_followed() {
    let w = World::shared("tarball");
    let app = w.app("tar");
    w.paas(&["apps", "create", &app]).ok();
    let bytes = Tarball::testapp("evil").with(&Entry::link("sub", b'2', ".")).with(&Entry::file("sub/../../x", b"x")).gz();
    w.paas_in(&["deploy", "--tarball", "-", "-a", &app], &bytes).fails(1);
}

#[test]
fn what_is_no_tarball_and_what_was_cut_is_refused() {
    let w = World::shared("tarball");
    let app = w.app("tar");
    w.paas(&["apps", "create", &app]).ok();
    let whole = Tarball::testapp("cut").gz();
    for bytes in [b"".as_slice(), b"this is no tarball at all", &whole[..whole.len() / 2]] {
        let done = w.paas_in(&["deploy", "--tarball", "-", "-a", &app], bytes);
        assert_eq!(done.code, 1, "{done}");
    }
    w.paas(&["deploy", "--tarball", "/nowhere/x.tar.gz", "-a", &app]).fails(1).says(&["/nowhere/x.tar.gz"]);
    assert!(w.releases(&app).is_empty());
}
