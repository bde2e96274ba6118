//! Files that are there whole after a crash, or not at all.

use std::io::Write;
use std::path::Path;

use super::error::StoreError;

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let on = StoreError::on("a folder of the store");
    std::fs::File::open(folder).map_err(&on)?.sync_all().map_err(&on)
}

/// Writes a file so that after a crash it is there whole or not at all: temporary, sync, rename, sync.
pub(crate) fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let on = StoreError::on("a file of the store");
    let temporary = path.with_extension("tmp");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .map_err(&on)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if let Err(e) = renamed {
        let _ = std::fs::remove_file(&temporary);
        return Err(StoreError::io("a file of the store", e));
    }
    path.parent().map_or(Ok(()), sync_folder)
}
