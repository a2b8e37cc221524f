//! The requests: which key, which operation, which value; as bytes that are ready but for the key's digits.

use std::ops::Range;

use fastrand::Rng;

use super::connection::Source;
use super::options::{Distribution, Load, Options, SizeRange};
use super::wire::{Operation, Protocol, Unencodable};
use super::zipf::Zipf;

/// Makes the requests of one thread's connections. What differs from connection to connection, the random numbers, is theirs.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    load: Load,
    read_ratio: f64,
    readers: Option<u64>,
    keys: Keys,
    get: Template,
    set: Set,
    incr: Template,
    /// Stores a key as the load needs it: a number for increments.
    store: Set,
}

/// How keys are drawn from the keyspace.
#[derive(Clone, Copy, Debug)]
enum Keys {
    Uniform { count: u64 },
    Zipf(Zipf),
}

/// A whole request, in which the key's digits are patched in place.
#[derive(Clone, Debug)]
struct Template {
    bytes: Vec<u8>,
    digits: Range<usize>,
}

/// A request to store: ready where all values have one size, otherwise encoded each time.
#[derive(Clone, Debug)]
enum Set {
    Ready(Template),
    Encoded { protocol: Protocol, ttl_ms: Option<u64>, key: Template, value: Vec<u8>, sizes: SizeRange },
}

impl Requests {
    /// Prepares the requests of a run; refuses what the protocol cannot express, saying why.
    pub(crate) fn new(options: &Options) -> Result<Self, Unencodable> {
        let protocol = options.protocol;
        if options.readers.is_some_and(|readers| options.op != Load::Mixed || readers >= options.clients) {
            return Err(Unencodable("--readers are some of the --clients of --op mixed, not all of them".to_owned()));
        }
        // Counters have keys of their own: the values of the others are no numbers.
        let key = Template::key(options, if options.op == Load::Incr { b"ctr_" } else { b"key_" })?;
        let set = |key: &Template, sizes: SizeRange, letter: fn(usize) -> u8| -> Result<Set, Unencodable> {
            let value: Vec<u8> = (0..sizes.max).map(letter).collect();
            let ttl_ms = options.ttl_ms;
            let ready = key.within(|out, key| protocol.encode_set(out, key, &value, ttl_ms))?;
            Ok(if sizes.min == sizes.max { Set::Ready(ready) } else { Set::Encoded { protocol, ttl_ms, key: key.clone(), value, sizes } })
        };
        let letter = |at: usize| b"abcdefghijklmnopqrstuvwxyz"[at % 26];
        let data = set(&key, options.value_size, letter)?;
        Ok(Self {
            load: options.op,
            read_ratio: options.read_ratio,
            readers: options.readers.map(u64::from),
            keys: match options.distribution {
                Distribution::Uniform => Keys::Uniform { count: options.keyspace },
                Distribution::Zipf => Keys::Zipf(Zipf::new(options.keyspace, options.zipf_exponent)),
            },
            get: key.within(|out, key| protocol.encode_get(out, key))?,
            incr: key.within(|out, key| protocol.encode_incr(out, key))?,
            store: if options.op == Load::Incr { set(&key, SizeRange { min: 1, max: 1 }, |_| b'0')? } else { data.clone() },
            // Writers beside readers have keys of their own, so that no read waits for a write.
            set: if options.readers.is_some() { set(&Template::key(options, b"set_")?, options.value_size, letter)? } else { data },
        })
    }

    /// What connection number `connection` of `total` sends: readers are spread evenly among the writers.
    pub(crate) fn source(&self, connection: u64, total: u64) -> Source {
        match self.readers {
            None => Source::Load,
            Some(readers) if connection * readers % total < readers => Source::Only(Operation::Get),
            Some(_) => Source::Only(Operation::Set),
        }
    }

    /// Appends the load's next request.
    pub(crate) fn append(&mut self, rng: &mut Rng, out: &mut Vec<u8>) -> Result<Operation, Unencodable> {
        let operation = match self.load {
            Load::Get => Operation::Get,
            Load::Set => Operation::Set,
            Load::Mixed => {
                if rng.f64() < self.read_ratio {
                    Operation::Get
                } else {
                    Operation::Set
                }
            }
            Load::Incr => Operation::Incr,
        };
        self.append_one(operation, rng, out)
    }

    /// Appends a request of one kind.
    pub(crate) fn append_one(&mut self, operation: Operation, rng: &mut Rng, out: &mut Vec<u8>) -> Result<Operation, Unencodable> {
        let key = self.keys.draw(rng);
        match operation {
            Operation::Get => self.get.append(key, out),
            Operation::Set => self.set.append(key, rng, out)?,
            Operation::Incr => self.incr.append(key, out),
        }
        Ok(operation)
    }

    /// Appends the request that stores key number `key` before the load.
    pub(crate) fn append_store(&mut self, key: u64, rng: &mut Rng, out: &mut Vec<u8>) -> Result<Operation, Unencodable> {
        self.store.append(key, rng, out)?;
        Ok(Operation::Set)
    }

    /// Size of the largest request, in bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        let set = |set: &Set| match set {
            Set::Ready(template) => template.bytes.len(),
            // The words around a value and its key take far less than this.
            Set::Encoded { key, value, .. } => key.bytes.len() + value.len() + 128,
        };
        self.get.bytes.len().max(self.incr.bytes.len()).max(set(&self.set)).max(set(&self.store))
    }
}

impl Keys {
    /// A key's number, from 0.
    fn draw(&self, rng: &mut Rng) -> u64 {
        match self {
            Self::Uniform { count } => rng.u64(..count),
            Self::Zipf(zipf) => zipf.draw(rng) - 1,
        }
    }
}

impl Template {
    /// The key alone: a prefix, as far as there is room for it, and a number in as many digits as the rest takes.
    fn key(options: &Options, prefix: &[u8]) -> Result<Self, Unencodable> {
        let size = options.key_size;
        let digits = (options.keyspace - 1).to_string().len();
        if size < digits {
            return Err(Unencodable(format!("{} different keys need at least {digits} bytes each: raise --key-size", options.keyspace)));
        }
        let limit = options.protocol.key_bytes_max();
        if size > limit {
            return Err(Unencodable(format!("a {} key has at most {limit} bytes: lower --key-size", options.protocol)));
        }
        let mut bytes = prefix[..prefix.len().min(size - digits)].to_vec();
        bytes.resize(size, b'0');
        Ok(Self { bytes, digits: size - digits..size })
    }

    /// The request that `encode` makes of this key.
    fn within(&self, encode: impl FnOnce(&mut Vec<u8>, &[u8]) -> Result<(), Unencodable>) -> Result<Self, Unencodable> {
        // A byte that no command and no value of ours has shows where the key goes.
        const MARK: u8 = 0xFF;
        let mut bytes = Vec::new();
        encode(&mut bytes, &vec![MARK; self.bytes.len()])?;
        let start = bytes.iter().position(|&byte| byte == MARK).expect("a request contains its key");
        bytes[start..start + self.bytes.len()].copy_from_slice(&self.bytes);
        Ok(Self { bytes, digits: start + self.digits.start..start + self.digits.end })
    }

    fn append(&mut self, key: u64, out: &mut Vec<u8>) {
        self.patch(key);
        out.extend_from_slice(&self.bytes);
    }

    fn patch(&mut self, mut key: u64) {
        for digit in self.bytes[self.digits.clone()].iter_mut().rev() {
            *digit = b'0' + u8::try_from(key % 10).expect("a digit");
            key /= 10;
        }
    }
}

impl Set {
    fn append(&mut self, key: u64, rng: &mut Rng, out: &mut Vec<u8>) -> Result<(), Unencodable> {
        match self {
            Self::Ready(template) => {
                template.append(key, out);
                Ok(())
            }
            Self::Encoded { protocol, ttl_ms, key: name, value, sizes } => {
                name.patch(key);
                let size = rng.usize(sizes.min..=sizes.max);
                protocol.encode_set(out, &name.bytes, &value[..size], *ttl_ms)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn requests(line: &str) -> Result<Requests, Unencodable> {
        Requests::new(&Options::parse_from(format!("osprey-bench {line}").split_whitespace()))
    }

    /// The bytes of `count` requests of the load.
    fn sent(line: &str, count: usize) -> String {
        let mut requests = requests(line).unwrap();
        let (mut rng, mut out) = (Rng::with_seed(1), Vec::new());
        for _ in 0..count {
            requests.append(&mut rng, &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn stored(line: &str, key: u64) -> String {
        let mut out = Vec::new();
        requests(line).unwrap().append_store(key, &mut Rng::with_seed(1), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_keys_digits_are_patched_in_place() {
        assert_eq!(stored("--op set --value-size 3", 42), "SET key_000000000042 3\r\nabc\r\n");
        assert_eq!(
            stored("--protocol redis --value-size 3 --keyspace 1000 --key-size 5", 999),
            "*3\r\n$3\r\nSET\r\n$5\r\nke999\r\n$3\r\nabc\r\n"
        );
        assert_eq!(stored("--protocol memcached --value-size 0 --keyspace 10 --key-size 1", 7), "set 7 0 0 0\r\n\r\n");
        // The digits of RESP's lengths are not taken for the key's.
        assert_eq!(stored("--protocol redis --value-size 1 --keyspace 1 --key-size 1", 0), "*3\r\n$3\r\nSET\r\n$1\r\n0\r\n$1\r\na\r\n");
    }

    #[test]
    fn a_longer_key_leaves_nothing_for_a_shorter_one() {
        let mut requests = requests("--op get --key-size 8").unwrap();
        let mut out = Vec::new();
        for key in [9999, 7] {
            requests.get.append(key, &mut out);
        }
        assert_eq!(out, b"GET key_9999\r\nGET key_0007\r\n");
    }

    #[test]
    fn counters_have_their_own_keys_and_begin_at_zero() {
        assert_eq!(stored("--op incr --key-size 8", 5), "SET ctr_0005 1\r\n0\r\n");
        assert_eq!(sent("--op incr --key-size 5 --keyspace 1", 1), "INCR ctr_0 1\r\n");
    }

    #[test]
    fn values_in_a_range_have_every_size_of_it() {
        let text = sent("--op set --value-size 0-3 --keyspace 1 --key-size 1", 200);
        for value in ["0 0\r\n\r\n", "0 1\r\na\r\n", "0 2\r\nab\r\n", "0 3\r\nabc\r\n"] {
            assert!(text.contains(value), "{value:?}");
        }
    }

    #[test]
    fn a_mix_keeps_its_proportion() {
        let text = sent("--op mixed --read-ratio 0.9 --keyspace 100", 10_000);
        let gets = text.matches("GET ").count();
        assert!((8_850..9_150).contains(&gets), "{gets}");
        assert_eq!(text.matches("SET ").count(), 10_000 - gets);
    }

    #[test]
    fn readers_are_spread_among_writers_that_have_keys_of_their_own() {
        let mut requests = requests("--op mixed --clients 5 --readers 2 --value-size 1 --key-size 6").unwrap();
        let sources: Vec<Source> = (0..5).map(|connection| requests.source(connection, 5)).collect();
        let [get, set] = [Operation::Get, Operation::Set].map(Source::Only);
        assert_eq!(sources, [get, set, set, get, set]);
        let (mut rng, mut out) = (Rng::with_seed(1), Vec::new());
        for operation in [Operation::Get, Operation::Set] {
            assert_eq!(requests.append_one(operation, &mut rng, &mut out).unwrap(), operation);
        }
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("GET ke") && text.contains("\r\nSET se"), "{text:?}");
    }

    #[test]
    fn the_same_seed_makes_the_same_requests() {
        let line = "--op mixed --distribution zipf --value-size 1-9";
        assert_eq!(sent(line, 50), sent(line, 50));
    }

    #[test]
    fn what_cannot_be_expressed_is_refused_beforehand() {
        for line in [
            "--keyspace 1001 --key-size 3",
            "--protocol memcached --key-size 251",
            "--key-size 257",
            "--protocol memcached --ttl-ms 99999999999",
            "--op get --readers 5",
            "--op mixed --clients 5 --readers 5",
        ] {
            assert!(requests(line).is_err(), "{line}");
        }
    }
}
