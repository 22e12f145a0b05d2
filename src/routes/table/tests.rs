use super::*;
use crate::wire::limits::Limits;

fn instance(id: i64, app: &str, process: &str, wanted: Wanted) -> InstanceView {
    let row = Instance { app: AppName::parse(app).expect("valid"), wanted, ..Instance::example(id, process) };
    InstanceView { row, commit: None, drain: Duration::from_secs(30), drain_streams: Duration::from_secs(600), suspended: false }
}

fn view() -> View {
    let shop = AppName::parse("shop").expect("valid");
    let instances = vec![
        instance(1, "shop", "web", Wanted::Live),
        instance(2, "shop", "worker", Wanted::Live),
        instance(3, "shop", "web", Wanted::Candidate),
    ];
    let www = Domain {
        host: Hostname::parse("www.shop.example").expect("valid"),
        app: shop.clone(),
        redirect_to: Some(Hostname::parse("shop.example").expect("valid")),
        from_manifest: false,
    };
    View {
        apps: vec![AppView { app_id: 1, name: shop, held: false, maintenance: None, http: HttpSpec::default(), instances }],
        domains: vec![www],
        base: None,
        commit_header: false,
        certified: Vec::new(),
        front: Front { limits: Limits { head_bytes: 12345, ..Limits::default() }, ..Front::default() },
    }
}

#[test]
fn only_live_web_instances_are_routed_to() {
    let made = snapshot(&view(), 7);
    assert_eq!((made.version, made.front.limits.head_bytes), (7, 12345));
    assert_eq!(made.routes[0].host.as_str(), "shop.localhost");
    assert_eq!(made.routes[0].action, Action::Forward { targets: vec![InstanceId(1)] });
    assert!(matches!(made.routes[1].action, Action::Redirect { .. }));
    assert_eq!(made.targets.len(), 1, "neither the worker nor the candidate is a target");
}

#[test]
fn the_commit_point_swaps_the_sets_and_drains_the_old_one() {
    let mut view = view();
    view.apps[0].held = true;
    assert!(matches!(snapshot(&view, 1).routes[0].action, Action::Hold { .. }));
    let host = Hostname::parse("shop.example").expect("valid");
    apply(
        &mut view,
        &Pending {
            app_id: 1,
            live: vec![InstanceId(3)],
            retire: vec![InstanceId(1), InstanceId(2)],
            domains: vec![host.clone()],
            http: HttpSpec { max_body: Some(7), ..HttpSpec::default() },
        },
    );
    let made = snapshot(&view, 2);
    assert_eq!(made.routes[0].action, Action::Forward { targets: vec![InstanceId(3)] });
    assert!(made.routes.iter().any(|r| r.host == host));
    let old = made.targets.iter().find(|t| t.id == InstanceId(1)).expect("the old one drains");
    assert_eq!(old.drain.as_ref().expect("draining").streams_ms, 600_000);
    assert!(made.targets.iter().find(|t| t.id == InstanceId(3)).expect("new one").drain.is_none());
}

#[test]
fn the_rules_of_an_app_stand_at_each_of_its_routes() {
    let mut view = view();
    view.apps[0].http = HttpSpec { hsts: Some(9), max_body: Some(8), ..HttpSpec::default() };
    view.certified.push(HostPattern::parse("*.shop.example").expect("a pattern"));
    let of = |view: &View| -> Vec<(String, Rules)> {
        snapshot(view, 1).routes.into_iter().map(|r| (r.host.to_string(), r.rules)).collect()
    };
    let routes = of(&view);
    assert!(routes.iter().all(|(_, rules)| rules.hsts == Some(9) && rules.max_body == Some(8)), "{routes:?}");
    // `auto`: only where a certificate that browsers know is there.
    let redirected = |view: &View| of(view).into_iter().filter(|(_, r)| r.https_redirect).map(|(h, _)| h).collect::<Vec<_>>();
    assert_eq!(redirected(&view), ["www.shop.example"]);
    view.apps[0].http.https = Https::Both;
    assert!(redirected(&view).is_empty());
    view.apps[0].http.https = Https::Redirect;
    assert_eq!(redirected(&view).len(), 2);

    view.apps[0].maintenance = Some(Maintenance {
        message: Some("soon".to_owned()),
        hold: Duration::from_secs(2),
        since: UnixMillis(0),
        by: "root".to_owned(),
    });
    let made = snapshot(&view, 2);
    let shown = made.routes[0].rules.maintenance.clone().expect("maintenance");
    assert_eq!((shown.message.as_deref(), shown.hold_ms), (Some("soon"), 2000));
    assert_eq!(made.routes[0].action, Action::Forward { targets: vec![InstanceId(1)] }, "deploys and drains go on");
    apply(&mut view, &Pending { app_id: 1, live: vec![], retire: vec![], domains: vec![], http: HttpSpec::default() });
    let after = snapshot(&view, 3);
    assert_eq!(
        (after.routes[0].rules.max_body, after.routes[0].rules.maintenance.is_some()),
        (None, true),
        "a deploy does not end it"
    );
}

#[test]
fn a_certificate_that_has_ended_hides_no_good_one_and_is_shown_where_it_is_the_only_one() {
    let of = |hosts: &[&str], until: i64| Certificate::example(hosts, UnixMillis(until));
    let names = |now| {
        let all = vec![of(&["a.shop.example", "shop.example"], 20), of(&["*.shop.example"], 30)];
        shown(all, UnixMillis(now)).into_iter().map(|c| c.names).collect::<Vec<_>>()
    };
    assert_eq!(names(19), [vec!["a.shop.example", "shop.example"], vec!["*.shop.example"]]);
    assert_eq!(names(20), [vec!["shop.example"], vec!["*.shop.example"]]);
    assert_eq!(names(30), names(19), "none is good: each is shown");
}
