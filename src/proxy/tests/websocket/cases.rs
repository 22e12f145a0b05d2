//! What the client does in each case.

/// One step of a client.
#[derive(Debug, Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// In as many writes as there are bytes.
    Drip(Vec<u8>),
    /// In two writes.
    Cut(Vec<u8>, usize),
    /// Goes on when so many bytes have come in all.
    Wait(usize),
    /// Ends the client's side of the connection.
    End,
}

pub struct Case {
    pub name: String,
    pub path: &'static str,
    /// More lines of the request.
    pub fields: &'static str,
    /// Sent with the request, before any answer.
    pub early: Vec<u8>,
    pub steps: Vec<Step>,
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The head of a frame; `masked` is 0x80 or 0.
pub fn head(first: u8, masked: u8, length: usize) -> Vec<u8> {
    match length {
        0..=125 => vec![first, masked | length as u8],
        126..=65_535 => [&[first, masked | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, masked | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let payload = payload.iter().enumerate().map(|(n, b)| b ^ mask[n % 4]);
    head(first, 0x80, payload.len()).into_iter().chain(mask).chain(payload).collect()
}

fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    masked(first, payload.as_ref(), MASK)
}

fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload)
}

fn ping(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x89, payload)
}

fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x88, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

fn bye() -> Vec<u8> {
    close(1000, "")
}

fn case(name: impl Into<String>, steps: Vec<Step>) -> Case {
    Case { name: name.into(), path: "/echo", fields: "", early: vec![], steps }
}

/// Frames in one write, with the client's close behind.
fn sends(name: impl Into<String>, frames: &[Vec<u8>]) -> Case {
    case(name, vec![Step::Send(frames.concat()), Step::Send(bye())])
}

fn some(n: usize) -> Vec<u8> {
    (0..n).map(|n| b"abcdefghijklmnopqrstuvwxyz"[n % 26]).collect()
}

fn lengths(all: &mut Vec<Case>) {
    for n in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 1 << 20] {
        all.push(sends(format!("a text of {n}"), &[frame(0x81, some(n))]));
        all.push(sends(format!("binary of {n}"), &[frame(0x82, vec![0xfe; n])]));
    }
    for mask in [[0; 4], [0xff; 4], [1, 0, 0, 0]] {
        all.push(sends(format!("the mask {mask:?}"), &[masked(0x81, b"masked", mask)]));
    }
    all.push(sends("many messages in one write", &vec![text("again"); 1000]));
    all.push(sends("more than anyone buffers", &vec![frame(0x82, some(65_536)); 50]));
    let long = [&[0x81, 0x80 | 126, 0, 5][..], &MASK, b"longs"].concat();
    all.push(sends("a length of 5 in two bytes", &[long]));
    let longer = [&[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 5][..], &MASK, b"longs"].concat();
    all.push(sends("a length of 5 in eight bytes", &[longer]));
    all.push(sends("a length over 2^63", &[[&[0x82, 0x80 | 127][..], &[0xff; 8], &MASK].concat()]));
}

fn fragments(all: &mut Vec<Case>) {
    let (one, two, three) = (frame(0x01, "one "), frame(0x00, "two "), frame(0x80, "three"));
    let empty = || frame(0x00, "");
    let rows: &[(&str, Vec<Vec<u8>>)] = &[
        ("two fragments", vec![one.clone(), three.clone()]),
        ("three fragments", vec![one.clone(), two.clone(), three.clone()]),
        ("an empty fragment first", vec![frame(0x01, ""), three.clone()]),
        ("an empty fragment last", vec![one.clone(), frame(0x80, "")]),
        ("nothing but empty fragments", vec![frame(0x01, ""), empty(), empty(), frame(0x80, "")]),
        ("a PING between fragments", vec![one.clone(), ping("p"), three.clone()]),
        ("an empty PING and a PONG between fragments", vec![one.clone(), ping(""), frame(0x8a, "x"), two.clone(), three.clone()]),
        ("a close between fragments", vec![one.clone(), bye(), three.clone()]),
        ("a continuation of nothing", vec![three.clone(), text("x")]),
        ("an unfinished continuation of nothing", vec![two.clone(), text("x")]),
        ("a text inside a message", vec![one.clone(), text("x"), three.clone()]),
        ("binary inside a text", vec![one.clone(), frame(0x82, "x"), three.clone()]),
        ("a message that never ends", vec![one.clone(), two.clone()]),
        ("binary in fragments", vec![frame(0x02, [0xff, 0x00]), frame(0x80, [0xfe])]),
        ("a fragment of 1 MiB", vec![frame(0x02, some(1 << 20)), frame(0x80, some(70_000))]),
    ];
    all.extend(rows.iter().map(|(name, frames)| sends(*name, frames)));
    let mut single = vec![frame(0x01, "b")];
    single.extend(some(200).iter().map(|b| frame(0x00, [*b])));
    single.push(frame(0x80, "e"));
    all.push(sends("fragments of one byte", &single));
}

fn control(all: &mut Vec<Case>) {
    let many: Vec<_> = (0..100).map(|n| ping(n.to_string())).collect();
    let rows: &[(&str, Vec<Vec<u8>>)] = &[
        ("an empty PING", vec![ping("")]),
        ("a PING", vec![ping("payload")]),
        ("a PING of bytes", vec![ping([0, 0xff, 0xfe, 0xfd])]),
        ("a PING of 125", vec![ping(some(125))]),
        ("a PING of 126", vec![ping(some(126))]),
        ("a PING in fragments", vec![frame(0x09, "a"), frame(0x80, "b")]),
        ("a PONG that nobody asked for", vec![frame(0x8a, "x"), ping("y")]),
        ("a PONG in fragments", vec![frame(0x0a, "x")]),
        ("a hundred PINGs", many),
        ("a flood of PINGs", vec![ping("flood"); 10_000]),
        ("a frame without a mask", vec![[&[0x81, 5][..], b"plain"].concat()]),
        ("a close without a mask", vec![vec![0x88, 2, 0x03, 0xe8]]),
    ];
    all.extend(rows.iter().map(|(name, frames)| sends(*name, frames)));
    for rsv in [0x40, 0x20, 0x10, 0x70] {
        all.push(sends(format!("reserved bits {rsv:x}"), &[text("good"), frame(0x81 | rsv, "bad")]));
        all.push(sends(format!("reserved bits {rsv:x} of a PING"), &[frame(0x89 | rsv, "bad"), text("behind")]));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        all.push(sends(format!("opcode {opcode}"), &[text("good"), frame(0x80 | opcode, "bad"), text("behind")]));
    }
}

fn closes(all: &mut Vec<Case>) {
    let only = |name: String, bytes: Vec<u8>| case(name, vec![Step::Send(bytes)]);
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        all.push(only(format!("close {code}"), close(code, "why")));
    }
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535] {
        all.push(only(format!("close {code}, which is none"), close(code, "")));
    }
    all.push(only("an empty close".into(), frame(0x88, "")));
    all.push(only("a close of one byte".into(), frame(0x88, [3])));
    all.push(only("a close of 125".into(), close(1000, some(123))));
    all.push(only("a close of 126".into(), close(1000, some(124))));
    all.push(only("a reason that is no UTF-8".into(), close(1000, [0xce, 0xba, 0xe1, 0xbd])));
    all.push(only("a close in fragments".into(), frame(0x08, [3, 0xe8])));
    all.push(only("messages behind a close".into(), [bye(), text("late"), ping("late")].concat()));
    all.push(only("two closes".into(), [bye(), close(1001, "")].concat()));
    all.push(only("1 MiB behind a close".into(), [bye(), frame(0x82, some(1 << 20))].concat()));
    // From the other side.
    let answers = vec![Step::Wait(4), Step::Send(close(1001, "")), Step::End];
    all.push(Case { path: "/closes", ..case("the server closes first", answers) });
    let crossed = vec![Step::Send(bye()), Step::Wait(4), Step::End];
    all.push(Case { path: "/closes", ..case("both close at once", crossed) });
    let late = vec![Step::Wait(4), Step::Send(text("late")), Step::Send(close(1001, "")), Step::End];
    all.push(Case { path: "/closes", ..case("a message on its way when the server closes", late) });
    all.push(Case {
        path: "/drops",
        ..case("the server ends inside a frame", vec![Step::Wait(3), Step::Send(bye()), Step::End])
    });
    // Ends without a close.
    all.push(case("the client ends without a word", vec![Step::End]));
    all.push(case("the client ends behind a message", vec![Step::Send(text("last")), Step::Wait(6), Step::End]));
    all.push(case("the client ends inside a frame", vec![Step::Send(text("cut off")[..9].to_vec()), Step::End]));
    all.push(case("the client ends inside a head", vec![Step::Send(vec![0x81]), Step::End]));
}

fn words(all: &mut Vec<Case>) {
    let good = "κόσμε \u{10ffff} \u{0} \u{fffe}";
    all.push(sends("UTF-8", &[text(good)]));
    let (first, second) = good.as_bytes().split_at(3);
    all.push(sends("UTF-8 cut inside a letter", &[frame(0x01, first), frame(0x80, second)]));
    let bytes: Vec<_> = good.bytes().enumerate().map(|(n, b)| frame(u8::from(n == 0), [b])).collect();
    all.push(sends("UTF-8 byte by byte", &[bytes.concat(), frame(0x80, "")]));
    for (name, bad) in [
        ("a letter that breaks off", &[0xce][..]),
        ("an overlong slash", &[0xc0, 0xaf]),
        ("half of a surrogate", &[0xed, 0xa0, 0x80]),
        ("beyond the last letter", &[0xf4, 0x90, 0x80, 0x80]),
        ("a byte of no letter", &[0xff]),
        ("a continuation alone", &[0x80]),
    ] {
        all.push(sends(name, &[frame(0x81, [b"good ", bad].concat()), text("behind")]));
        all.push(sends(format!("{name}, in the second fragment"), &[frame(0x01, "good "), frame(0x80, bad), text("behind")]));
        all.push(sends(format!("{name}, as binary"), &[frame(0x82, bad)]));
    }
}

fn pieces(all: &mut Vec<Case>) {
    let whole = [frame(0x81, some(130)), ping("p")].concat();
    for at in 1..16 {
        all.push(case(format!("a frame cut at {at}"), vec![Step::Cut(whole.clone(), at), Step::Send(bye())]));
    }
    all.push(case("all byte by byte", vec![Step::Drip([whole.clone(), frame(0x82, some(300)), bye()].concat())]));
    let huge = frame(0x82, some(70_000));
    for at in [9, 13, 14, 15, 4096, 16_384, 65_536] {
        all.push(case(format!("a large frame cut at {at}"), vec![Step::Cut(huge.clone(), at), Step::Send(bye())]));
    }
    let turns = (1..50).flat_map(|n| [Step::Send(text("turn")), Step::Wait(6 * n)]);
    all.push(case("question and answer", turns.chain([Step::Send(bye())]).collect()));
}

fn handshakes(all: &mut Vec<Case>) {
    let early = |name: &str, early: Vec<u8>, steps: Vec<Step>| Case { early, ..case(name, steps) };
    all.push(early("a message with the request", text("early"), vec![Step::Send(bye())]));
    all.push(early(
        "half a message with the request",
        text("early")[..5].to_vec(),
        vec![Step::Send([&text("early")[5..], &bye()].concat())],
    ));
    all.push(early("all with the request", [text("a"), ping("b"), frame(0x82, some(70_000)), bye()].concat(), vec![]));
    all.push(Case { path: "/greets", ..case("the server speaks first", vec![Step::Wait(6), Step::Send(bye())]) });
    all.push(Case { path: "/greets", early: text("early"), ..case("both speak first", vec![Step::Send(bye())]) });
    all.push(Case { path: "/greets-in-parts", ..case("half a frame with the answer", vec![Step::Wait(260), Step::Send(bye())]) });
    let fields = "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Extensions: x-made\r\n";
    all.push(Case { path: "/protocol", fields, ..sends("protocols and extensions", &[text("x")]) });
    all.push(Case { path: "/refuses", ..case("the server refuses", vec![Step::End]) });
    all.push(Case { path: "/version", ..case("the server wants another version", vec![Step::End]) });
}

pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for add in [lengths, fragments, control, closes, words, pieces, handshakes] {
        add(&mut all);
    }
    all
}
