//! Tar files, byte by byte: honest ones, and those that no honest program writes.

use std::io::Write;

use super::repo::{SCRATCH, testapp_binary};

pub struct Entry<'a> {
    pub name: &'a str,
    pub kind: u8,
    pub link: &'a str,
    pub mode: u32,
    pub body: &'a [u8],
    /// What the header claims; the body's own length where none.
    pub size: Option<u64>,
}

impl<'a> Entry<'a> {
    pub fn file(name: &'a str, body: &'a [u8]) -> Entry<'a> {
        Entry { name, kind: b'0', link: "", mode: 0o644, body, size: None }
    }

    pub fn link(name: &'a str, kind: u8, link: &'a str) -> Entry<'a> {
        Entry { name, kind, link, mode: 0o777, body: b"", size: None }
    }
}

#[derive(Default, Clone)]
pub struct Tarball(Vec<u8>);

impl Tarball {
    /// The test app as something already built: a binary with a Procfile-like manifest and a Dockerfile from scratch.
    pub fn testapp(version: &str) -> Tarball {
        let binary = Entry { mode: 0o755, ..Entry::file("testapp", testapp_binary()) };
        let text = [("Dockerfile", SCRATCH), ("version", version), ("mode", "")];
        text.iter().fold(Tarball::default().with(&binary), |tar, (name, body)| tar.with(&Entry::file(name, body.as_bytes())))
    }

    pub fn with(mut self, entry: &Entry<'_>) -> Tarball {
        let mut header = [0u8; 512];
        put(&mut header, 0, entry.name.as_bytes());
        put(&mut header, 100, format!("{:07o}", entry.mode).as_bytes());
        put(&mut header, 108, b"0000000");
        put(&mut header, 116, b"0000000");
        put(&mut header, 124, format!("{:011o}", entry.size.unwrap_or(entry.body.len() as u64)).as_bytes());
        put(&mut header, 136, b"00000000000");
        header[156] = entry.kind;
        put(&mut header, 157, entry.link.as_bytes());
        put(&mut header, 257, b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        put(&mut header, 148, format!("{sum:06o}\0").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(entry.body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn tar(&self) -> Vec<u8> {
        let mut all = self.0.clone();
        all.extend_from_slice(&[0; 1024]);
        all
    }

    pub fn gz(&self) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&self.tar()).expect("memory can be written");
        packer.finish().expect("memory can be written")
    }

    pub fn zst(&self) -> Vec<u8> {
        zstd::encode_all(self.tar().as_slice(), 1).expect("memory can be compressed")
    }
}

fn put(header: &mut [u8; 512], at: usize, bytes: &[u8]) {
    let room = bytes.len().min(512 - at);
    header[at..at + room].copy_from_slice(&bytes[..room]);
}
