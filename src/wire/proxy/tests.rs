use super::*;

#[test]
fn a_key_is_not_printed() {
    let certificate = Certificate { names: vec![], chain: "public".to_owned(), key: Secret::new("hidden".to_owned()) };
    let front = Front { certs: vec![certificate], ..Front::default() };
    assert!(!format!("{front:?}").contains("hidden"));
    assert!(serde_json::to_string(&front).expect("encode").contains("hidden"), "the proxy needs it");
}

#[test]
fn a_frame_of_access_lines_is_the_message() {
    let line = AccessLine {
        at: UnixMillis(1),
        app: Some(Cow::Owned(AppName::parse("shop").expect("app"))),
        target: Some(InstanceId(3)),
        method: "GET".into(),
        path: "/a\"b\u{1}é".into(),
        host: "shop.test".into(),
        status: 200,
        bytes_in: 0,
        bytes_out: 5,
        micros_total: 7,
        micros_first_byte: None,
        client: "2001:db8::1".parse().expect("address"),
        request_id: "id".into(),
        held_ms: 0,
        retries: 1,
        error: Some("why".into()),
        sample_ppm: WHOLE,
    };
    for count in 0..3 {
        let mut access = AccessFrame::default();
        for _ in 0..count {
            access.push(&serde_json::to_vec(&line).expect("encode"));
        }
        let bytes = access.end(9).expect("frame");
        let message = FromProxy::Access { lines: vec![line.clone(); count], lost: 9 };
        assert_eq!(frame::read_blocking::<FromProxy>(&mut bytes.as_slice(), MAX_FRAME).expect("read"), Some(message));
    }
}

#[test]
fn a_snapshot_comes_back_as_it_was_and_a_foreign_key_is_refused() {
    let snapshot = Snapshot {
        version: 7,
        routes: vec![Route {
            host: Hostname::parse("shop.test").expect("host"),
            app: AppName::parse("shop").expect("app"),
            action: Action::Hold { limit_ms: 5 },
            rules: Rules::default(),
        }],
        targets: vec![],
        commit_header: true,
        front: Front::default(),
    };
    let json = serde_json::to_string(&ToProxy::Prepare(snapshot.clone())).expect("encode");
    assert_eq!(serde_json::from_str::<ToProxy>(&json).expect("decode"), ToProxy::Prepare(snapshot));
    let newer = json.replace("commit_header", "comet_header");
    assert!(serde_json::from_str::<ToProxy>(&newer).is_err());
}
