//! A small disk of one's own (ext4 on a loop file) whose power can be cut, and a small one that fills up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{is_root, run};
use super::wait;

/// A mounted ext4 file system on a loop file. Unmounted and removed when dropped.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// A disk of `mebibytes`; or why none can be had here.
    pub fn new(mebibytes: u64) -> Result<Self, String> {
        if !is_root() {
            return Err("mounting a disk takes root".to_owned());
        }
        for (tool, package) in [("mkfs.ext4", "e2fsprogs"), ("xfs_io", "xfsprogs")] {
            run(tool, &["-V"]).map_err(|_| format!("{tool} is missing (Debian package {package})"))?;
        }
        let folder = tempfile::Builder::new()
            .prefix("schakel-disk-")
            .tempdir()
            .map_err(|e| e.to_string())?;
        let disk = Self { folder };
        let image = std::fs::File::create(disk.image()).map_err(|e| e.to_string())?;
        image.set_len(mebibytes << 20).map_err(|e| e.to_string())?;
        std::fs::create_dir(disk.path()).map_err(|e| e.to_string())?;
        run("mkfs.ext4", &["-q", "-F", disk.image().to_str().unwrap()])?;
        disk.mount()
            .map_err(|e| format!("no loop device can be mounted here: {e}"))?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn mount(&self) -> Result<(), String> {
        run(
            "mount",
            &[
                "-o",
                "loop",
                self.image().to_str().unwrap(),
                self.path().to_str().unwrap(),
            ],
        )
        .map(drop)
    }

    fn unmount(&self) -> Result<(), String> {
        let path = self.path();
        let mut last = Ok(String::new());
        wait::try_until(Duration::from_secs(20), || {
            last = run("umount", &[path.to_str().unwrap()]);
            last.is_ok().then_some(())
        });
        last.map(drop)
    }

    /// Cuts the power: whatever was not synced is gone. Freeze whoever writes first, or it may be told in the
    /// window of the cut that something is durable which is not.
    pub fn cut(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", self.path().to_str().unwrap()]).unwrap();
    }

    /// Freezes the file system, as who makes a snapshot of it does: whoever writes to it waits, until this is dropped.
    ///
    /// # Errors
    /// It cannot be frozen here.
    pub fn freeze(&self) -> Result<Frozen, String> {
        let path = self.path();
        run("fsfreeze", &["--freeze", path.to_str().unwrap()]).map(|_| Frozen(path))
    }

    /// After [`Disk::cut`] and the end of whoever wrote: the power is back.
    pub fn restore(&self) {
        self.unmount().unwrap();
        self.mount().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if is_mounted(&self.path()) {
            self.unmount().ok();
        }
    }
}

/// A frozen file system. Drop it before whoever waits for it is to end.
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", self.0.to_str().unwrap()]).ok();
    }
}

/// A file system in memory of a fixed size, to fill up. Unmounted when dropped.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// One of `mebibytes`; or why none can be had here.
    pub fn new(mebibytes: u64) -> Result<Self, String> {
        if !is_root() {
            return Err("mounting a disk takes root".to_owned());
        }
        let folder = tempfile::Builder::new()
            .prefix("schakel-small-")
            .tempdir()
            .map_err(|e| e.to_string())?;
        let options = format!("size={mebibytes}m,mode=0700");
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &options,
                "schakel-test",
                folder.path().to_str().unwrap(),
            ],
        )?;
        Ok(Self { folder })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes it larger: space is back.
    pub fn grow(&self, mebibytes: u64) {
        let options = format!("remount,size={mebibytes}m");
        run("mount", &["-o", &options, self.path().to_str().unwrap()]).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l", self.path().to_str().unwrap()]).ok();
    }
}

fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|l| l.split(' ').nth(1) == path.to_str())
}
