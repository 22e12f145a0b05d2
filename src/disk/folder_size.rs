//! The size of a folder as `du` counts it.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Blocks that the files below `path` take, in bytes, on its own filesystem; a file with several names counts once. What may not be read, or
/// goes away meanwhile, counts nothing. Blocking.
pub fn bytes(path: &Path) -> u64 {
    let Ok(top) = std::fs::symlink_metadata(path) else { return 0 };
    let mut seen = BTreeSet::new();
    let mut total = 0;
    let mut waiting = vec![(path.to_owned(), top.clone())];
    while let Some((path, meta)) = waiting.pop() {
        if meta.dev() != top.dev() || (meta.nlink() > 1 && !meta.is_dir() && !seen.insert(meta.ino())) {
            continue;
        }
        // stat(2): blocks are of 512 bytes, whatever the filesystem's own are.
        total += meta.blocks() * 512;
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.filter_map(|e| Some((e.path(), e.metadata().ok()?))));
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_by_what_they_take() {
        let dir = tempfile::tempdir().expect("temp dir");
        let empty = bytes(dir.path());
        std::fs::create_dir(dir.path().join("in")).expect("a folder");
        std::fs::write(dir.path().join("in/a"), vec![1; 100_000]).expect("a file");
        std::fs::hard_link(dir.path().join("in/a"), dir.path().join("b")).expect("a second name");
        std::os::unix::fs::symlink("/", dir.path().join("root")).expect("a link");
        let sparse = std::fs::File::create(dir.path().join("sparse")).expect("a file");
        sparse.set_len(1 << 30).expect("a length");
        let grown = bytes(dir.path()) - empty;
        assert!((100_000..150_000).contains(&grown), "{grown}");
        assert_eq!(bytes(&dir.path().join("absent")), 0);
    }
}
