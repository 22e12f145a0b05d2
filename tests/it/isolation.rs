//! An instance has what it needs and nothing more, whatever its image says.

use std::process::Command;
use std::time::Duration;

use crate::support::{Repo, World, run};

#[test]
fn every_instance_is_confined_by_default() {
    let w = World::shared("isolation");
    let (app, _repo) = w.live("confined", "one");
    let id = container(&w, &app);

    let inspected = w.docker(&["inspect", &id]).ok().json();

    let host = &inspected[0]["HostConfig"];
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{host}");
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["CapDrop"][0], "ALL", "{host}");
    assert_eq!(host["Memory"], 512 * 1024 * 1024);
    assert_eq!(host["PidsLimit"], 512);
    assert!(matches!(host["RestartPolicy"]["Name"].as_str(), Some("no" | "")), "one owner restarts: {host}");
    assert_eq!(host["LogConfig"]["Type"], "none", "output goes through init alone");
    assert!(host["PortBindings"].as_object().is_none_or(|ports| ports.is_empty()), "no port is published: {host}");
    assert!(host["OomScoreAdj"].as_i64().is_some_and(|score| score > 0), "{host}");
    let mounts = inspected[0]["Mounts"].as_array().cloned().unwrap_or_default();
    assert!(mounts.iter().all(|mount| mount["RW"] == false), "an instance writes to no folder of the host: {mounts:?}");
}

#[test]
fn a_root_that_was_asked_to_be_read_only_is() {
    let w = World::shared("isolation");
    let (app, repo) = w.live("readonly", "one");
    assert_eq!(w.get(&app, "/write").text(), "written\n");

    repo.write("paas.toml", "[processes.web]\nread_only = true\n").release("two");
    w.push(&repo, &app).ok();

    assert_ne!(w.get(&app, "/write").text(), "written\n");
}

#[test]
fn the_manifests_limits_are_those_of_the_container_and_memory_ends_there() {
    let w = World::shared("isolation");
    let (app, repo) = (w.app("small"), Repo::testapp("one"));
    repo.write("paas.toml", "[processes.web]\nmemory = \"64MiB\"\npids = 40\ncpus = 0.5\n").commit("limits");
    w.push(&repo, &app).ok();

    let host = w.docker(&["inspect", &container(&w, &app)]).ok().json()[0]["HostConfig"].clone();
    assert_eq!((host["Memory"].as_u64(), host["PidsLimit"].as_u64()), (Some(64 << 20), Some(40)));
    assert_eq!((host["MemorySwap"].as_u64(), host["NanoCpus"].as_u64()), (Some(64 << 20), Some(500_000_000)), "no swap on top");

    // The kernel ends the app; init starts it again and the daemon can tell why.
    assert_eq!(w.get(&app, "/eat?mb=200").status, 502);
    let serves = || (w.get(&app, "/").status == 200).then_some(());
    crate::support::eventually("init starts it again", std::time::Duration::from_secs(10), serves);
    let ps = w.paas(&["ps", "-a", &app, "--json"]).ok();
    assert!(ps.out.contains("memory"), "{ps}");
}

#[test]
fn an_app_sees_no_other_app_and_not_the_daemon() {
    let w = World::shared("isolation");
    let (one, _repo) = w.live("one", "one");
    let (two, _repo) = w.live("two", "one");
    let networks = |app: &str| {
        let inspected = w.docker(&["inspect", &container(&w, app)]).ok().json();
        let networks = inspected[0]["NetworkSettings"]["Networks"].as_object().cloned().unwrap_or_default();
        networks.keys().cloned().collect::<Vec<_>>()
    };

    let (first, second) = (networks(&one), networks(&two));

    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second, "each app has a network of its own");
    assert!(!first.contains(&"bridge".to_owned()));
}

fn container(w: &World, app: &str) -> String {
    let ids = w.docker(&["ps", "-q", "--no-trunc", "--filter", &format!("label=paas.app={app}")]).ok().out;
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 1, "one container of {app}, not {ids:?}");
    ids[0].to_owned()
}

#[test]
fn a_subnet_that_another_program_has_taken_is_left_to_it() {
    let w = World::start();
    let first = w.subnets().replace("/18", "/26");
    let name = format!("other-{}", w.domain);
    w.docker(&["network", "create", "--subnet", &first, &name]).ok();

    let (app, _repo) = w.live("second", "one");

    let network = w.docker(&["network", "inspect", &container_network(&w, &app)]).ok().json();
    let gone = w.docker(&["network", "rm", &name]);
    assert_ne!(network[0]["IPAM"]["Config"][0]["Subnet"], first.as_str(), "{network}");
    gone.ok();
    // Another start finds the network that is there.
    w.paas(&["ps", "restart", "-a", &app]).ok();
    w.serves(&app, "one");
}

#[test]
fn a_subnet_that_an_interface_of_the_host_has_is_left_to_it() {
    let w = World::start();
    let first = w.subnets().replace("/18", "/26");
    let own = first.replace(".0/26", ".1/26");
    let name = format!("t{}", std::process::id());
    let ip = |args: &[&str]| run(Command::new("ip").args(args), b"", Duration::from_secs(10));
    ip(&["link", "add", &name, "type", "bridge"]).ok();
    ip(&["address", "add", &own, "dev", &name]).ok();
    ip(&["link", "set", &name, "up"]).ok();

    let (app, _repo) = w.live("beside", "one");

    let gone = ip(&["link", "del", &name]);
    let network = w.docker(&["network", "inspect", &container_network(&w, &app)]).ok().json();
    assert_ne!(network[0]["IPAM"]["Config"][0]["Subnet"], first.as_str(), "{network}");
    gone.ok();
}

fn container_network(w: &World, app: &str) -> String {
    let inspected = w.docker(&["inspect", &container(w, app)]).ok().json();
    let networks = inspected[0]["NetworkSettings"]["Networks"].as_object().cloned().unwrap_or_default();
    networks.keys().next().cloned().expect("an instance is in its app's network")
}

#[test]
fn a_key_of_one_app_gets_no_image_of_another_by_naming_it_in_its_manifest() {
    let w = World::shared("isolation");
    let (other, _repo) = w.live("other", "one");
    let ours = w.docker(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).ok().out;
    let line = ours.lines().find(|line| line.contains(&format!("/{other}:"))).expect("it has an image");
    let (tag, id) = line.split_once(' ').expect("a name and an id");
    let app = w.app("curious");
    w.paas(&["apps", "create", &app]).ok();
    w.add_key("curious", &["--app", &app, "--deploy-only"]).ok();
    let repo = Repo::empty();
    let push = |named: &str| {
        repo.write("paas.toml", format!("[build]\nimage = \"{named}\"\n")).commit(named);
        w.push_as("curious", &repo, &app, &["+HEAD:refs/heads/main"])
    };

    for named in [tag, &format!("docker.io/{tag}"), id, &id["sha256:".len()..][..12]] {
        let pushed = push(named);
        assert_ne!(pushed.code, 0, "{named} was taken:\n{pushed}");
        pushed.says(&["is not this app's", "paas deploy --image"]);
    }
    assert!(w.releases(&app).is_empty());

    // Whoever may ask the engine has given it a name for all; that it is another app's too takes nothing away.
    let public = format!("public-{}:1", w.domain);
    w.docker(&["tag", tag, &public]).ok();
    let pushed = push(&public);
    w.docker(&["rmi", &public]).ok();
    pushed.ok();
    w.serves(&app, "one");
}
