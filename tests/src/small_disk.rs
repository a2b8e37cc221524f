//! A small file system for a server, so that its disk can be full in earnest: a `tmpfs` in a mount namespace of its own, which needs no privileges where the system lets users have
//! namespaces. Space is set aside and written to there as on a disk, and `ENOSPC` is the kernel's own.
//!
//! A shell holds the namespace for as long as there is a [`SmallDisk`], so that servers can come and go; from outside its files are reached through `/proc`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::fs::FallocateFlags;
use tempfile::TempDir;

use crate::server_process::Setup;

/// Under this name a file takes all space that is left.
const BALLAST: &str = "ballast";

/// A mounted file system. Gone with all its files when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    mount: TempDir,
    shell: Child,
    answers: BufReader<ChildStdout>,
}

impl SmallDisk {
    /// One with so many bytes; or what the system says why there is none.
    ///
    /// # Errors
    /// This system doesn't let its users have namespaces.
    ///
    /// # Panics
    /// No directory to mount it at.
    pub fn new(bytes: u64) -> Result<Self, String> {
        let mount = tempfile::tempdir().unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut shell = unshare.spawn().map_err(|error| format!("unshare: {error}"))?;
        let answers = BufReader::new(shell.stdout.take().unwrap());
        let mut disk = Self { mount, shell, answers };
        if disk.run(&format!("mount -t tmpfs -o size={bytes},mode=0700 osprey-test {}", disk.outside().display())) {
            return Ok(disk);
        }
        drop(disk.shell.stdin.take());
        let mut why = String::new();
        let _ = std::io::Read::read_to_string(&mut disk.shell.stderr.take().unwrap(), &mut why);
        Err(why.trim().to_owned())
    }

    /// Whether a command succeeds inside.
    fn run(&mut self, command: &str) -> bool {
        let mut answer = String::new();
        let sent = self.shell.stdin.as_mut().is_some_and(|stdin| writeln!(stdin, "{command}; echo $?").is_ok());
        sent && self.answers.read_line(&mut answer).is_ok() && answer.trim() == "0"
    }

    /// Its size from now on.
    ///
    /// # Panics
    /// It can't have that.
    pub fn resize(&mut self, bytes: u64) {
        let mount = self.outside().display().to_string();
        assert!(self.run(&format!("mount -o remount,size={bytes} {mount}")), "a file system of {bytes} bytes");
    }

    /// Where it is mounted: a server's path.
    #[must_use]
    pub fn outside(&self) -> &Path {
        self.mount.path()
    }

    /// The data directory, as a test sees it.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.inside("data")
    }

    fn inside(&self, name: &str) -> PathBuf {
        let mount = self.mount.path().strip_prefix("/").unwrap();
        Path::new("/proc").join(self.shell.id().to_string()).join("root").join(mount).join(name)
    }

    /// A server on it.
    #[must_use]
    pub fn setup(&self) -> Setup {
        Setup::new(&self.outside().join("data")).behind(self.entering())
    }

    /// The words behind which a program runs inside.
    #[must_use]
    pub fn entering(&self) -> Vec<OsString> {
        let shell = self.shell.id().to_string();
        ["nsenter", "--target", &shell, "--user", "--mount", "--preserve-credentials", "--"].map(OsString::from).to_vec()
    }

    /// How much is free, bytes.
    ///
    /// # Panics
    /// The file system is gone.
    #[must_use]
    pub fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(self.inside(".")).unwrap();
        space.f_bavail * space.f_frsize
    }

    /// Takes all space but so many bytes.
    ///
    /// # Panics
    /// Something else has taken it meanwhile, again and again.
    pub fn leave(&self, bytes: u64) {
        let file = File::options().append(true).create(true).open(self.inside(BALLAST)).unwrap();
        for _ in 0..100 {
            let more = self.free().saturating_sub(bytes);
            let length = file.metadata().unwrap().len();
            if more == 0 || rustix::fs::fallocate(&file, FallocateFlags::empty(), length, more).is_ok() {
                return;
            }
        }
        panic!("the disk can't be filled");
    }

    /// Gives it back.
    ///
    /// # Panics
    /// Nothing was taken.
    pub fn give_back(&self) {
        fs::remove_file(self.inside(BALLAST)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
