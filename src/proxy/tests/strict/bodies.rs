//! Bodies that break after a good head. What came before may be on its way to the instance; a whole request never is.

use super::{Row, Want};

const CHUNKS: &[(&str, &[u8])] = &[
    ("a letter that is no digit", b"x\r\n"),
    ("a size with minus", b"-1\r\na\r\n0\r\n\r\n"),
    ("a size with plus", b"+1\r\na\r\n0\r\n\r\n"),
    ("a size with 0x", b"0x1\r\na\r\n0\r\n\r\n"),
    ("a size with 0X", b"0X1\r\na\r\n0\r\n\r\n"),
    ("a last size with 0x", b"0x0\r\n\r\n"),
    ("a space after the size", b"1 \r\na\r\n0\r\n\r\n"),
    ("a tab after the size", b"1\t\r\na\r\n0\r\n\r\n"),
    ("a space before the size", b" 1\r\na\r\n0\r\n\r\n"),
    ("a space before the extension", b"1 ;x\r\na\r\n0\r\n\r\n"),
    ("a comma after the size", b"1,1\r\na\r\n0\r\n\r\n"),
    ("an underscore in the size", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    ("a size with h", b"1h\r\na\r\n0\r\n\r\n"),
    ("no size", b"\r\n0\r\n\r\n"),
    ("an extension without a size", b";x\r\na\r\n0\r\n\r\n"),
    ("a size of sixteen digits", b"0000000000000001\r\na\r\n0\r\n\r\n"),
    ("a size over 2^64", b"10000000000000001\r\na\r\n0\r\n\r\n"),
    ("a size of twenty fs", b"ffffffffffffffffffff\r\na"),
    ("bare LF after the size", b"1\na\r\n0\r\n\r\n"),
    ("bare LF in every line of chunks", b"1\na\n0\n\n"),
    ("bare CR after the size", b"1\ra\r\n0\r\n\r\n"),
    ("CR CR LF after the size", b"1\r\r\na\r\n0\r\n\r\n"),
    ("NUL after the size", b"1\0\r\na\r\n0\r\n\r\n"),
    ("more data than the size", b"1\r\nab\r\n0\r\n\r\n"),
    ("less data than the size", b"3\r\na\r\n0\r\n\r\n"),
    ("no line end after the data", b"1\r\na0\r\n\r\n"),
    ("bare LF after the data", b"1\r\na\n0\r\n\r\n"),
    ("bare CR after the data", b"1\r\na\r0\r\n\r\n"),
    ("two line ends after the data", b"1\r\na\r\n\r\n0\r\n\r\n"),
    ("NUL in an extension", b"1;\0\r\na\r\n0\r\n\r\n"),
    ("bare LF in an extension", b"1;a\nb\r\na\r\n0\r\n\r\n"),
    ("bare CR in an extension", b"1;a\rb\r\na\r\n0\r\n\r\n"),
    ("LF in a quoted extension", b"1;a=\"\n\"\r\na\r\n0\r\n\r\n"),
    ("control in an extension", b"1;a=\x01\r\na\r\n0\r\n\r\n"),
    ("delete in an extension", b"1;a=\x7f\r\na\r\n0\r\n\r\n"),
    ("bare LF for the end", b"0\r\n\n"),
    ("bare LF for the last line and the end", b"0\n\n"),
    ("bare CR for the end", b"0\r\n\rX"),
    ("a space before a trailer's colon", b"0\r\nX : a\r\n\r\n"),
    ("a folded trailer", b"0\r\nX: a\r\n b\r\n\r\n"),
    ("a folded first trailer", b"0\r\n X: a\r\n\r\n"),
    ("a trailer without a colon", b"0\r\nX\r\n\r\n"),
    ("a trailer without a name", b"0\r\n: a\r\n\r\n"),
    ("bare LF after a trailer", b"0\r\nX: a\n\r\n"),
    ("bare CR in a trailer", b"0\r\nX: a\rb\r\n\r\n"),
    ("NUL in a trailer", b"0\r\nX: \0\r\n\r\n"),
    ("control in a trailer", b"0\r\nX: \x01\r\n\r\n"),
    ("a request for a trailer", b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
];

pub fn rows() -> Vec<Row> {
    let head = b"POST /broken HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n";
    let broken = |name, chunks: &[u8]| Row::new(name, [head, chunks].concat(), Want::Broken(400));
    let mut rows: Vec<Row> = CHUNKS.iter().map(|(name, chunks)| broken(name, chunks)).collect();
    rows.push(broken("an extension over the limit of a line", format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(5000)).as_bytes()));
    rows.push(broken(
        "extensions over the limit of a body",
        (format!("1;{}\r\na\r\n", "e".repeat(200)).repeat(100) + "0\r\n\r\n").as_bytes(),
    ));
    rows.push(broken("a size that never ends", "0".repeat(5000).as_bytes()));
    rows.push(broken("trailers over the limit", format!("0\r\nX: {}\r\n\r\n", "t".repeat(20_000)).as_bytes()));
    rows.push(broken("trailers that never end", format!("0\r\n{}", "X: t\r\n".repeat(5000)).as_bytes()));
    rows.push(broken("too many trailers", format!("0\r\n{}\r\n", "X: t\r\n".repeat(101)).as_bytes()));
    rows
}
