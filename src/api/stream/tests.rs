use super::*;

async fn there_and_back(frame: Frame) -> Vec<Frame> {
    let mut wire = Vec::new();
    write(&mut wire, &frame).await.expect("write");
    let mut rest = wire.as_slice();
    let mut back = Vec::new();
    while let Some(frame) = read(&mut rest).await.expect("read") {
        back.push(frame);
    }
    back
}

#[tokio::test]
async fn every_frame_comes_back_as_it_was() {
    let frames = [
        Frame::Stdin(Bytes::from_static(b"ls\r")),
        Frame::Stdout(Bytes::from_static(b"\x1b[31mred")),
        Frame::Stderr(Bytes::from_static(&[0, 255])),
        Frame::Resize(TerminalSize { columns: 200, rows: 50 }),
        Frame::Exit(-1),
        Frame::Exit(137),
        Frame::Eof,
        Frame::Error(ApiError::new(ErrorCode::Busy, "the instance stops").hint("try again")),
    ];
    for frame in frames {
        assert_eq!(there_and_back(frame.clone()).await, [frame]);
    }
}

#[tokio::test]
async fn long_data_is_cut_into_several_frames() {
    let data = Bytes::from(vec![7; LARGEST_BODY * 2 + 1]);
    let sizes: Vec<usize> = there_and_back(Frame::Stdout(data))
        .await
        .into_iter()
        .map(|f| match f {
            Frame::Stdout(part) => part.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [LARGEST_BODY, LARGEST_BODY, 1]);
}

#[tokio::test]
async fn a_frame_that_is_too_long_unknown_or_cut_is_refused() {
    for wire in [&[1_u8, 255, 255, 255, 255][..], &[9, 0, 0, 0, 0], &[3, 0, 0, 0, 1, 7], &[1, 0, 0, 0, 5, 1]] {
        assert!(read(&mut &wire[..]).await.is_err(), "{wire:?}");
    }
}
