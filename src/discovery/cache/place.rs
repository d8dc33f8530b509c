//! The directory: files in it are read whole and replaced whole.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    time::SystemTime,
};

use super::{file::Fault, name::ENDING};
use crate::limits;

/// What the name of a file ends with that is not finished.
const UNFINISHED: &str = ".tmp";

/// Makes the directory if it is missing, and proves that a file can be made there.
pub(super) fn prepare(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    clear(directory)?;
    let probe = directory.join(unfinished("probe"));
    let written = create(&probe).and_then(|mut file| file.write_all(b"probe"));
    let removed = fs::remove_file(&probe);
    written.and(removed)
}

/// The file's bytes, `None` if there is none.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
    // Before it is opened: opening a pipe could take for ever.
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(Fault::NoFile),
        Ok(metadata) if metadata.len() > limit => return Err(Fault::TooLarge { limit }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut bytes = Vec::new();
    // It may have grown meanwhile.
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(Fault::TooLarge { limit });
    }
    Ok(Some(bytes))
}

/// Puts a whole file in the place of the old one. It is on the disk when this comes back, and so is its name.
pub(super) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(unfinished(name));
    let written = create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&new, directory.join(name)));
    if renamed.is_err() {
        // Otherwise it would lie there until the next start.
        let _ = fs::remove_file(&new);
    }
    renamed?;
    File::open(directory)?.sync_all()
}

/// A file that nobody else has, and nobody else can read.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Another name each time, for two proxies may have the same directory while one takes over from the other.
fn unfinished(name: &str) -> String {
    let short: String = name.chars().take(200).collect();
    format!(".{short}.{:016x}{UNFINISHED}", rand::random::<u64>())
}

/// Removes what a process left unfinished that was killed, but nothing that is being written now.
fn clear(directory: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    for entry in fs::read_dir(directory)?.take(limits::MAX_CACHE_ENTRIES) {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            name.starts_with('.')
                && name.ends_with(UNFINISHED)
                && (name.contains(ENDING) || name.starts_with(".probe."))
        });
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
        if is_ours && age.is_some_and(|age| age > limits::CACHE_UNFINISHED_AGE) {
            // Another proxy may have been quicker.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}
