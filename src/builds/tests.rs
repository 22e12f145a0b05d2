use std::path::Path;

use super::buildpack::Buildpack;
use super::detect::{Way, choose};
use super::error::BuildError;
use super::source::SourceTree;
use crate::manifest::BuildSpec;

fn packs() -> Vec<Buildpack> {
    Buildpack::all(Path::new("/nonexistent")).expect("the compiled-in buildpacks parse")
}

fn way(paths: &[&str], build: &BuildSpec) -> Result<String, BuildError> {
    choose(&SourceTree::of(paths), build, &packs()).map(|choice| match choice.way {
        Way::Image { reference } => format!("image {reference}"),
        Way::Dockerfile { path } => format!("dockerfile {path}"),
        Way::Buildpack { name } => name,
    })
}

#[test]
fn a_secret_of_several_lines_is_hidden_line_by_line_and_one_inside_another_leaves_no_rest() {
    let secret = |text: &str| crate::base::secret::Secret::new(text.to_owned());
    let pem = "-----BEGIN KEY-----\nMIIEpAIBAA\nab\n-----END KEY-----\n";
    let all = [("A", "hunter22"), ("B", "hunter22-and-more"), ("PEM", pem), ("SHORT", "abc")];
    let mask = super::lines::Mask::of(&all.map(|(k, v)| (k.to_owned(), secret(v))).into());
    assert_eq!(mask.apply("with hunter22-and-more and hunter22"), "with *** and ***");
    assert_eq!(mask.apply("key: MIIEpAIBAA"), "key: ***");
    // Too short to be hidden: it would blacken ordinary words.
    assert_eq!(mask.apply("abc is ab"), "abc is ab");
}

#[test]
fn every_buildpack_parses_and_no_two_are_tied() {
    let packs = packs();
    let names: Vec<&str> = packs.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["prebuilt", "go", "python", "node", "static"], "in their order of detection");
    let mut orders: Vec<u32> = packs.iter().map(Buildpack::order).collect();
    orders.dedup();
    assert_eq!(orders.len(), packs.len());
}

#[test]
fn trees_are_recognised() {
    let none = BuildSpec::default();
    let table: &[(&[&str], &str)] = &[
        (&["package.json", "index.html"], "node"),
        (&["package.json", "Dockerfile"], "dockerfile Dockerfile"),
        (&["requirements.txt", "app.py"], "python"),
        (&["pyproject.toml"], "python"),
        (&["manage.py", "package.json", "requirements.txt"], "python"),
        (&["go.mod", "main.go", "package.json"], "go"),
        (&["public/index.html"], "static"),
        (&["index.html", "Procfile"], "static"),
        (&["bin/shop", "releases/start_erl.data", "lib/shop-1.0/ebin/shop.app"], "prebuilt"),
        (&["bin/server", "Procfile"], "prebuilt"),
        (&["bin/rails", "package.json", "Procfile"], "node"),
    ];
    for (paths, expected) in table {
        assert_eq!(way(paths, &none).expect("recognised"), *expected, "{paths:?}");
    }
}

#[test]
fn the_manifest_comes_first_and_must_fit() {
    let build = |f: fn(&mut BuildSpec)| {
        let mut build = BuildSpec::default();
        f(&mut build);
        build
    };
    let tree = ["Dockerfile", "docker/web.Dockerfile", "package.json"];
    assert_eq!(way(&tree, &build(|b| b.buildpack = Some("node".into()))).expect("fits"), "node");
    assert_eq!(
        way(&tree, &build(|b| b.dockerfile = Some("docker/web.Dockerfile".into()))).expect("fits"),
        "dockerfile docker/web.Dockerfile"
    );
    assert_eq!(way(&[], &build(|b| b.image = Some("x:1".into()))).expect("fits"), "image x:1");
    let error = way(&tree, &build(|b| b.buildpack = Some("cobol".into()))).expect_err("unknown");
    assert!(error.hint().expect("hint").contains("go, python, node, static"), "{error:?}");
    assert!(way(&tree, &build(|b| b.dockerfile = Some("nope".into()))).expect_err("missing").to_string().contains("`nope`"));
    assert!(way(&[], &build(|b| b.path = Some("web".into()))).expect_err("empty").to_string().contains("`web`"));
    let error = way(&["README.md"], &BuildSpec::default()).expect_err("nothing fits");
    assert!(error.to_string().contains("package.json") && error.hint().expect("hint").contains("Dockerfile"), "{error}");
}

#[test]
fn the_script_of_a_release_is_told_from_its_helpers() {
    let tree = SourceTree::of(&[
        "bin/migrate",
        "bin/server",
        "bin/shop",
        "bin/shop.bat",
        "releases/0.1.0/env.sh",
        "lib/shop-0.1.0/ebin/shop.app",
    ]);
    assert_eq!(super::detect::release_script(&tree).as_deref(), Some("shop"));
}
