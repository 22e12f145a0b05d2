//! How runs ended.

use super::*;
use crate::base::clock::UnixMillis;
use crate::model::end::{Cause, End, Ends, Told};
use crate::names::InstanceId;

#[tokio::test]
async fn the_ends_of_a_time_are_counted_by_place_and_candidates_are_not() {
    let f = fixture().await;
    let shop = f.store.app_create(&name("shop"), "root", 4).await.expect("app");
    let blog = f.store.app_create(&name("blog"), "root", 4).await.expect("app");
    let web = || ProcessName::parse("web").expect("valid");
    let record = async |app: &App, index: u32, at: i64, live: bool| {
        let told = Told::of(Cause::Exit);
        let (instance, release) = (InstanceId(at), ReleaseNumber(1));
        let end = End { at: UnixMillis(at), instance, process: web(), index, release, live, told };
        assert!(f.store.end_record(app, &end, None).await.expect("recorded"));
    };
    for at in [100, 101, 102, 103] {
        record(&shop, 2, at, true).await;
    }
    for at in [200, 201] {
        record(&shop, 1, at, true).await;
        record(&shop, 1, at + 10, false).await;
        record(&blog, 1, at + 20, true).await;
    }
    let count = async |since: i64, now: i64, least: u32| {
        f.store.ends_counted(UnixMillis(since), UnixMillis(now), least).await.expect("counted")
    };
    let all = count(99, 300, 2).await;
    assert_eq!(
        all.iter().map(|e| (e.subject(), e.label(), e.ends)).collect::<Vec<_>>(),
        [
            ("shop/web".to_owned(), "web.2".to_owned(), 4),
            ("shop/web".to_owned(), "web.1".to_owned(), 2),
            ("blog/web".to_owned(), "web.1".to_owned(), 2),
        ]
    );
    let one = Ends { app_id: shop.id, app: shop.name.clone(), process: web(), index: 2, ends: 2, last: UnixMillis(103) };
    assert_eq!(count(101, 210, 2).await, [all[1].clone(), one], "what is older is over");
    assert_eq!(count(99, 102, 3).await.len(), 1, "nor does what a clock that was set back has yet to come to count");
    assert!(count(99, 300, 5).await.is_empty());
}
