//! What an installation says of an app through its JSON: the one place of the tests that knows the names of its fields.

use std::time::Duration;

use serde_json::Value;

use super::wait::eventually;
use super::world::World;

impl World {
    #[track_caller]
    fn list(&self, args: &[&str]) -> Vec<Value> {
        let done = self.paas(args).ok();
        let json = done.json();
        json.as_array().unwrap_or_else(|| panic!("a list was expected:\n{done}")).clone()
    }

    /// Newest last or first, as the CLI gives them.
    #[track_caller]
    pub fn releases(&self, app: &str) -> Vec<Value> {
        self.list(&["releases", "-a", app, "--json"])
    }

    /// The name (`v3`) of the release that serves.
    #[track_caller]
    pub fn live_release(&self, app: &str) -> Option<String> {
        let live: Vec<Value> = self.releases(app).into_iter().filter(|r| r["live"] == true).collect();
        assert!(live.len() <= 1, "one release is live, not {live:?}");
        live.first().and_then(|r| r["number"].as_str()).map(str::to_owned)
    }

    /// Every instance, with its process type in it.
    #[track_caller]
    pub fn instances(&self, app: &str) -> Vec<Value> {
        let ps = self.paas(&["ps", "-a", app, "--json"]).ok().json();
        let instances = |process: &Value| {
            let all = process["instances"].as_array().cloned().unwrap_or_default();
            let name = process["process"].clone();
            all.into_iter().map(move |mut instance| {
                instance["process"] = name.clone();
                instance
            })
        };
        ps["processes"]
            .as_array()
            .unwrap_or_else(|| panic!("`ps` gives processes, not {ps}"))
            .iter()
            .flat_map(instances)
            .collect()
    }

    #[track_caller]
    pub fn deploys(&self, app: &str) -> Vec<Value> {
        self.list(&["deploys", "list", "-a", app, "--json"])
    }

    /// The first column of what the store says to a question. The daemon has it open and lets nobody in: a copy is asked.
    #[track_caller]
    pub fn stored(&self, question: &'static str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = ["paas.db", "paas.db-wal"];
        let read = || parts.map(|part| std::fs::read(self.state_dir().join(part)).unwrap_or_default());
        // A database that did not change while its log only grew, if at all, belongs to it.
        let copy = eventually("a moment without a checkpoint", Duration::from_secs(10), || {
            let ([db, log], [db_then, log_then]) = (read(), read());
            (db == db_then && log_then.starts_with(&log)).then_some([db, log])
        });
        for (part, bytes) in parts.iter().zip(copy) {
            std::fs::write(folder.path().join(part), bytes).expect("copied");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join(parts[0]));
            let pool = sqlx::SqlitePool::connect_with(options).await.expect("the database can be opened");
            let rows = sqlx::query_scalar(question).fetch_all(&pool).await.expect("the database can be read");
            pool.close().await;
            rows
        })
    }

    /// What the store keeps of the story of an app, oldest first.
    #[track_caller]
    pub fn events(&self, app: &str) -> Vec<String> {
        let told = self.stored("select app || ' ' || what from events where app is not null order by id");
        told.iter().filter_map(|line| line.strip_prefix(&format!("{app} "))).map(str::to_owned).collect()
    }

    /// The newest deploy of an app, in full.
    #[track_caller]
    pub fn last_deploy(&self, app: &str) -> Value {
        let number = |d: &Value| d["id"].as_str().and_then(|s| s[1..].parse::<u64>().ok()).unwrap_or(0);
        let newest = self.deploys(app).into_iter().max_by_key(number).unwrap_or_else(|| panic!("{app} has no deploy"));
        self.paas(&["deploys", "info", newest["id"].as_str().expect("a deploy has a name"), "--json"]).ok().json()
    }

    /// What `paas why` says of an app.
    #[track_caller]
    pub fn why(&self, app: &str) -> Value {
        self.paas(&["why", app, "--json"]).ok().json()
    }

    /// The texts of the last `n` log lines.
    #[track_caller]
    pub fn log_texts(&self, app: &str, n: usize, more: &[&str]) -> Vec<String> {
        let count = n.to_string();
        let args: Vec<&str> = ["logs", "-a", app, "--json", "-n", &count].iter().chain(more).copied().collect();
        let lines = super::json_lines(&self.paas(&args).ok().out);
        lines.iter().filter_map(|line| line["text"].as_str()).map(str::to_owned).collect()
    }
}
