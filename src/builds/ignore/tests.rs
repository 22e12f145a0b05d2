use super::Ignore;

#[test]
fn patterns_mean_what_the_docker_command_makes_of_them() {
    let text = "# comment\nnode_modules\n/dist/\n*.log\n**/*.tmp\ntarget/*\n!target/keep\nfoo?\n!important.log\n.git\n  \n";
    let ignore = Ignore::parse(text).expect("valid patterns");
    for path in
        ["node_modules", "node_modules/a/b.js", "dist/x", "a.log", "a/b/c.tmp", "c.tmp", "target/x", "food", ".git/config"]
    {
        assert!(ignore.excludes(path), "{path} is left out");
    }
    for path in ["src/node_modules/x", "sub/a.log", "important.log", "target/keep", "target/keep/x", "foo", "fooxx", "src/dist"] {
        assert!(!ignore.excludes(path), "{path} is sent");
    }
}

#[test]
fn everything_but_a_few_can_be_left_out() {
    let ignore = Ignore::parse("*\n!src\n!package.json\nsrc/secret").expect("valid patterns");
    assert!(ignore.excludes("README.md"));
    assert!(!ignore.excludes("src/index.js"));
    assert!(!ignore.excludes("package.json"));
    assert!(ignore.excludes("src/secret/key"));
}

#[test]
fn a_broken_pattern_is_named() {
    let error = Ignore::parse("a\n[z").expect_err("an unclosed class");
    assert!(error.contains("[z"), "{error}");
}
