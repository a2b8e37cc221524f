//! What happens to the files of a directory and of those below it, as the journal has it. Written inside the server or tool, read by the tests.
//!
//! An event is a kind, three numbers, two lengths, and two runs of bytes of these lengths; everything little-endian.

const HEADER_BYTES: usize = 1 + 3 * 8 + 2 * 4;

/// One system call that has succeeded. Files are named by their inode; a number belongs to the last file that was made with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file was opened.
    Opened {
        /// Which.
        inode: u64,
        /// Its name in the directory; with the names of those on the way, and `/` between, if it is further below.
        name: &'a [u8],
        /// It was not there before.
        made: bool,
        /// It was cut to nothing.
        emptied: bool,
    },
    /// Bytes were written.
    Written {
        /// To which file.
        inode: u64,
        /// From this byte on.
        offset: u64,
        /// What.
        data: &'a [u8],
    },
    /// The length was set.
    Resized {
        /// Of which file.
        inode: u64,
        /// In bytes.
        length: u64,
    },
    /// A sync has ended.
    Synced {
        /// Of which file.
        inode: u64,
        /// So many bytes it was long when the sync began: space that is reserved leaves no event of its own.
        length: u64,
        /// The sync has to cover what is in the journal's first so many events. Later ones came while it was under way.
        covers: u64,
    },
    /// A file got another name, and whoever had that name lost it.
    Renamed {
        /// The name before.
        from: &'a [u8],
        /// The name since.
        to: &'a [u8],
    },
    /// A name was removed.
    Removed {
        /// Which.
        name: &'a [u8],
    },
    /// A sync of the directory, or of one below it, has ended; as for a file.
    DirectorySynced {
        /// Empty for the directory itself.
        name: &'a [u8],
        /// As for a file.
        covers: u64,
    },
    /// A file got a second name.
    Linked {
        /// The name that it has.
        from: &'a [u8],
        /// The other one.
        to: &'a [u8],
    },
    /// A directory was made below the directory.
    DirectoryMade {
        /// Its name.
        name: &'a [u8],
    },
    /// A directory below the directory was removed, which was empty.
    DirectoryRemoved {
        /// Its name.
        name: &'a [u8],
    },
}

impl<'a> Event<'a> {
    /// Appends the event to `journal`.
    pub fn encode(&self, journal: &mut Vec<u8>) {
        let none: &[u8] = &[];
        let (kind, numbers, bytes) = match *self {
            Self::Opened { inode, name, made, emptied } => (1_u8, [inode, made.into(), emptied.into()], [name, none]),
            Self::Written { inode, offset, data } => (2, [inode, offset, 0], [data, none]),
            Self::Resized { inode, length } => (3, [inode, length, 0], [none, none]),
            Self::Synced { inode, length, covers } => (4, [inode, length, covers], [none, none]),
            Self::Renamed { from, to } => (5, [0; 3], [from, to]),
            Self::Removed { name } => (6, [0; 3], [name, none]),
            Self::DirectorySynced { name, covers } => (7, [covers, 0, 0], [name, none]),
            Self::Linked { from, to } => (8, [0; 3], [from, to]),
            Self::DirectoryMade { name } => (9, [0; 3], [name, none]),
            Self::DirectoryRemoved { name } => (10, [0; 3], [name, none]),
        };
        journal.push(kind);
        numbers.iter().for_each(|number| journal.extend(number.to_le_bytes()));
        bytes.iter().for_each(|bytes| journal.extend(u32::try_from(bytes.len()).expect("one write is far below 4 GiB").to_le_bytes()));
        bytes.iter().for_each(|bytes| journal.extend(*bytes));
    }

    /// The event at the beginning of `journal`, and what follows it. `None` at the end, and where the process died while it wrote.
    ///
    /// # Panics
    /// There is no such kind of event.
    #[must_use]
    pub fn decode(journal: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = journal.split_first_chunk::<HEADER_BYTES>()?;
        let number = |at: usize| (0..8).rev().fold(0, |number, byte| number << 8 | u64::from(header[1 + at * 8 + byte]));
        let length = |at: usize| (0..4).rev().fold(0, |length, byte| length << 8 | usize::from(header[25 + at * 4 + byte]));
        let (first, rest) = rest.split_at_checked(length(0))?;
        let (second, rest) = rest.split_at_checked(length(1))?;
        let event = match header[0] {
            1 => Self::Opened { inode: number(0), name: first, made: number(1) == 1, emptied: number(2) == 1 },
            2 => Self::Written { inode: number(0), offset: number(1), data: first },
            3 => Self::Resized { inode: number(0), length: number(1) },
            4 => Self::Synced { inode: number(0), length: number(1), covers: number(2) },
            5 => Self::Renamed { from: first, to: second },
            6 => Self::Removed { name: first },
            7 => Self::DirectorySynced { name: first, covers: number(0) },
            8 => Self::Linked { from: first, to: second },
            9 => Self::DirectoryMade { name: first },
            10 => Self::DirectoryRemoved { name: first },
            kind => panic!("no event is of kind {kind}"),
        };
        Some((event, rest))
    }
}
