//! What the proxy says about where a request came from, the rules of a route, and that `explain` tells what really happens.

use std::net::IpAddr;

use super::world::*;
use crate::base::cidr::Cidr;
use crate::base::clock::UnixMillis;
use crate::names::InstanceId;
use crate::proxy::explain::{ChangeKind, Explained, MADE, Outcome, Question, explain};
use crate::wire::proxy::{Action, FromProxy, Front, Maintenance, Rules, Snapshot};

fn trusting(networks: &[&str]) -> Front {
    Front { trusted: networks.iter().map(|n| Cidr::parse(n).expect("a network")).collect(), ..Front::default() }
}

fn with_rules(version: u64, rules: Rules, front: Front) -> Snapshot {
    let mut made = Snapshot { front, ..snapshot(version, &[1], &[]) };
    made.routes[0].rules = rules;
    made
}

/// A request with these fields, by a peer at 127.0.0.1.
fn ask_with(world: &World, fields: &str) -> Answer {
    world.ask(&format!("GET /a?b=1 HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n"))
}

const FORGED: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 666\r\n\
    Forwarded: for=6.6.6.6;host=evil.test\r\nX-Request-ID: 66666666-6666-6666-6666\r\nX-Real-IP: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
    x_real_ip: 6.6.6.6\r\nX-Forwarded: 6.6.6.6\r\nX-Forwarded-Prefix: /evil\r\nTrue-Client-IP: 6.6.6.6\r\nCF_Connecting_IP: 6.6.6.6\r\n\
    Client-IP: 6.6.6.6\r\nX-Request-Start: t=666\r\nX_Request_ID: 66666666-6666-6666-6666\r\nX-Forwarded_Proto: https\r\nForwarded_For: kept\r\n";

#[test]
fn nothing_that_a_client_forged_reaches_the_instance() {
    let app = Instance::fixed(&ok(""));
    let world = World::with(&[&app]);
    // Also where other addresses are trusted.
    world.activate(&with_rules(2, Rules::default(), trusting(&["10.0.0.0/8", "127.0.0.2", "::1"])));
    ask_with(&world, FORGED);
    let got = app.requests().remove(0);
    for mark in ["6.6.6.6", "evil", "66666666-6666", ": 666\r", "t=666", "https"] {
        assert!(!got.head.contains(mark), "{mark}: {}", got.head);
    }
    let port = world.address.port().to_string();
    let said =
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"].map(|n| got.field(n));
    let ours = ["127.0.0.1", "http", "shop.test", &port, "for=127.0.0.1;host=shop.test;proto=http"];
    assert_eq!(said.map(|v| v.expect("said")), ours);
    assert_eq!(got.head.to_lowercase().matches("forwarded-for:").count(), 1, "{}", got.head);
}

#[test]
fn tracing_headers_pass_and_a_host_with_a_port_is_quoted() {
    let app = Instance::fixed(&ok(""));
    let world = World::with(&[&app]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = format!("GET / HTTP/1.1\r\nHost: Shop.test:8080\r\nTraceparent: {parent}\r\nTracestate: a=1,b=2\r\n\r\n");
    world.ask(&request);
    let got = app.requests().remove(0);
    assert_eq!((got.field("traceparent").as_deref(), got.field("tracestate").as_deref()), (Some(parent), Some("a=1,b=2")));
    assert_eq!(got.field("host").as_deref(), Some("Shop.test:8080"));
    assert_eq!(got.field("forwarded").as_deref(), Some("for=127.0.0.1;host=\"Shop.test:8080\";proto=http"));
}

// What it said; X-Forwarded-For without our part; proto, host, port; Forwarded without our part; the client.
type Case = (&'static str, &'static str, [&'static str; 3], &'static str, &'static str);
const TRUSTED: [Case; 11] = [
    ("", "", ["http", "shop.test", "PORT"], "", "127.0.0.1"),
    ("X-Forwarded-For: 9.9.9.9\r\n", "9.9.9.9, ", ["http", "shop.test", "PORT"], "for=9.9.9.9, ", "9.9.9.9"),
    // The rightmost that is not trusted, whatever a client wrote before it.
    (
        "X-Forwarded-For: 1.1.1.1, 9.9.9.9\r\nX-Forwarded-For: 10.2.3.4\r\n",
        "1.1.1.1, 9.9.9.9, 10.2.3.4, ",
        ["http", "shop.test", "PORT"],
        "for=1.1.1.1, for=9.9.9.9, for=10.2.3.4, ",
        "9.9.9.9",
    ),
    (
        "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n",
        "10.0.0.1, 10.0.0.2, ",
        ["http", "shop.test", "PORT"],
        "for=10.0.0.1, for=10.0.0.2, ",
        "10.0.0.1",
    ),
    (
        "X-Forwarded-For: 9.9.9.9, junk\r\n",
        "9.9.9.9, junk, ",
        ["http", "shop.test", "PORT"],
        "for=9.9.9.9, for=unknown, ",
        "127.0.0.1",
    ),
    (
        "X-Forwarded-For: [2001:db8::1]:99\r\n",
        "[2001:db8::1]:99, ",
        ["http", "shop.test", "PORT"],
        "for=\"[2001:db8::1]\", ",
        "2001:db8::1",
    ),
    // A Forwarded that does not end where X-Forwarded-For does was not written by the one that we trust.
    (
        "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 9.9.9.9\r\n",
        "9.9.9.9, ",
        ["http", "shop.test", "PORT"],
        "for=9.9.9.9, ",
        "9.9.9.9",
    ),
    (
        "Forwarded: for=9.9.9.9;proto=https;by=_x\r\nX-Forwarded-For: 9.9.9.9\r\n",
        "9.9.9.9, ",
        ["http", "shop.test", "PORT"],
        "for=9.9.9.9;proto=https;by=_x, ",
        "9.9.9.9",
    ),
    (
        "Forwarded: For=\"[2001:db8::1]:1\"\r\n",
        "2001:db8::1, ",
        ["http", "shop.test", "PORT"],
        "For=\"[2001:db8::1]:1\", ",
        "2001:db8::1",
    ),
    (
        "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: www.shop.example:8443\r\n",
        "9.9.9.9, ",
        ["https", "www.shop.example:8443", "8443"],
        "for=9.9.9.9, ",
        "9.9.9.9",
    ),
    // What can't be is not passed on, and neither is what stands twice.
    (
        "X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a b\r\nX-Forwarded-Port: 0\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 9.9.9.9\r\n",
        "",
        ["http", "shop.test", "PORT"],
        "",
        "127.0.0.1",
    ),
];

/// What a trusted proxy sends, and what the instance then gets: X-Forwarded-For, -Proto, -Host, -Port, Forwarded; and the client.
#[test]
fn a_trusted_proxy_is_believed_and_appended_to() {
    let ours = "for=127.0.0.1;host=shop.test;proto=http";
    let app = Instance::fixed(&ok(""));
    let world = World::with(&[&app]);
    world.activate(&with_rules(2, Rules::default(), trusting(&["10.0.0.0/8", "127.0.0.1"])));
    for (fields, addresses, [proto, host, port], elements, client) in TRUSTED {
        ask_with(&world, fields);
        let got = app.requests().pop().expect("a request");
        let said =
            ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"].map(|n| got.field(n));
        let port = if port == "PORT" { world.address.port().to_string() } else { port.to_owned() };
        let wanted = [format!("{addresses}127.0.0.1"), proto.to_owned(), host.to_owned(), port, format!("{elements}{ours}")];
        assert_eq!(said.map(Option::unwrap_or_default), wanted, "{fields}");
        let id = got.field("x-request-id").expect("an id");
        let line = world
            .daemon
            .wait("access", |m| matches!(m, FromProxy::Access { lines, .. } if lines.iter().any(|l| l.request_id == id)));
        let FromProxy::Access { lines, .. } = line else { panic!("{line:?}") };
        let line = lines.into_iter().find(|l| l.request_id == id).expect("line");
        assert_eq!(line.client, client.parse::<IpAddr>().expect("an address"), "{fields}");
        assert_eq!(got.field("x-real-ip"), None);
    }
}

#[test]
fn a_request_id_is_kept_from_a_trusted_proxy_if_it_is_one() {
    let app = Instance::fixed(&ok(""));
    let world = World::with(&[&app]);
    let good = "7d1f2b3c-0000-4000-8000-abcdef012345";
    ask_with(&world, &format!("X-Request-ID: {good}\r\n"));
    world.activate(&with_rules(2, Rules::default(), trusting(&["127.0.0.1"])));
    ask_with(&world, &format!("X-Request-ID: {good}\r\n"));
    ask_with(&world, "X-Request-ID: short\r\n");
    ask_with(&world, "X-Request-ID: spaces are not allowed here\r\n");
    ask_with(&world, "CF-Connecting-IP: 9.9.9.9\r\nTrue_Client_IP: 6.6.6.6\r\n");
    let got = app.requests();
    let ids: Vec<String> = got.iter().map(|r| r.field("x-request-id").expect("an id")).collect();
    assert_ne!(ids[0], good, "from a stranger");
    assert_eq!(ids[1], good);
    assert!(ids[2].len() == 32 && ids[3].len() == 32, "{ids:?}");
    assert_eq!(got[4].field("cf-connecting-ip").as_deref(), Some("9.9.9.9"), "a trusted proxy's own word");
    assert!(!got[4].head.contains("6.6.6.6"), "{}", got[4].head);
}

#[test]
fn https_is_asked_for_where_it_can_be_had() {
    let app = Instance::fixed(&ok(""));
    let world = World::with(&[&app]);
    let rules = || Rules { https_redirect: true, hsts: Some(31_536_000), ..Rules::default() };
    let place = |answer: &Answer| answer.field("location").map(str::to_owned);

    world.activate(&with_rules(2, rules(), Front::default()));
    let port = world.tls_address.port();
    let answer = world.ask("GET /a/b?c=d HTTP/1.1\r\nHost: SHOP.test:8080\r\n\r\n");
    assert_eq!((answer.status, place(&answer).as_deref()), (308, Some(format!("https://shop.test:{port}/a/b?c=d").as_str())));
    assert_eq!(answer.field("strict-transport-security"), None, "by plain HTTP it says nothing");
    assert_eq!(ask_with(&world, "X-Forwarded-Proto: https\r\n").status, 308, "a stranger does not decide that");
    assert_eq!(world.get("/.well-known/acme-challenge/token").status, 200, "an authority asks by plain HTTP");
    assert_eq!(world.get("/.well-known/acme-challenges").status, 308);

    world.activate(&with_rules(5, rules(), trusting(&["127.0.0.1"])));
    let answer = ask_with(&world, "X-Forwarded-Proto: https\r\n");
    assert_eq!((answer.status, answer.field("strict-transport-security")), (200, Some("max-age=31536000")));
    assert_eq!(place(&ask_with(&world, "X-Forwarded-Proto: http\r\n")).as_deref(), Some("https://shop.test/a?b=1"));
}

#[test]
fn a_redirect_to_another_host_keeps_the_scheme() {
    let world = World::start();
    let mut to = routed(1, Action::Redirect { to: host("www.shop.test") }, vec![]);
    to.front = trusting(&["127.0.0.1"]);
    world.activate(&to);
    let answer = ask_with(&world, "X-Forwarded-Proto: https\r\n");
    assert_eq!(answer.field("location"), Some("https://www.shop.test/a?b=1"));
}

#[test]
fn a_body_over_the_limit_is_refused_before_or_while_it_comes() {
    let app = Instance::start(|got, to| {
        use std::io::Write;
        to.write_all(ok(&got.body.len().to_string()).as_bytes()).is_ok()
    });
    let world = World::with(&[&app]);
    world.activate(&with_rules(2, Rules { max_body: Some(10), ..Rules::default() }, Front::default()));
    let chunked = |sizes: &[usize]| {
        let chunks: String = sizes.iter().map(|n| format!("{n:x}\r\n{}\r\n", "x".repeat(*n))).collect();
        format!("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    };
    let fixed = |n: usize| format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {n}\r\n\r\n{}", "x".repeat(n));
    for fits in [fixed(10), chunked(&[4, 6]), chunked(&[10]), fixed(0)] {
        assert_eq!(world.ask(&fits).status, 200, "{fits}");
    }
    let before = app.requests().len();
    let waits = "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n".to_owned();
    for too_large in [fixed(11), chunked(&[11]), chunked(&[4, 7]), waits] {
        let answer = world.ask(&too_large);
        assert_eq!((answer.status, answer.field("connection")), (413, Some("close")), "{too_large}");
        assert!(answer.body.contains(answer.field("x-request-id").expect("an id")), "{}", answer.body);
    }
    assert_eq!(app.requests().len(), before, "no whole request reached the instance");
    // Without a limit anything goes.
    world.activate(&with_rules(3, Rules::default(), Front::default()));
    assert_eq!(world.ask(&fixed(100_000)).body, "100000");
}

#[test]
fn maintenance_answers_with_the_apps_own_words_as_text() {
    let app = Instance::fixed(&ok("app"));
    let world = World::with(&[&app]);
    let working = |message: &str, hold_ms| Rules {
        maintenance: Some(Maintenance { message: Some(message.to_owned()).filter(|m| !m.is_empty()), hold_ms }),
        ..Rules::default()
    };
    world.activate(&with_rules(2, working("Back at <b>5</b> & \"later\"", 0), Front::default()));
    let answer = world.get("/");
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("30")));
    assert!(answer.body.contains("Back at &lt;b&gt;5&lt;/b&gt; &amp; &quot;later&quot;"), "{}", answer.body);
    let answer = ask_with(&world, "Accept: application/json\r\n");
    let json: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(json["error"]["message"], "Back at <b>5</b> & \"later\"");
    assert_eq!(json["error"]["request_id"].as_str(), answer.field("x-request-id"));
    assert!(app.requests().is_empty());

    world.activate(&with_rules(3, working("", 400), Front::default()));
    let begun = std::time::Instant::now();
    let answer = world.get("/");
    assert!(begun.elapsed() >= std::time::Duration::from_millis(400), "it waited first");
    assert!(answer.status == 503 && answer.body.contains("being worked on"), "{}", answer.body);

    world.activate(&with_rules(4, working("", 20_000), Front::default()));
    let mut client = world.client();
    client.send("GET /held HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    std::thread::sleep(std::time::Duration::from_millis(200));
    world.activate(&with_rules(5, Rules::default(), Front::default()));
    assert_eq!(client.answer().body, "app", "a held request goes on when it is over");
}

#[test]
fn an_unknown_host_learns_nothing() {
    let world = World::with(&[&Instance::fixed(&ok(""))]);
    for accept in ["text/html", "application/json"] {
        let answer = world.ask(&format!("GET / HTTP/1.1\r\nHost: other.test\r\nAccept: {accept}\r\n\r\n"));
        assert_eq!(answer.status, 404);
        let all = (answer.head.clone() + &answer.body).to_lowercase();
        for word in ["shop", "paas", "server:", "via:", "x-powered-by", "other.test", env!("CARGO_PKG_VERSION")] {
            assert!(!all.contains(word), "{word}: {all}");
        }
        assert!(answer.body.contains(answer.field("x-request-id").expect("an id")));
    }
}

fn question(world: &World, head: &str) -> Question {
    let mut lines = head.split("\r\n").filter(|l| !l.is_empty());
    let mut first = lines.next().expect("a line").split(' ');
    let mut word = || first.next().expect("a word").to_owned();
    Question {
        method: word(),
        target: word(),
        fields: lines.map(|l| l.split_once(": ").map_or((l, ""), |f| f)).map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        from: [127, 0, 0, 1].into(),
        tls: false,
        https_port: Some(world.tls_address.port()),
        port: world.address.port(),
        at: UnixMillis(0),
    }
}

#[test]
fn nobody_is_sent_to_a_port_where_no_one_answers() {
    let made = with_rules(1, Rules { https_redirect: true, ..Rules::default() }, Front::default());
    let ask = |https_port| {
        let question = Question {
            method: "GET".to_owned(),
            target: "/x".to_owned(),
            fields: vec![("Host".to_owned(), "shop.test".to_owned())],
            from: [127, 0, 0, 1].into(),
            tls: false,
            port: 80,
            https_port,
            at: UnixMillis(0),
        };
        explain(Some(&made), &question).outcome
    };
    assert_eq!(ask(None), Outcome::Forward(vec![InstanceId(1)]));
    assert_eq!(ask(Some(443)), Outcome::Secure("https://shop.test/x".to_owned()));
    assert_eq!(ask(Some(8443)), Outcome::Secure("https://shop.test:8443/x".to_owned()));
}

/// The fields that the instance gets, by name and value; what is made for each request is left out.
fn told(explained: &Explained) -> Vec<(String, String)> {
    let there = explained.request.iter().filter(|c| c.kind != ChangeKind::Removed);
    let mut all: Vec<_> = there.map(|c| (c.name.to_lowercase(), c.value.clone())).collect();
    all.retain(|(name, value)| name != "x-request-start" && value != MADE);
    all.sort();
    all
}

#[test]
fn what_explain_says_is_what_the_proxy_does() {
    let app = Instance::fixed(&ok(""));
    let world = World::with(&[&app]);
    let secure = Rules { https_redirect: true, hsts: Some(60), max_body: Some(4), ..Rules::default() };
    let busy = Rules { maintenance: Some(Maintenance::default()), ..Rules::default() };
    let snapshots = [
        with_rules(2, Rules::default(), Front::default()),
        with_rules(3, Rules { max_body: Some(4), ..Rules::default() }, trusting(&["127.0.0.0/8"])),
        with_rules(4, secure.clone(), trusting(&["127.0.0.1"])),
        with_rules(5, secure, Front::default()),
        with_rules(6, busy, Front::default()),
        Snapshot { commit_header: true, ..snapshot(7, &[1], &[]) },
        snapshot(8, &[], &[]),
        routed(9, Action::Redirect { to: host("www.shop.test") }, vec![]),
    ];
    let heads = [
        "GET /a?b=1 HTTP/1.1\r\nHost: shop.test\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: Shop.test:81\r\nAccept: x/y\r\nConnection: X-Gone, Upgrade\r\nX-Gone: 1\r\nUpgrade: websocket\r\n{FORGED}\r\n"),
        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\nTE: trailers\r\n\r\n12345".to_owned(),
        "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: shop.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
        "TRACE / HTTP/1.1\r\nHost: shop.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Request-ID: 01234567890123456789\r\n\r\n".to_owned(),
    ];
    for made in &snapshots {
        world.activate(made);
        for head in &heads {
            let explained = explain(Some(made), &question(&world, head.split("\r\n\r\n").next().expect("a head")));
            let before = app.requests().len();
            let answer = world.ask(head);
            let context = format!("snapshot {}\n{head}\n{explained:?}\n{answer:?}", made.version);
            assert_eq!(answer.status, explained.status.unwrap_or(200), "{context}");
            if let Outcome::Secure(to) | Outcome::Redirect(to) = &explained.outcome {
                assert_eq!(answer.field("location"), Some(to.as_str()), "{context}");
            }
            for added in &explained.answer {
                assert_eq!(answer.field(&added.name), Some(added.value.as_str()), "{context}");
            }
            for name in ["strict-transport-security", "x-paas-commit", "x-paas-release"] {
                let told = explained.answer.iter().any(|c| c.name.eq_ignore_ascii_case(name));
                assert_eq!(answer.field(name).is_some(), told, "{name}: {context}");
            }
            let got = app.requests();
            assert_eq!(got.len() > before, matches!(explained.outcome, Outcome::Forward(_)), "{context}");
            let Some(got) = got.get(before) else { continue };
            let fields = got.head.lines().skip(1).filter_map(|l| l.split_once(": "));
            let mut real: Vec<_> = fields.map(|(n, v)| (n.to_lowercase(), v.to_owned())).collect();
            let made_id = explained.request.iter().any(|c| c.value == MADE);
            real.retain(|(name, _)| name != "x-request-start" && !(made_id && name == "x-request-id"));
            real.sort();
            assert_eq!(real, told(&explained), "{context}");
        }
    }
}
