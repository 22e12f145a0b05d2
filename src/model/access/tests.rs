use super::*;

fn key(apps: Option<&[&str]>, deploy_only: bool) -> Identity {
    Identity::Key(SshKey {
        id: KeyId(1),
        name: KeyName::parse("laptop").expect("valid"),
        algorithm: "ssh-ed25519".to_owned(),
        blob: String::new(),
        fingerprint: String::new(),
        apps: apps.map(|names| names.iter().map(|n| AppName::parse(n).expect("valid")).collect()),
        deploy_only,
        created_at: UnixMillis(0),
        last_used_at: None,
    })
}

/// Every kind of key × every right × own app, other app, no app: the whole matrix, written out.
#[test]
fn the_rights_of_every_kind_of_key_are_these() {
    let shop = AppName::parse("shop").expect("valid");
    let other = AppName::parse("other").expect("valid");
    let rights = [Right::Deploy, Right::Operate, Right::Create, Right::Administer];
    let row = |who: &Identity, app: Option<&AppName>| rights.map(|r| who.may(r, app));
    let admin = Identity::Admin { name: "root".to_owned() };
    for app in [Some(&shop), Some(&other), None] {
        assert_eq!(row(&admin, app), [true, true, true, true]);
        assert_eq!(row(&key(None, false), app), [true, true, true, true]);
        assert_eq!(row(&key(None, true), app), [true, false, false, false]);
    }
    assert_eq!(row(&key(Some(&["shop"]), false), Some(&shop)), [true, true, true, false]);
    assert_eq!(row(&key(Some(&["shop"]), false), Some(&other)), [false; 4]);
    assert_eq!(row(&key(Some(&["shop"]), false), None), [false; 4]);
    assert_eq!(row(&key(Some(&["shop"]), true), Some(&shop)), [true, false, false, false]);
    assert_eq!(row(&key(Some(&[]), false), Some(&shop)), [false; 4]);
}
