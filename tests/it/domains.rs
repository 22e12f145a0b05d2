//! A host name belongs to one app, in one spelling.

use crate::support::World;

#[test]
fn a_domain_serves_until_it_is_removed() {
    let w = World::shared("domains");
    let (app, _repo) = w.live("shop", "one");
    let name = format!("www.{}", w.domain);

    w.paas(&["domains", "add", &name.to_uppercase(), "-a", &app]).ok();
    assert_eq!(w.get_host(&name, "/").text(), format!("{app} one\n"));
    w.paas(&["domains", "list", "-a", &app]).ok().says(&[&name]);

    w.paas(&["domains", "remove", &name, "-a", &app]).ok();
    assert_eq!(w.get_host(&name, "/").status, 404);
}

#[test]
fn a_domain_that_another_app_owns_is_refused_in_every_spelling() {
    let w = World::shared("domains");
    let (first, _repo) = w.live("first", "one");
    let (second, _repo) = w.live("second", "one");
    let name = format!("taken.{}", w.domain);
    w.paas(&["domains", "add", &name, "-a", &first]).ok();

    for spelling in [name.clone(), name.to_uppercase(), format!("{name}."), w.host(&first)] {
        w.paas(&["domains", "add", &spelling, "-a", &second]).fails(1).says(&[&first]);
    }
    assert_eq!(w.get_host(&name, "/").text(), format!("{first} one\n"));
}

#[test]
fn a_redirect_keeps_path_and_query() {
    let w = World::shared("domains");
    let (app, _repo) = w.live("main", "one");
    let (bare, www) = (format!("bare.{}", w.domain), format!("www.bare.{}", w.domain));
    w.paas(&["domains", "add", &bare, "-a", &app]).ok();

    w.paas(&["domains", "add", &www, "--redirect-to", &bare, "-a", &app]).ok();

    let reply = w.get_host(&www, "/a/b?c=d");
    assert_eq!(reply.status, 308, "{reply:?}");
    assert_eq!(reply.header("location"), Some(format!("http://{bare}/a/b?c=d").as_str()));
}

#[test]
fn what_is_no_host_name_is_refused() {
    let w = World::shared("domains");
    let (app, _repo) = w.live("strict", "one");
    for bad in ["", "a b", "-x.example", "x..example", "*.example.test", "http://x.example", "x.example/path", "10.0.0.1"] {
        let done = w.paas(&["domains", "add", bad, "-a", &app]);
        assert!(done.code == 1 || done.code == 2, "`{bad}` was taken:\n{done}");
    }
}
