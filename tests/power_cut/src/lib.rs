//! Put into a server or a tool by `LD_PRELOAD`, takes over the functions by which it changes files, and records in a journal what became of those in one
//! directory and below. From the journal a test makes the directory as a power cut would have left it: see `tests/src/power_cut.rs`.
//!
//! ```text
//!   server ──▶ pwrite64, fsync, rename … of this library ──▶ system call
//!                              └──▶ journal ──▶ after kill -9: what was synced survives, and of the rest what a seed says
//! ```
//! A write is recorded when it has returned, and a sync covers what was recorded before it began: nothing counts as durable of which the server
//! could not know that it is. The journal itself is in the page cache, which outlives the process.
//!
//! Only the standard library's calls are seen. The server reserves space by a system call of its own (`rustix`), which no library can take over;
//! that is why a sync notes the file's length, and of a file without any data that it was emptied. A test compares the journal with the directory, so that another such call can't go unnoticed.
//!
//! `POWER_CUT_DIRECTORY` names the directory, `POWER_CUT_JOURNAL` the journal. Without them everything is passed on.

pub mod event;

use std::ffi::{CStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use event::Event;
use libc::{c_char, c_int, c_long, c_void, mode_t, off64_t, size_t, ssize_t};

struct Recorder {
    directory: Vec<u8>,
    journal: c_int,
    /// How many events there are. Held also while names change, so that events are in the order of what they tell.
    events: Mutex<u64>,
}

/// `None`: this process is none to be recorded.
fn recorder() -> Option<&'static Recorder> {
    static RECORDER: OnceLock<Option<Recorder>> = OnceLock::new();
    let open = || {
        let directory = std::env::var_os("POWER_CUT_DIRECTORY")?.into_vec();
        let path = [std::env::var_os("POWER_CUT_JOURNAL").map(OsString::into_vec)?, vec![0]].concat();
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
        // SAFETY: the path ends with a zero byte.
        let journal = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600) };
        assert!(journal >= 0, "the journal can't be opened");
        Some(Recorder { directory, journal: journal as c_int, events: Mutex::new(0) })
    };
    RECORDER.get_or_init(open).as_ref()
}

impl Recorder {
    fn events(&self) -> MutexGuard<'_, u64> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, events: &mut u64, event: &Event<'_>) {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        // SAFETY: the buffer is as long as said.
        let written = unsafe { libc::syscall(libc::SYS_write, self.journal, bytes.as_ptr(), bytes.len()) };
        assert!(usize::try_from(written) == Ok(bytes.len()), "the journal can't be written");
        *events += 1;
    }

    /// The name below the directory of what a file descriptor stands for, also of a file that has lost it since; empty for the directory itself.
    fn place(&self, fd: c_int) -> Option<Vec<u8>> {
        let link = format!("/proc/self/fd/{fd}\0");
        let mut path = [0_u8; libc::PATH_MAX as usize];
        // SAFETY: the path ends with a zero byte; the buffer is as long as said.
        let length = unsafe { libc::readlink(link.as_ptr().cast(), path.as_mut_ptr().cast(), path.len()) };
        match path.get(..usize::try_from(length).ok()?)?.strip_prefix(self.directory.as_slice())? {
            [] => Some(Vec::new()),
            [b'/', name @ ..] => Some(name.to_vec()),
            _ => None,
        }
    }

    fn is_inside(&self, fd: c_int) -> bool {
        self.place(fd).is_some()
    }

    /// The name of what is below the directory.
    fn name<'a>(&self, path: &'a CStr) -> Option<&'a [u8]> {
        let name = path.to_bytes().strip_prefix(self.directory.as_slice())?.strip_prefix(b"/")?;
        (!name.is_empty()).then_some(name)
    }
}

/// Inode and length, and whether it is a directory.
fn file(fd: c_int) -> (u64, u64, bool) {
    // SAFETY: all-zero bytes are a `stat`; the call fills it.
    let stat = unsafe {
        let mut stat: libc::stat64 = std::mem::zeroed();
        assert!(libc::fstat64(fd, &raw mut stat) == 0, "an open file has an inode");
        stat
    };
    (stat.st_ino, stat.st_size.unsigned_abs(), stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// The bytes of a successful write.
///
/// # Safety
/// `written` bytes at `buffer` can be read.
unsafe fn data<'a>(buffer: *const c_void, written: c_long) -> Option<&'a [u8]> {
    let length = usize::try_from(written).ok().filter(|length| *length > 0)?;
    // SAFETY: the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(buffer.cast(), length) })
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // The function has a variable number of arguments in C. A third one is passed in the same register either way, and looked at only if there is one.
    // SAFETY: the caller's promise.
    let open = || unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int };
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    let Some((recorder, name)) = recorder().and_then(|recorder| Some((recorder, recorder.name(path)?))) else { return open() };
    let mut events = recorder.events();
    // SAFETY: the path ends with a zero byte.
    let made = unsafe { libc::access(path.as_ptr(), libc::F_OK) } != 0;
    let fd = open();
    if fd >= 0 && !file(fd).2 {
        recorder.record(&mut events, &Event::Opened { inode: file(fd).0, name, made, emptied: flags & libc::O_TRUNC != 0 });
    }
    fd
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, buffer: *const c_void, length: size_t, offset: off64_t) -> ssize_t {
    // SAFETY: the caller's promise.
    let written = unsafe { libc::syscall(libc::SYS_pwrite64, fd, buffer, length, offset) };
    // SAFETY: so many bytes were just read by the system.
    if let (Some(recorder), Some(data)) = (recorder(), unsafe { data(buffer, written) })
        && recorder.is_inside(fd)
    {
        recorder.record(&mut recorder.events(), &Event::Written { inode: file(fd).0, offset: offset.unsigned_abs(), data });
    }
    written as ssize_t
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller's promise.
    let written = unsafe { libc::syscall(libc::SYS_write, fd, buffer, length) };
    // SAFETY: so many bytes were just read by the system.
    if let (Some(recorder), Some(data)) = (recorder(), unsafe { data(buffer, written) })
        && recorder.is_inside(fd)
    {
        // SAFETY: no memory is involved.
        let end = unsafe { libc::lseek64(fd, 0, libc::SEEK_CUR) }.unsigned_abs();
        recorder.record(&mut recorder.events(), &Event::Written { inode: file(fd).0, offset: end - data.len() as u64, data });
    }
    written as ssize_t
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    // SAFETY: no memory is involved.
    let result = unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) };
    if let Some(recorder) = recorder().filter(|recorder| result == 0 && recorder.is_inside(fd)) {
        recorder.record(&mut recorder.events(), &Event::Resized { inode: file(fd).0, length: length.unsigned_abs() });
    }
    result as c_int
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    synced(fd, libc::SYS_fsync)
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    synced(fd, libc::SYS_fdatasync)
}

/// Whether a file is nothing but reserved space.
fn has_no_data(fd: c_int) -> bool {
    // SAFETY: no memory is involved.
    unsafe {
        let place = libc::lseek64(fd, 0, libc::SEEK_CUR);
        let none = libc::lseek64(fd, 0, libc::SEEK_DATA) < 0 && *libc::__errno_location() == libc::ENXIO;
        libc::lseek64(fd, place, libc::SEEK_SET);
        none
    }
}

fn synced(fd: c_int, call: c_long) -> c_int {
    // SAFETY: no memory is involved.
    let sync = || unsafe { libc::syscall(call, fd) as c_int };
    let Some(recorder) = recorder() else { return sync() };
    let Some(name) = recorder.place(fd) else { return sync() };
    let (inode, length, is_directory) = file(fd);
    if !is_directory && length > 0 && has_no_data(fd) {
        recorder.record(&mut recorder.events(), &Event::Resized { inode, length: 0 });
    }
    let covers = *recorder.events();
    let result = sync();
    if result == 0 {
        let event = if is_directory { Event::DirectorySynced { name: &name, covers } } else { Event::Synced { inode, length, covers } };
        recorder.record(&mut recorder.events(), &event);
    }
    result
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let lock = recorder().map(|recorder| (recorder, recorder.events()));
    // SAFETY: the caller's promise.
    let (result, from, to) = unsafe {
        let result = libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0);
        (result, CStr::from_ptr(from), CStr::from_ptr(to))
    };
    if let Some((recorder, mut events)) = lock
        && let (0, Some(from), Some(to)) = (result, recorder.name(from), recorder.name(to))
    {
        recorder.record(&mut events, &Event::Renamed { from, to });
    }
    result as c_int
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let lock = recorder().map(|recorder| (recorder, recorder.events()));
    // SAFETY: the caller's promise.
    let (result, path) = unsafe { (libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0), CStr::from_ptr(path)) };
    if let Some((recorder, mut events)) = lock
        && let (0, Some(name)) = (result, recorder.name(path))
    {
        recorder.record(&mut events, &Event::Removed { name });
    }
    result as c_int
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn linkat(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char, flags: c_int) -> c_int {
    let lock = recorder().map(|recorder| (recorder, recorder.events()));
    // SAFETY: the caller's promise.
    let (result, from, to) = unsafe {
        let result = libc::syscall(libc::SYS_linkat, from_fd, from, to_fd, to, flags);
        (result, CStr::from_ptr(from), CStr::from_ptr(to))
    };
    if let Some((recorder, mut events)) = lock
        && let (0, Some(from), Some(to)) = (result, recorder.name(from), recorder.name(to))
    {
        recorder.record(&mut events, &Event::Linked { from, to });
    }
    result as c_int
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let lock = recorder().map(|recorder| (recorder, recorder.events()));
    // SAFETY: the caller's promise.
    let (result, path) = unsafe { (libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode), CStr::from_ptr(path)) };
    if let Some((recorder, mut events)) = lock
        && let (0, Some(name)) = (result, recorder.name(path))
    {
        recorder.record(&mut events, &Event::DirectoryMade { name });
    }
    result as c_int
}

/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    let lock = recorder().map(|recorder| (recorder, recorder.events()));
    // SAFETY: the caller's promise.
    let (result, path) = unsafe { (libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, libc::AT_REMOVEDIR), CStr::from_ptr(path)) };
    if let Some((recorder, mut events)) = lock
        && let (0, Some(name)) = (result, recorder.name(path))
    {
        recorder.record(&mut events, &Event::DirectoryRemoved { name });
    }
    result as c_int
}
