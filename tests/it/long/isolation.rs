//! What a newer Docker than Debian 12 has confines.

use crate::support::{OwnEngine, World, two_dockerds};

#[test]
fn a_dockerfile_opens_no_image_of_another_app_however_it_makes_the_name() {
    let dockerds = two_dockerds();
    let engine = OwnEngine::prepare(&[]);
    engine.use_program(&dockerds.newer);
    engine.start_dockerd();
    let w = World::start_on(engine);
    let (other, _repo) = w.live("other", "one");
    let (app, repo) = w.live("curious", "two");
    let tag_of = |app: &str| {
        let ours = w.engine().docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().out;
        ours.lines().find(|tag| tag.contains(&format!("/{app}:"))).expect("it has an image").to_owned()
    };
    let (others, own) = (tag_of(&other), tag_of(&app));
    let push = |dockerfile: &str| {
        repo.write("Dockerfile", dockerfile).commit("another Dockerfile");
        w.push(&repo, &app)
    };

    for dockerfile in [
        format!("FROM {others}\n"),
        format!("FROM docker.io/{others}\n"),
        format!("FROM index.docker.io/{others}\n"),
        format!("ARG OTHER={others}\nFROM $OTHER\n"),
        format!("FROM scratch\nCOPY --from={others} / /\nENTRYPOINT [\"/testapp\"]\n"),
        format!("FROM {own}\nRUN --mount=from={others},target=/other [\"/testapp\", \"release\"]\n"),
        format!("# syntax={others}\nFROM scratch\n"),
    ] {
        let pushed = push(&dockerfile);
        assert_ne!(pushed.code, 0, "taken: {dockerfile}\n{pushed}");
        pushed.says(&["it opens an image that is not this app's", "of a registry"]);
    }
    w.serves(&app, "two");

    push(&format!("FROM {own}\nCOPY version mode /\n")).ok();
    assert_eq!(w.live_release(&app).as_deref(), Some("v2"));
}
