//! A small disk of one's own (ext4 on a loop file) whose power can be cut, and a small one that fills up.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{command, is_root, run};
use super::wait;

/// A mounted ext4 file system on a loop file. Unmounted and removed when dropped.
pub struct Disk {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Disk {
    /// A disk of `mebibytes`; or why none can be had here.
    pub fn new(mebibytes: u64) -> Result<Self, String> {
        Self::made(mebibytes, None)
    }

    /// The same, mounted over a folder, which is made if it is missing: an agent's data, say.
    pub fn at(mebibytes: u64, path: &Path) -> Result<Self, String> {
        Self::made(mebibytes, Some(path))
    }

    fn made(mebibytes: u64, path: Option<&Path>) -> Result<Self, String> {
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
        let path = path.map_or_else(|| folder.path().join("disk"), Path::to_owned);
        let disk = Self { folder, path };
        let image = std::fs::File::create(disk.image()).map_err(|e| e.to_string())?;
        image.set_len(mebibytes << 20).map_err(|e| e.to_string())?;
        std::fs::create_dir_all(disk.path()).map_err(|e| e.to_string())?;
        run("mkfs.ext4", &["-q", "-F", disk.image().to_str().unwrap()])?;
        disk.mount()
            .map_err(|e| format!("no loop device can be mounted here: {e}"))?;
        // As its owner's own, also after a power cut.
        std::fs::set_permissions(disk.path(), PermissionsExt::from_mode(0o700)).map_err(|e| e.to_string())?;
        let root = std::fs::File::open(disk.path()).map_err(|e| e.to_string())?;
        root.sync_all().map_err(|e| e.to_string())?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The loop device, e.g. `loop0`.
    fn device(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let path = self.path.to_str();
        let line = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == path)
            .unwrap();
        let device = line.split(' ').next().unwrap();
        device.rsplit('/').next().unwrap().to_owned()
    }

    /// Lets it fail as disks do: from now on the kernel takes nothing more for it, and reads go on.
    pub fn turn_read_only(&self) {
        let path = self.path.to_str().unwrap();
        run("mount", &["-o", "remount,errors=remount-ro", path]).unwrap();
        let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", self.device());
        std::fs::write(&trigger, "1").unwrap_or_else(|e| panic!("{trigger}: {e}"));
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

    /// Checks and mends it, as a start of the machine does, and mounts it again. Whoever used it has ended.
    pub fn mend(&self) {
        self.unmount().unwrap();
        let image = self.image();
        // 1: errors were corrected.
        let done = command("e2fsck").arg("-fy").arg(&image).output().unwrap();
        assert!(matches!(done.status.code(), Some(0 | 1)), "e2fsck: {done:?}");
        self.mount().unwrap();
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
        let path = self.path();
        let path = path.to_str().unwrap();
        // After a failure somebody may use it still: it goes when they do.
        if is_mounted(&self.path()) && run("umount", &[path]).is_err() {
            run("umount", &["-l", path]).ok();
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
    path: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl SmallDisk {
    /// One of `mebibytes`; or why none can be had here.
    pub fn new(mebibytes: u64) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("schakel-small-").tempdir();
        let folder = folder.map_err(|e| e.to_string())?;
        mount_memory(mebibytes, folder.path())?;
        Ok(Self {
            path: folder.path().to_owned(),
            _folder: Some(folder),
        })
    }

    /// The same, mounted over a folder, which is made if it is missing.
    pub fn at(mebibytes: u64, path: &Path) -> Result<Self, String> {
        mount_memory(mebibytes, path)?;
        Ok(Self {
            path: path.to_owned(),
            _folder: None,
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
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

fn mount_memory(mebibytes: u64, path: &Path) -> Result<(), String> {
    if !is_root() {
        return Err("mounting a disk takes root".to_owned());
    }
    std::fs::create_dir_all(path).map_err(|e| e.to_string())?;
    let options = format!("size={mebibytes}m,mode=0700");
    let place = path.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", &options, "schakel-test", place]).map(drop)
}

fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|l| l.split(' ').nth(1) == path.to_str())
}
