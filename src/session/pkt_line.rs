//! pkt-line, git's framing (gitprotocol-common(5)): four hex digits of length that count themselves, then the data; `0000` is a flush.

use std::io::{self, Read, Write};

/// The most data in one packet: 65520 less the four digits.
pub(super) const MOST: usize = 65516;

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Flush,
    /// Without the line end that git may put behind a text.
    Data(Vec<u8>),
}

/// Reads one packet; an end of the stream is an error, as no message of the hook's protocol ends without a flush.
pub(super) fn read(from: &mut impl Read) -> io::Result<Packet> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let length = std::str::from_utf8(&head).ok().filter(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()));
    let length = length.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    match length {
        Some(0) => Ok(Packet::Flush),
        Some(length) if (4..=MOST + 4).contains(&length) => {
            let mut data = vec![0; length - 4];
            from.read_exact(&mut data)?;
            if data.last() == Some(&b'\n') {
                data.pop();
            }
            Ok(Packet::Data(data))
        }
        // 0001 to 0003 are special packets of other protocols.
        Some(_) | None => Err(io::Error::new(io::ErrorKind::InvalidData, "a packet with an impossible length")),
    }
}

/// Writes one text as a packet. Too long is an error and writes nothing.
pub(super) fn write(to: &mut impl Write, data: &[u8]) -> io::Result<()> {
    if data.len() > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a packet is too long"));
    }
    let mut packet = format!("{:04x}", data.len() + 4).into_bytes();
    packet.extend_from_slice(data);
    to.write_all(&packet)
}

pub(super) fn flush(to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"0000")?;
    to.flush()
}
