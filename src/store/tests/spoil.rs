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

    async fn write(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.writer).await.expect("rows can be changed");
    }
}
