//! The reader that believes nothing an archive says, and writes what is left of it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tar::{EntryType, Header};

use super::extensions::{Extensions, Pending};
use super::input::{ChannelReader, Counted, OVER_LIMIT, unpacked};
use super::output::{Exact, Hashed};
use super::path::{Node, Tree, TreePath, check_target, clean as clean_path, shown};
use crate::base::size::bytes;
use crate::builds::error::BuildError;

/// How much a source may be.
#[derive(Debug, Clone, Copy)]
pub struct SourceLimits {
    /// Bytes of all files together, unpacked.
    pub bytes: u64,
    /// Entries of any kind, and the folders that follow from their paths.
    pub files: u64,
    /// Bytes that must stay free on the filesystem of the cleaned tar.
    pub keep_free: u64,
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSummary {
    /// Files, folders and symlinks.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Of the cleaned tar: the same tree with the same times gives the same.
    pub sha256: String,
}

/// What the tar format itself may take per entry beside its bytes: header, long name, padding.
const OVERHEAD: u64 = 4096;

/// Bytes that the names may take per file that a source may have: they are held in memory. In trees of packages a path has 100 on average.
const NAME_BYTES: u64 = 256;

/// What to do about an entry that is refused.
const MEND: &str = "mend it or leave it out, and send the source again";

/// The blocking whole: reads all of `from`, leaves the cleaned tar at `to` if it is still wanted then.
pub fn clean(
    from: ChannelReader,
    to: &Path,
    strip: bool,
    limits: SourceLimits,
    wanted: &Mutex<bool>,
) -> Result<SourceSummary, BuildError> {
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(BuildError::io("making", folder))?;
    let name = to.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // Two uploads of one deploy can't be at work at once, two processes can.
    let beside = Scratch(folder.join(format!(".{name}.new-{}-{:?}", std::process::id(), std::thread::current().id())));
    let mut from = from;
    let mut cleaner = Cleaner::create(&beside.0, limits)?;
    if let Err(error) = cleaner.take_all(&mut from) {
        return Err(from.broke.take().map_or(error, BuildError::Broken));
    }
    let mut summary = cleaner.finish(&beside.0)?;
    let mut tree = cleaner.tree;
    if let Some(top) = tree.common_top().filter(|_| strip) {
        // The names are held twice while it is written again, not three times.
        drop(cleaner.placed);
        (summary, tree) = without_top(&beside.0, &top, limits, summary.bytes)?;
    }
    if let Some((link, why)) = tree.first_bad_link() {
        let hint = Some("replace the symlink by what it points to, or remove it".to_owned());
        return Err(BuildError::Entry { entry: shown(link), why, hint });
    }
    // Held over the renaming: what nobody waits for any more nobody would remove.
    let wanted = wanted.lock().expect("no code panics while it holds this lock");
    if !*wanted {
        return Err(BuildError::Cancelled);
    }
    fs::rename(&beside.0, to).map_err(BuildError::io("renaming to", to))?;
    drop(wanted);
    File::open(folder).and_then(|f| f.sync_all()).map_err(BuildError::io("syncing", folder))?;
    Ok(summary)
}

/// A file that goes away unless it was renamed.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

struct Cleaner {
    limits: SourceLimits,
    tree: Tree,
    out: tar::Builder<Hashed>,
    path: PathBuf,
    /// Where a file's bytes lie in the cleaned tar, for hardlinks to it.
    placed: HashMap<TreePath, (u64, u64, u32)>,
    files: u64,
    bytes: u64,
    now: u64,
}

impl Cleaner {
    fn create(path: &Path, limits: SourceLimits) -> Result<Self, BuildError> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.map_err(BuildError::io("writing", path))?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let out = tar::Builder::new(Hashed::new(file, folder, limits.keep_free));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Ok(Self { limits, tree: Tree::default(), out, path: path.to_owned(), placed: HashMap::new(), files: 0, bytes: 0, now })
    }

    fn take_all(&mut self, from: &mut ChannelReader) -> Result<(), BuildError> {
        let limits = self.limits;
        let broken = |e: io::Error| archive_error(&e, limits);
        let limit = limits.bytes.saturating_add(limits.files.saturating_mul(OVERHEAD)).saturating_add(1 << 20);
        let mut archive = tar::Archive::new(Counted::new(unpacked(from).map_err(broken)?, limit));
        // Raw: extension headers come as entries, so that their size is bounded before they are read.
        let entries = archive.entries().map_err(broken)?.raw(true);
        let mut extensions = Extensions::default();
        for entry in entries {
            let mut entry = entry.map_err(broken)?;
            match extensions.take(&mut entry)? {
                Pending::More => {}
                Pending::Entry { name, link } => self.take(&mut entry, &name, &link)?,
            }
        }
        let mut rest = archive.into_inner();
        if rest.zeros < 512 {
            return Err(BuildError::Archive { why: "it ends in the middle".to_owned() });
        }
        // Whoever sends may be writing padding still; a broken pipe would look like a failure there.
        io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
        Ok(())
    }

    fn take(&mut self, entry: &mut tar::Entry<'_, impl Read>, name: &[u8], link: &[u8]) -> Result<(), BuildError> {
        let refused = |why: String| BuildError::Entry { entry: shown(name), why, hint: Some(MEND.to_owned()) };
        let Some(path) = clean_path(name).map_err(refused)? else { return Ok(()) };
        if path == b".git" || path.starts_with(b".git/") {
            return Ok(());
        }
        self.files += 1;
        let header = entry.header();
        let mode = if header.mode().map_err(|e| refused(e.to_string()))? & 0o111 != 0 { 0o755 } else { 0o644 };
        let mtime = self.time(header.mtime().unwrap_or(0));
        let (kind, size) = (header.entry_type(), entry.size());
        // Before POSIX a folder was a file whose name ends with a slash.
        let folder = kind == EntryType::Directory || (kind == EntryType::Regular && name.ends_with(b"/") && size == 0);
        match kind {
            _ if folder => {
                self.place(&path, name, Node::Folder { given: true })?;
                let mut header = plain_header(EntryType::Directory, 0o755, mtime, 0);
                self.append(&mut header, &path, io::empty())
            }
            EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => {
                Err(refused("it is a file named like a folder".to_owned()))
            }
            EntryType::Regular | EntryType::Continuous => {
                self.grow(size, name)?;
                self.place(&path, name, Node::File)?;
                self.file(&path, mode, mtime, size, entry)
            }
            EntryType::Symlink => {
                if size != 0 {
                    return Err(refused("it is a symlink that holds bytes".to_owned()));
                }
                check_target(link).map_err(refused)?;
                self.place(&path, name, Node::Link { target: link.to_vec() })?;
                let mut header = plain_header(EntryType::Symlink, 0o777, mtime, 0);
                let done = self.out.append_link(&mut header, os_path(&path), os_path(link));
                done.map_err(BuildError::io("writing", &self.path))
            }
            EntryType::Link => self.hardlink(&path, name, link, mtime),
            EntryType::Block | EntryType::Char => Err(refused("it is a device".to_owned())),
            EntryType::Fifo => Err(refused("it is a named pipe".to_owned())),
            EntryType::GNUSparse => Err(refused("it is a sparse file, which is not supported".to_owned())),
            other => Err(refused(format!("it is of an unknown kind (`{}`)", (other.as_byte() as char).escape_debug()))),
        }
    }

    /// Gives an entry its place in the tree, which must not grow beyond what a source may be.
    fn place(&mut self, path: &TreePath, name: &[u8], node: Node) -> Result<(), BuildError> {
        let refused = |why: String| BuildError::Entry { entry: shown(name), why, hint: Some(MEND.to_owned()) };
        self.tree.add(path, node).map_err(refused)?;
        let most = self.limits.files;
        let nodes = u64::try_from(self.tree.len()).unwrap_or(u64::MAX);
        // A folder may be given again and again: that adds entries, and nothing to the tree.
        if self.files.max(nodes) > most {
            return Err(too_large(format!("more than {most} files and folders")));
        }
        let names = u64::try_from(self.tree.name_bytes()).unwrap_or(u64::MAX);
        if names > most.saturating_mul(NAME_BYTES) {
            return Err(too_large(format!("its names alone take more than {}", bytes(most.saturating_mul(NAME_BYTES)))));
        }
        Ok(())
    }

    /// A hardlink becomes a copy of the file before it: an image has no use for the identity.
    fn hardlink(&mut self, path: &TreePath, name: &[u8], link: &[u8], mtime: u64) -> Result<(), BuildError> {
        let refused = |why: String| BuildError::Entry { entry: shown(name), why, hint: Some(MEND.to_owned()) };
        let target = clean_path(link).map_err(|why| refused(format!("it is a hardlink to {}: {why}", shown(link))))?;
        let found = target.as_ref().and_then(|target| self.placed.get(target)).copied();
        let Some((at, size, mode)) = found else {
            return Err(refused(format!("it is a hardlink to {}, which is no file before it in the archive", shown(link))));
        };
        self.grow(size, name)?;
        self.place(path, name, Node::File)?;
        let failed = BuildError::io("copying in", &self.path);
        let copied = self.out.get_mut().flush().and_then(|()| {
            let mut again = File::open(&self.path)?;
            again.seek(SeekFrom::Start(at))?;
            Ok(again)
        });
        let again = copied.map_err(failed)?;
        self.file(path, mode, mtime, size, &mut again.take(size))
    }

    fn file(&mut self, path: &TreePath, mode: u32, mtime: u64, size: u64, from: &mut impl Read) -> Result<(), BuildError> {
        let mut header = plain_header(EntryType::Regular, mode, mtime, size);
        let mut exact = Exact::new(from, size);
        self.append(&mut header, path, &mut exact)?;
        // The bytes end at the last full block before where we stand now.
        let end = self.out.get_ref().at();
        let start = end - size.div_ceil(512) * 512;
        self.placed.insert(path.clone(), (start, size, mode));
        Ok(())
    }

    fn append(&mut self, header: &mut Header, path: &[u8], from: impl Read) -> Result<(), BuildError> {
        let done = self.out.append_data(header, os_path(path), from);
        let (limits, path) = (self.limits, &self.path);
        done.map_err(|e| match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::PermissionDenied => {
                BuildError::Io { act: "writing", path: path.clone(), source: e }
            }
            _ => archive_error(&e, limits),
        })
    }

    fn grow(&mut self, size: u64, name: &[u8]) -> Result<(), BuildError> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes <= self.limits.bytes {
            return Ok(());
        }
        let limit = self.limits.bytes >> 20;
        let what = if size > self.limits.bytes {
            format!("{} has {} MiB, and a source may have {limit} MiB in all", shown(name), size >> 20)
        } else {
            format!("with {} it has more than {limit} MiB", shown(name))
        };
        Err(too_large(what))
    }

    /// The archive's time, unless it is nonsense: web servers make validators of it, so it must change when a file does (git gives the
    /// commit's time), and BuildKit does not look at it when it compares.
    fn time(&self, given: u64) -> u64 {
        if given == 0 { EARLIEST } else { given.clamp(EARLIEST, self.now) }
    }

    /// Ends the tar and syncs it. Gives what is in it.
    fn finish(&mut self, path: &Path) -> Result<SourceSummary, BuildError> {
        let failed = || BuildError::io("writing", path);
        self.out.finish().map_err(failed())?;
        let sha256 = self.out.get_mut().finish().map_err(failed())?;
        Ok(SourceSummary { files: self.files, bytes: self.bytes, sha256 })
    }
}

/// 1980: zip files and some programs know no earlier time.
const EARLIEST: u64 = 315_532_800;

/// Writes a cleaned tar again without its top folder.
fn without_top(path: &Path, top: &[u8], limits: SourceLimits, bytes: u64) -> Result<(SourceSummary, Tree), BuildError> {
    let whole = File::open(path).map_err(BuildError::io("reading", path))?;
    let beside = Scratch(path.with_extension("stripped"));
    let mut cleaner = Cleaner::create(&beside.0, limits)?;
    let broken = |e: io::Error| archive_error(&e, limits);
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(256 * 1024, whole));
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path_bytes().into_owned();
        let Some(shorter) = name.get(top.len() + 1..).filter(|rest| !rest.is_empty()).map(<[u8]>::to_vec) else { continue };
        let link = entry.link_name_bytes().map(|l| l.into_owned()).unwrap_or_default();
        cleaner.take(&mut entry, &shorter, &link)?;
    }
    let summary = cleaner.finish(&beside.0)?;
    debug_assert_eq!(summary.bytes, bytes, "the same files with shorter names");
    fs::rename(&beside.0, path).map_err(BuildError::io("renaming to", path))?;
    Ok((summary, cleaner.tree))
}

fn plain_header(kind: EntryType, mode: u32, mtime: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn os_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn too_large(what: String) -> BuildError {
    let hint = "leave out what can be built or fetched, or raise `[limits]` in the host config".to_owned();
    BuildError::TooLarge { what, hint }
}

fn archive_error(error: &io::Error, limits: SourceLimits) -> BuildError {
    if error.to_string() == OVER_LIMIT {
        return too_large(format!("it unpacks to more than {} MiB", limits.bytes >> 20));
    }
    BuildError::Archive { why: error.to_string() }
}
