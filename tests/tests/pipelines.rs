//! A pipeline is answered as its requests would be one at a time (invariant 1), though they are parsed ahead: whatever is refused, waits
//! for storage, for room in the replies or for its turn, and wherever the connection ends.
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use osprey_core::engine::{Engine, Limits, Next, Options, Session};
use osprey_core::storage::StorageDone;
use osprey_core::units::Lsn;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{BEGIN, small_options};
use osprey_tests::memory_log::MemoryLog;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What a client sees of a connection, and what is left behind.
#[derive(Debug, PartialEq)]
struct Outcome {
    replies: String,
    closed: bool,
    /// Not taken, behind the last whole request.
    left: Option<usize>,
    last_lsn: Lsn,
    /// Those of `STATS` that count what was executed.
    counters: Vec<String>,
}

struct Server {
    engine: Engine,
    log: MemoryLog,
    lend_bytes_min: usize,
}

impl Server {
    fn new(limits: Limits) -> Self {
        Self::lending(limits, usize::MAX)
    }

    /// One that lends the payloads of large values.
    fn lending(limits: Limits, lend_bytes_min: usize) -> Self {
        let mut log = MemoryLog::default();
        let options = Options { limits, ..small_options(SyncPolicy::Os) };
        let engine = Engine::recover(options, &mut log, BEGIN).unwrap().0;
        let mut server = Self { engine, log, lend_bytes_min };
        server.drive_storage();
        server
    }

    fn drive_storage(&mut self) {
        while let Some(op) = self.engine.poll_storage() {
            let result = self.log.execute(&op);
            self.engine.storage_done(StorageDone { op, result }).unwrap();
        }
    }

    /// A connection over which `parts` arrive. Between them storage does all that it can, else only what is waited for; replies are sent only
    /// when there are too many.
    fn connection<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let (mut session, mut input, mut out, mut replies) = (Session::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut wanted, mut closed) = (1, false);
        for part in parts {
            input.extend_from_slice(part);
            // Whoever asks for so much can't do anything with less.
            while !closed && input.len() >= wanted {
                let (served, payload) = self.engine.serve_lending(BEGIN, &mut session, &input, &mut out, self.lend_bytes_min);
                payload.map_or(Ok(()), |payload| payload.append_to(&mut out)).unwrap();
                input.drain(..served.consumed);
                wanted = 1;
                match served.next {
                    Next::Read { at_least } => {
                        assert!(at_least > input.len(), "asks for {at_least} bytes and has {}", input.len());
                        wanted = at_least;
                    }
                    Next::Close => closed = true,
                    Next::Again => assert!(!input.is_empty(), "no input, and it wants to go on"),
                    Next::Storage => {
                        assert!(!input.is_empty(), "no input waits for storage");
                        self.drive_storage();
                    }
                    Next::Flush => {
                        assert!(!input.is_empty(), "no input waits for replies to be sent");
                        self.drive_storage();
                        assert_eq!(session.releasable(self.engine.watermark(), out.len()), out.len(), "a reply that never leaves");
                        replies.append(&mut out);
                    }
                }
            }
            self.drive_storage();
        }
        replies.append(&mut out);
        // Of a connection that is closed nobody reads the rest.
        let left = (!closed).then_some(input.len());
        Outcome { replies: replies.escape_ascii().to_string(), closed, left, last_lsn: self.engine.last_lsn(), counters: self.counters() }
    }

    fn counters(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        self.engine.serve(BEGIN, &mut Session::new(), b"STATS\r\n", &mut out);
        let counts = |line: &&str| ["cmd_", "errors_", "get_", "keys"].iter().any(|name| line.starts_with(name));
        String::from_utf8(out).unwrap().lines().filter(counts).map(str::to_owned).collect()
    }
}

/// A request, or what is none: each is sent at once where requests are sent one at a time.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let whole = select(&[
        "PING\r\n",
        "GET a\n",
        "GET b\r\n",
        "SET a 1\r\n7\r\n",
        "SET b 5 NX\r\nhello\n",
        "SET a 2 XX VER 1\r\nxx\r\n",
        "SET b 0 EX 1000\r\n\r\n",
        "INCR a\r\n",
        "DECR a 3\r\n",
        "DEL a\r\n",
        "DEL b VER 3\r\n",
        "EXISTS a\r\n",
        "EXPIRE b 0\r\n",
        "EXPIRE b 500\r\n",
        "PERSIST b\r\n",
        "TTL b\r\n",
        "MGET a b c\r\n",
        "MSET a 1 b 2\r\n123\r\n",
        "SCAN 0 COUNT 100\r\n",
        "\r\n",
        " \n",
    ]);
    let refused = select(&[
        "NO such\r\n",
        "GET\r\n",
        "GET a-key-that-is-much-longer-than-32-bytes\r\n",
        "SET a 4 FOO\r\nPING\r\n",
        "SET a 4 EX 0\r\nPI\r\n\r\n",
        "SET a 4\r\nPING too long\r\n",
        "SET a 2\r\nx\r\n",
        "MSET a 4 a-key-that-is-much-longer-than-32-bytes 4\r\nPINGPING\r\n",
        "INCR c 9223372036854775808\r\n",
        "MGET a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h\r\n",
        "GET                                                                                                     a\r\n",
    ]);
    let last = select(&[
        "QUIT\r\n",
        // Swallows what follows.
        "SET a 2049\r\n",
        "SET a abc\r\n",
        "MSET a 1 b\r\n",
        "POST / HTTP/1.1\r\n",
        "SET                                                                                                     a 1\r\nx\r\n",
    ]);
    let bytes = |text: &'static str| text.as_bytes().to_vec();
    prop_oneof![
        40 => whole.prop_map(bytes),
        // Large ones fill frames and segments, and replies.
        20 => (1000..2000_usize).prop_map(|len| [format!("SET c {len}\r\n").into_bytes(), vec![b'v'; len], b"\r\n".to_vec()].concat()),
        4 => Just(bytes("GET c\r\n")),
        8 => refused.prop_map(bytes),
        1 => last.prop_map(bytes),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let replies = prop_oneof![Just(1_usize), 1..200_usize, 1000..5000_usize, Just(1 << 20)];
    let budget = prop_oneof![Just(1_usize), 1..20_usize, Just(1024)];
    (replies, budget).prop_map(|(unsent_bytes_soft_max, requests_per_call)| {
        let mut limits = small_options(SyncPolicy::Os).limits;
        limits.request.line_bytes_max = 100;
        Limits { unsent_bytes_soft_max, requests_per_call, ..limits }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_pipeline_is_answered_like_its_requests_one_at_a_time(
        requests in vec(request(), 0..80),
        cuts in vec(any::<Index>(), 0..8),
        limits in limits(),
        lend_bytes_min in 0..2000_usize,
    ) {
        let one_at_a_time = Server::new(limits).connection(requests.iter().map(Vec::as_slice));
        let pipeline = requests.concat();
        prop_assert_eq!(&Server::new(limits).connection([pipeline.as_slice()]), &one_at_a_time, "all at once");
        prop_assert_eq!(&Server::lending(limits, lend_bytes_min).connection([pipeline.as_slice()]), &one_at_a_time, "with payloads lent");

        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(pipeline.len() + 1)).chain([0, pipeline.len()]).collect();
        ends.sort_unstable();
        let fragments = ends.windows(2).map(|ends| &pipeline[ends[0]..ends[1]]);
        prop_assert_eq!(&Server::new(limits).connection(fragments), &one_at_a_time, "in fragments");
    }
}
