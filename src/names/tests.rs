use super::*;

#[test]
fn an_app_name_is_a_dns_label_and_nothing_else() {
    for good in ["shop", "my-app-2", "ab", &"a".repeat(32)] {
        assert!(AppName::parse(good).is_ok(), "{good}");
    }
    for bad in
        ["", "a", "Shop", "shop-", "-shop", "1shop", "../x", "a b", "a;b", "a$(id)", "a\n", "shöp", "a/b", "a.b", &"a".repeat(33)]
    {
        assert!(AppName::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_refused_name_is_shown_short_and_harmless() {
    let error = AppName::parse(&format!("\x1b]0;{}", "x".repeat(500))).expect_err("must be refused");
    let text = error.to_string();
    assert!(!text.contains('\x1b'));
    assert!(text.len() < 300, "{text}");
}

#[test]
fn a_host_name_has_one_spelling() {
    assert_eq!(Hostname::parse("Shop.Example.COM.").expect("valid").as_str(), "shop.example.com");
    for bad in ["", ".", "a..b", "-a.com", "a-.com", "a.com:80", "*.a.com", "a/b", "10.0.0.1", "a_b.com", "shöp.de", "a b"] {
        assert!(Hostname::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_branch_name_cannot_leave_refs_heads() {
    for good in ["main", "feature/x-1", "v1.2"] {
        assert!(BranchName::parse(good).is_ok(), "{good}");
    }
    for bad in
        ["", "../x", "a..b", "/a", "a/", "-a", "a//b", "a.lock", "a b", "a;b", "a\\b", "a/.b", "@{x}", "a~1", "a^", "a:b", "a?"]
    {
        assert!(BranchName::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn numbers_are_read_with_and_without_their_letter() {
    assert_eq!(DeployId::parse("d12"), Ok(DeployId(12)));
    assert_eq!(ReleaseNumber::parse("3"), Ok(ReleaseNumber(3)));
    assert_eq!(ReleaseNumber(3).to_string(), "v3");
    for bad in ["", "d", "d0", "d-1", "dd1", "d+1", "99999999999999999999"] {
        assert!(DeployId::parse(bad).is_err(), "{bad}");
    }
}
