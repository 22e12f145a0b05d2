//! Every start of a container, as the engine itself tells it: an independent witness of what ran how often.

use std::process::{Child, Command, Stdio};

pub struct Starts {
    file: tempfile::NamedTempFile,
    watching: Child,
}

impl Starts {
    /// From now on, of the installation `install`.
    pub fn of(install: &str) -> Starts {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let (label, out) = (format!("label=paas.install={install}"), file.reopen().expect("it is there"));
        let watching = Command::new("docker")
            .args(["events", "--filter", &label, "--filter", "event=start", "--format", "{{.Actor.Attributes.name}}"])
            .stdin(Stdio::null())
            .stdout(out)
            .spawn()
            .expect("docker's command line is there");
        Starts { file, watching }
    }

    fn names(&self) -> Vec<String> {
        std::fs::read_to_string(self.file.path()).expect("it can be read").lines().map(str::to_owned).collect()
    }

    /// No release command was started a second time.
    #[track_caller]
    pub fn none_twice(&self) {
        let names = self.names();
        for name in names.iter().filter(|name| name.ends_with("-release-1")) {
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name} was started again");
        }
    }
}

impl Drop for Starts {
    fn drop(&mut self) {
        drop(self.watching.kill());
        drop(self.watching.wait());
    }
}
