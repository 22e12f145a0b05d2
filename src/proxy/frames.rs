//! Where WebSocket frames begin and end in a stream of bytes (RFC 6455 §5.2). Pure; the payload is never looked at.

/// Follows one direction of a tunnel.
#[derive(Debug, Default)]
pub struct Frames {
    /// The bytes of a header that is not whole yet.
    header: [u8; 14],
    header_len: usize,
    payload_left: u64,
    closed: bool,
}

impl Frames {
    /// Takes the next bytes of the stream.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.step(rest)..];
        }
    }

    /// How many of the next bytes lie before the first boundary; 0 if the stream is at one. Changes nothing.
    pub fn to_boundary(&self, bytes: &[u8]) -> usize {
        let mut ahead = Self { header: self.header, ..*self };
        let mut used = 0;
        while !ahead.at_boundary() && used < bytes.len() {
            used += ahead.step(&bytes[used..]);
        }
        used
    }

    /// Between two frames: another one may be put here, even between the fragments of a message if it is a control frame.
    pub fn at_boundary(&self) -> bool {
        self.header_len == 0 && self.payload_left == 0
    }

    /// A close frame went by.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Uses up at least one of the bytes, and at most one frame.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload_left > 0 {
            let n = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            self.payload_left -= n as u64;
            return n;
        }
        self.header[self.header_len] = bytes[0];
        self.header_len += 1;
        if self.header_len >= 2 && self.header_len == header_size(self.header[1]) {
            self.payload_left = payload_size(&self.header);
            self.closed |= self.header[0] & 0x0f == 8;
            self.header_len = 0;
        }
        1
    }
}

/// Two bytes, the longer length, the mask.
fn header_size(second: u8) -> usize {
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 != 0 { 4 } else { 0 }
}

fn payload_size(header: &[u8; 14]) -> u64 {
    match header[1] & 0x7f {
        126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
        127 => header[2..10].iter().fold(0, |n, b| (n << 8) | u64::from(*b)),
        short => u64::from(short),
    }
}

#[cfg(test)]
mod tests;
