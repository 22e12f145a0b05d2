//! For tests of who reads: rows that can't be read, until they are mended.

use super::Store;

impl Store {
    /// The instances of all apps.
    pub(crate) async fn spoil_instances(&self) {
        self.write("update instances set process = '?' || process").await;
    }

    pub(crate) async fn mend_instances(&self) {
        self.write("update instances set process = substr(process, 2)").await;
    }

    /// The deploys of all apps.
    pub(crate) async fn spoil_deploys(&self) {
        self.write("update deploys set origin = '?' || origin").await;
    }

    /// Those that are stored from now on.
    pub(crate) async fn spoil_new_deploys(&self) {
        self.write("create trigger spoil after insert on deploys begin update deploys set origin = '?' where id = new.id; end")
            .await;
    }

    /// Each of those that are over from now on.
    pub(crate) async fn spoil_deploys_that_end(&self) {
        self.write(
            "create trigger spoil after update of state on deploys when new.state in ('cancelled', 'superseded')
             begin update deploys set origin = '?' || origin where id = new.id; end",
        )
        .await;
    }

    pub(crate) async fn mend_deploys(&self) {
        self.write("drop trigger if exists spoil").await;
        self.write("update deploys set origin = ltrim(origin, '?')").await;
    }

    pub(crate) async fn spoil_apps(&self) {
        self.write("update apps set name = '?' || name").await;
    }

    pub(crate) async fn mend_apps(&self) {
        self.write("update apps set name = ltrim(name, '?')").await;
    }

    /// What is wanted of instances can't be changed.
    pub(crate) async fn freeze_instances(&self) {
        self.write("create trigger freeze before update on instances begin select raise(abort, 'frozen'); end").await;
    }

    pub(crate) async fn thaw_instances(&self) {
        self.write("drop trigger freeze").await;
    }

    async fn write(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.writer).await.expect("rows can be changed");
    }
}
