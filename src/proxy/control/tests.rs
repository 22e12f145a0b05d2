use super::*;

#[tokio::test]
async fn lines_that_could_not_be_written_count_as_lost() {
    let shared: Arc<Shared> = Arc::default();
    let control = Control::new(Arc::clone(&shared), PathBuf::new(), (Vec::new(), Vec::new()), Box::new(|_| {}));
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let (_read, mut write) = ours.into_split();
    let lines = || {
        let mut frame = AccessFrame::default();
        (0..3).for_each(|_| frame.push(b"{}"));
        frame
    };
    control.report_access(lines(), &mut write).await.expect("there is somebody");
    assert_eq!(shared.access.lost(), 0);
    drop(theirs);
    control.report_access(lines(), &mut write).await.expect_err("nobody is there");
    assert_eq!(shared.access.lost(), 3);
}
