//! `install.sh` on a bare Debian without systemd: what it brings, that a second run changes nothing, and that it takes everything away again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{Done, Server, eventually};

/// The story of one machine, told in order: each part stands on what the one before left.
#[test]
fn install_sh_makes_a_bare_machine_a_server_and_takes_everything_away_again() {
    let server = Server::bare();
    let bare = Listing::of(&server);
    packages_come_and_a_taken_port_is_named(&server);
    a_second_run_changes_nothing(&server);
    let without = purge_leaves_nothing_of_paas(&server, &bare);

    // From here on an engine runs and base images are there already: they belong to whoever brought them.
    start_docker(&server);
    let stack = server.load_images("paas-stack/debian");
    server.load_images("paas-stack/static-*");
    assert!(!stack.is_empty(), "the base image that the machine was made of has a name");
    let images = image_names(&server);
    the_demo_shows_its_page(&server);
    nothing_is_removed_while_docker_hangs(&server);
    a_port_that_is_taken_later_stops_the_run_with_a_reason(&server);
    data_outlives_an_uninstall(&server);
    a_backup_is_the_same_server_on_another_machine(&server);

    let done = by_terminal(&server, "--uninstall", "y").ok().says(&["Remove the data too", "Removed paas and its data"]);
    done.never_says(&["its data stays"]);
    let last = Listing::of(&server);
    assert_eq!(without.differences(&last), Vec::<String>::new(), "a second installation and its removal left traces");
    assert_eq!(image_names(&server), images, "images that were there before the installation are there after it, and no others");
}

fn packages_come_and_a_taken_port_is_named(server: &Server) {
    hold_port_80(server);
    let done = server.install("").ok();

    let told =
        ["Installing ", "docker.io", "git", "openssh-server", "Starting Docker", "Making the base image from Debian packages"];
    let done = done.says(&told).says(&["port 80 is taken by perl (process ", "paas listens on port 8080 instead"]);
    done.says(&["paas is ready", "paas keys add laptop", "git remote add deploy paas@server:shop", "git push deploy main"]);
    server.sh("paas status").ok().says(&["docker:  ok", "proxy:   ok [::]:8080", "dialer:  ok"]);
    release_port_80(server);
}

fn a_second_run_changes_nothing(server: &Server) {
    let before = Listing::of(server);
    let pids = "pgrep -x 'paas|dockerd|sshd' | sort";
    let (running, done) = (server.sh(pids).out, server.install("").ok());

    let done = done.says(&["Packages are all here", "Docker answers", "is installed already", "paas runs"]);
    assert!(done.took < Duration::from_secs(10), "a run with nothing to do has to be short:\n{done}");
    assert_eq!(server.sh(pids).out, running, "the same processes run on");
    assert_eq!(before.differences(&Listing::of(server)), Vec::<String>::new());
}

fn purge_leaves_nothing_of_paas(server: &Server, bare: &Listing) -> Listing {
    server
        .install("--uninstall --purge")
        .ok()
        .says(&["Removed paas and its data", "these packages were installed for paas and are left"]);
    let after = Listing::of(server);

    assert_eq!(after.of_paas(), bare.of_paas(), "files of paas are left");
    server.sh("getent passwd paas paasd paas-proxy; getent group paas paasd paas-proxy paas-admin").says_nothing();
    server.sh("ls -d /run/paas /var/lib/paas /etc/paas").fails(2);
    let processes = "for p in /proc/[0-9]*/exe; do readlink $p; done | grep -E 'paas|dockerd|containerd|/sshd$'";
    server.sh(processes).says_nothing();
    // A package may write the lists of users, groups and libraries; nothing else that a bare machine had is another now.
    let changed = bare.changed_or_gone(&after);
    let by_packages = |path: &String| {
        ["/etc/", "/var/lib/dpkg/", "/var/lib/apt/", "/var/lib/docker", "/var/cache/", "/var/log/"]
            .iter()
            .any(|f| path.starts_with(f))
    };
    let unexpected: Vec<_> = changed.iter().filter(|path| !by_packages(path)).collect();
    assert!(unexpected.is_empty(), "what was there before is not as it was: {unexpected:?}");
    after
}

fn the_demo_shows_its_page(server: &Server) {
    let done = server.install("--demo").ok();

    let told = [
        "The page came through the proxy: Hello from paas",
        "URL      http://hello.localhost/\n",
        "commit   ",
        "push     ",
        "all      ",
    ];
    let done = done.says(&told).says(&[
        "remote: -----> Static site app detected",
        "remote: -----> Live: v1",
        "build ",
        "switch ",
        "total ",
    ]);
    // The shell of the demo asks for the page as a browser of the machine would.
    server.sh("curl -sS --fail -H 'Host: hello.localhost' http://127.0.0.1/").ok().says(&["Hello from paas"]);
    assert!(!done.text().contains("next:\n"), "an unfinished hint stands in the output:\n{done}");
    // And so does whoever goes on as the last line says.
    done.says(&["git push deploy main"]);
    let next = "cd ~/.config/paas-demo/hello && sed -i 's/Hello/Good day/' index.html && git commit -qam second && git push deploy main && paas ps";
    server.sh(next).ok().says(&["remote: -----> Live: v2", "web.1"]);
    server.sh("curl -sS --fail -H 'Host: hello.localhost' http://127.0.0.1/").ok().says(&["Good day from paas"]);
}

/// An engine that hangs can't be told to end an app, and after the removal nobody would know which containers are ours.
fn nothing_is_removed_while_docker_hangs(server: &Server) {
    let made = "cat /etc/paas/install-manifest; ls -l /usr/local/bin/paas /etc/ssh/sshd_config.d/paas.conf /var/lib/paas/paas.db; pgrep -x paas | sort";
    let before = server.sh(made).ok().out;
    server.sh("pkill -STOP -x dockerd").ok();
    let done = server.install("--uninstall --purge");
    let page = server.sh("curl -sS --fail -H 'Host: hello.localhost' http://127.0.0.1/");
    server.sh("pkill -CONT -x dockerd").ok();

    let done = done.fails(1).says(&["Docker does not answer", "nothing was changed", "systemctl start docker"]);
    assert!(done.took < Duration::from_secs(60), "it waits for half a minute:\n{done}");
    assert_eq!(server.sh(made).ok().out, before, "what an installation is made of, and its processes");
    page.ok().says(&["from paas"]);
}

fn a_port_that_is_taken_later_stops_the_run_with_a_reason(server: &Server) {
    server.sh("paas down").ok();
    hold_port_80(server);
    let done = server.install("").fails(1);

    done.says(&["port 80 is taken by perl (process ", "set another one in /etc/paas/paas.toml", "listen = [\"[::]:8080\"]"]);
    release_port_80(server);
    server.install("").ok().says(&["paas is ready"]);
}

fn data_outlives_an_uninstall(server: &Server) {
    let done = by_terminal(server, "--uninstall", "n").ok();

    done.says(&["Remove the data too", "its data stays in /var/lib/paas with its users"]);
    server.sh("ls /usr/local/bin/paas /etc/ssh/sshd_config.d/paas.conf").fails(2);
    server.sh("getent passwd paasd && ls /var/lib/paas/paas.db").ok();
    server.install("").ok();
    let page = "curl -sS --fail -H 'Host: hello.localhost' http://127.0.0.1/";
    eventually("the app of before serves again, without a push", Duration::from_secs(20), || {
        (server.sh(page).code == 0).then_some(())
    });
    server.sh("paas releases -a hello --json").ok().says(&["\"v2\""]).never_says(&["\"v3\""]);
}

/// As docs/operations.md says, where no systemd runs.
fn a_backup_is_the_same_server_on_another_machine(server: &Server) {
    server.sh("paas config set GREETING=kept -a hello && paas domains add www.example.com -a hello").ok();
    // Images are Docker's, and not in the backup.
    let releases = || {
        let text = server.sh("paas releases -a hello --json").ok().out;
        text.replace("\"image_kept\":true", "\"image_kept\":false").replace("\"image_kept\": true", "\"image_kept\": false")
    };
    let before = releases();
    let tar = "tar -C / --exclude=var/lib/paas/logs -czf /root/paas-backup.tgz etc/paas/paas.toml var/lib/paas";
    server.sh(&format!("paas down && (umask 077; {tar})")).ok();
    server.install("").ok();
    server.install("--uninstall --purge").ok();

    server.install("").ok();
    server.sh("paas down && rm -r /var/lib/paas && tar -C / -xpzf /root/paas-backup.tgz && rm /root/paas-backup.tgz").ok();
    server.install("").ok().says(&["paas is ready"]);

    assert_eq!(releases(), before);
    server.sh("paas config get GREETING -a hello").ok().says(&["kept"]);
    let told = eventually("it is said what is missing", Duration::from_secs(20), || {
        let why = server.sh("paas why -a hello --json").json();
        why["summary"].as_str().is_some_and(|s| s.contains("gone from Docker")).then_some(why)
    });
    let all: serde_json::Value = serde_json::from_str(&before).expect("a list");
    let commit = all[0]["commit"].as_str().expect("it was pushed");
    let next = told["next"][0].as_str().unwrap_or_default();
    assert!(next.starts_with(&format!("paas deploy -a hello --commit {commit}")), "{told:#}");
    server.sh(&format!("paas deploy -a hello --commit {commit}")).ok();
    server.sh("curl -sS --fail -H 'Host: www.example.com' http://127.0.0.1/").ok().says(&["Good day from paas"]);
}

/// Answers the question that is asked only of a terminal.
fn by_terminal(server: &Server, options: &str, answer: &str) -> Done {
    let script = format!("PAAS_BINARY=/root/paas-built script -qec '/src/install.sh {options}' /dev/null");
    server.sh_with(&script, format!("{answer}\n").as_bytes())
}

/// A program of a Debian without any package for it.
fn hold_port_80(server: &Server) {
    let program = "use Socket; socket(S, PF_INET, SOCK_STREAM, 0) or die; setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1); \
                   bind(S, sockaddr_in(80, INADDR_ANY)) or die $!; listen(S, 1) or die; sleep 600";
    let script = format!(
        "perl -e '{program}' >/dev/null 2>/tmp/holder.err </dev/null & echo $! > /tmp/holder; disown; \
                          until grep -q ':0050 .* 0A ' /proc/net/tcp; do kill -0 $! || exit 1; sleep 0.05; done; cat /tmp/holder.err >&2"
    );
    server.sh(&script).ok();
}

fn release_port_80(server: &Server) {
    server.sh("kill $(cat /tmp/holder) && while [ -n \"$(readlink /proc/$(cat /tmp/holder)/exe)\" ]; do sleep 0.05; done").ok();
}

fn start_docker(server: &Server) {
    let script = "setsid -f dockerd >/tmp/dockerd.log 2>&1 </dev/null; for n in $(seq 300); do \
                  curl -sf --unix-socket /run/docker.sock http://docker/_ping && exit; sleep 0.1; done; cat /tmp/dockerd.log; exit 1";
    server.sh(script).ok();
}

fn image_names(server: &Server) -> Vec<String> {
    let images = server.engine("images/json");
    let tags =
        images.as_array().into_iter().flatten().flat_map(|image| image["RepoTags"].as_array().cloned().unwrap_or_default());
    let mut names: Vec<String> = tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

/// Every file of the machine's own disk with its owner, mode and content.
struct Listing(BTreeMap<String, String>);

impl Listing {
    #[track_caller]
    fn of(server: &Server) -> Listing {
        let script = "find / -xdev -printf '%p\\t%y %m %U:%G %l\\n'; find / -xdev -type f -exec sha256sum {} + | sed 's/^\\([0-9a-f]*\\)  \\(.*\\)/\\2\\t\\1/'";
        let mut files = BTreeMap::<String, String>::new();
        for line in server.sh(script).ok().out.lines() {
            let (path, what) = line.split_once('\t').unwrap_or((line, ""));
            files.entry(path.to_owned()).or_default().push_str(what);
        }
        files.retain(|path, _| !is_volatile(path));
        Listing(files)
    }

    fn of_paas(&self) -> Vec<&String> {
        self.0.keys().filter(|path| path.contains("paas") && !path.starts_with("/src/") && *path != "/root/paas-built").collect()
    }

    fn changed_or_gone(&self, later: &Listing) -> Vec<String> {
        self.0.iter().filter(|(path, what)| later.0.get(*path) != Some(what)).map(|(path, _)| path.clone()).collect()
    }

    fn differences(&self, later: &Listing) -> Vec<String> {
        let new = later.0.keys().filter(|path| !self.0.contains_key(*path)).map(|path| format!("new: {path}"));
        self.changed_or_gone(later).into_iter().map(|path| format!("changed or gone: {path}")).chain(new).collect()
    }
}

/// What a running machine writes by itself, and the copies that the tools for users keep of the last list before this one.
fn is_volatile(path: &str) -> bool {
    let copies = ["/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-"];
    copies.contains(&path) || path == "/etc/.pwd.lock" || path == "/etc/mtab"
}
