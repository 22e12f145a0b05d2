use super::*;
use crate::names::AppName;
use crate::proxy::routes::Table;
use crate::wire::proxy::{AccessLines, Action, Front, Route as Told, Rules, Snapshot};

fn record(access: AccessLines) -> Record {
    let host = Hostname::parse("shop.test").expect("a host");
    let (app, action) = (AppName::parse("shop").expect("an app"), Action::Forward { targets: vec![] });
    let routes = vec![Told { host: host.clone(), app, action, rules: Rules { access, ..Rules::default() } }];
    let snapshot = Snapshot { version: 1, routes, targets: vec![], commit_header: false, front: Front::default() };
    let table = Table::build(&snapshot, &Table::default()).expect("a table");
    let origin = Origin { client: [192, 0, 2, 1].into(), trusted: false, https: false };
    let record = Record::new(origin, "id".to_owned(), None);
    record.route.replace(table.route(&host).cloned());
    record
}

#[test]
fn what_went_wrong_or_took_long_has_a_line_where_only_that_has_one() {
    let errors = AccessLines { sample_ppm: 7, troubles: true };
    let share = |status, took: Duration, error: Option<&ProxyError>| {
        let record = record(errors);
        record.status.set(status);
        record.first_byte.set(Some(took));
        record.share(error)
    };
    let quick = Duration::from_millis(5);
    assert_eq!(share(200, quick, None), 7);
    assert_eq!(share(499, ACCESS_SLOW - quick, None), 7);
    assert_eq!((share(500, quick, None), share(503, quick, None)), (WHOLE, WHOLE), "also the app's own");
    assert_eq!(share(200, ACCESS_SLOW, None), WHOLE);
    assert_eq!(share(200, quick, Some(&ProxyError::ClientGone)), WHOLE);
    let none = record(AccessLines { sample_ppm: 0, troubles: false });
    none.status.set(500);
    assert_eq!(none.share(Some(&ProxyError::ClientGone)), 0);
}

fn tell(queue: &Queue, times: u64, error: Option<&ProxyError>) {
    let record = record(AccessLines::default());
    (0..times).for_each(|_| record.tell(queue, Subject::Nothing, error, WHOLE));
}

#[test]
fn without_room_lines_are_lost_and_counted() {
    let queue = Queue::default();
    tell(&queue, ACCESS_QUEUE + 5, None);
    assert_eq!((queue.lost(), queue.take().map(|frame| frame.lines)), (5, Some(ACCESS_QUEUE)));
    // There is room again.
    tell(&queue, 1, None);
    assert_eq!((queue.lost(), queue.take().map(|frame| frame.lines)), (5, Some(1)));
    // Few lines can be many bytes.
    let long = ProxyError::BadAnswer(Box::leak("x".repeat(ACCESS_QUEUE_BYTES / 4).into_boxed_str()));
    tell(&queue, 10, Some(&long));
    let frame = queue.take().expect("some");
    assert_eq!((queue.lost(), frame.lines), (5 + 6, 4));
}
