//! What is asked of the servers, and how they are started for it.
//!
//! Like is compared with like: a server that keeps nothing with Osprey's `os`, though that writes a log; one that syncs every write with `always`.

/// A load, and the servers that it is put on.
#[derive(Debug)]
pub(crate) struct Case {
    /// For `--only`.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// Two lines below the bars.
    pub(crate) caption: [&'static str; 2],
    pub(crate) panel: Panel,
    /// As osprey-bench calls it.
    pub(crate) op: &'static str,
    pub(crate) pipeline: u32,
    pub(crate) value_bytes: u32,
    pub(crate) keys: u32,
    pub(crate) entries: &'static [Entry],
    /// Entries that are drawn; others are there for a ratio, and are bars of another case.
    pub(crate) bars: &'static [usize],
    /// Entries whose ratio says something, the first one's figure to the second one's.
    pub(crate) compared: &'static [(usize, usize)],
    /// What the ratios are: "so to this".
    pub(crate) ratio: &'static str,
}

/// A server under a number of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) server: Server,
    pub(crate) clients: u32,
}

/// Cases whose CPU per request is of one order of magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Panel {
    OneByOne,
    Pipelined,
    LargeGet,
    LargeSet,
}

/// A server with what it promises of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    OspreyOs,
    OspreyAlways,
    /// Without persistence.
    Redis,
    RedisEverysec,
    RedisAlways,
    Memcached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Osprey,
    Redis,
    Memcached,
}

const MIB: u32 = 1 << 20;
const CLIENTS: u32 = 50;
const CLIENTS_LARGE: u32 = 8;
const CLIENTS_MANY: u32 = 10_000;
/// For the questions whether a server answers, and what it has open besides.
pub(crate) const SPARE_CLIENTS: u32 = 100;

const fn entry(server: Server, clients: u32) -> Entry {
    Entry { server, clients }
}

const SMALL: Case = Case {
    name: "get",
    title: "GET, no pipeline, values of 100 B, 50 connections",
    caption: ["GET", "no pipeline"],
    panel: Panel::OneByOne,
    op: "get",
    pipeline: 1,
    value_bytes: 100,
    keys: 10_000,
    entries: &[entry(Server::OspreyOs, CLIENTS), entry(Server::Redis, CLIENTS), entry(Server::Memcached, CLIENTS)],
    bars: &[0, 1, 2],
    compared: &[(0, 1), (0, 2)],
    ratio: "Osprey to this",
};

pub(crate) const CASES: [Case; 8] = [
    SMALL,
    Case { name: "set", title: "SET, no pipeline, values of 100 B, 50 connections", caption: ["SET", "no pipeline"], op: "set", ..SMALL },
    Case {
        name: "get-16",
        title: "GET, pipeline of 16, values of 100 B, 50 connections",
        caption: ["GET", "pipeline of 16"],
        panel: Panel::Pipelined,
        pipeline: 16,
        ..SMALL
    },
    Case {
        name: "set-16",
        title: "SET, pipeline of 16, values of 100 B, 50 connections",
        caption: ["SET", "pipeline of 16"],
        panel: Panel::Pipelined,
        op: "set",
        pipeline: 16,
        ..SMALL
    },
    Case {
        name: "set-always",
        title: "SET, on disk before the reply, no pipeline, values of 100 B, 50 connections",
        caption: ["SET, synced", "no pipeline"],
        op: "set",
        entries: &[entry(Server::OspreyAlways, CLIENTS), entry(Server::RedisAlways, CLIENTS), entry(Server::OspreyOs, CLIENTS)],
        bars: &[0, 1],
        ratio: "Osprey, always, to this",
        ..SMALL
    },
    Case {
        name: "connections",
        title: "GET, 10,000 connections beside 50, no pipeline, values of 100 B",
        caption: ["GET", "10,000 connections"],
        entries: &[
            entry(Server::OspreyOs, CLIENTS_MANY),
            entry(Server::OspreyOs, CLIENTS),
            entry(Server::Redis, CLIENTS_MANY),
            entry(Server::Redis, CLIENTS),
            entry(Server::Memcached, CLIENTS_MANY),
            entry(Server::Memcached, CLIENTS),
        ],
        bars: &[0, 2, 4],
        compared: &[(0, 1), (2, 3), (4, 5)],
        ratio: "10,000 connections to this",
        ..SMALL
    },
    Case {
        name: "large-get",
        title: "GET, values of 1 MiB, 8 connections, 64 keys",
        caption: ["GET", "values of 1 MiB"],
        panel: Panel::LargeGet,
        value_bytes: MIB,
        keys: 64,
        entries: &[entry(Server::OspreyOs, CLIENTS_LARGE), entry(Server::Redis, CLIENTS_LARGE), entry(Server::Memcached, CLIENTS_LARGE)],
        ..SMALL
    },
    Case {
        name: "large-set",
        title: "SET, values of 1 MiB, 8 connections, 64 keys",
        caption: ["SET", "values of 1 MiB"],
        panel: Panel::LargeSet,
        op: "set",
        value_bytes: MIB,
        keys: 64,
        entries: &[
            entry(Server::OspreyOs, CLIENTS_LARGE),
            entry(Server::RedisEverysec, CLIENTS_LARGE),
            entry(Server::Redis, CLIENTS_LARGE),
            entry(Server::Memcached, CLIENTS_LARGE),
        ],
        bars: &[0, 1, 2, 3],
        compared: &[(0, 1), (0, 2), (0, 3)],
        ..SMALL
    },
];

impl Case {
    /// So many connections that servers have to be told, if there are.
    pub(crate) fn many_clients(&self) -> Option<u32> {
        self.entries.iter().map(|entry| entry.clients).max().filter(|&clients| clients >= CLIENTS_MANY)
    }

    /// Whether its throughput is best told in bytes.
    pub(crate) fn is_large(&self) -> bool {
        matches!(self.panel, Panel::LargeGet | Panel::LargeSet)
    }
}

impl Server {
    pub(crate) fn product(self) -> Product {
        match self {
            Self::OspreyOs | Self::OspreyAlways => Product::Osprey,
            Self::Redis | Self::RedisEverysec | Self::RedisAlways => Product::Redis,
            Self::Memcached => Product::Memcached,
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::OspreyOs => "Osprey, os",
            Self::OspreyAlways => "Osprey, always",
            Self::Redis => "Redis, no persistence",
            Self::RedisEverysec => "Redis, appendfsync everysec",
            Self::RedisAlways => "Redis, appendfsync always",
            Self::Memcached => "memcached",
        }
    }

    /// With `PORT` and `DIR` to be put in. What shortens a log, Osprey's snapshots and Redis' rewriting, is as each comes.
    pub(crate) fn command_line(self, case: &Case) -> String {
        let many = case.many_clients();
        let option = |text: &str| many.map_or_else(String::new, |clients| format!("{text}{}", clients + SPARE_CLIENTS));
        let osprey = |sync_policy| {
            let clients_max = option(" OSPREY_MAX_CLIENTS=");
            format!("env OSPREY_SYNC_POLICY={sync_policy}{clients_max} osprey --listen 127.0.0.1:PORT --data-dir DIR")
        };
        let redis = |persistence| {
            let clients_max = option(" --maxclients ");
            format!("redis-server --bind 127.0.0.1 --port PORT --dir DIR{clients_max} --save \"\" --appendonly {persistence}")
        };
        match self {
            Self::OspreyOs => osprey("os"),
            Self::OspreyAlways => osprey("always"),
            Self::Redis => redis("no"),
            Self::RedisEverysec => redis("yes --appendfsync everysec"),
            Self::RedisAlways => redis("yes --appendfsync always"),
            Self::Memcached => {
                let item = if case.is_large() { " -I 2m" } else { "" };
                format!("memcached -u root -l 127.0.0.1 -p PORT -t 1 -m 1024{}{item}", option(" -c "))
            }
        }
    }
}

impl Product {
    pub(crate) const ALL: [Self; 3] = [Self::Osprey, Self::Redis, Self::Memcached];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Osprey => "Osprey",
            Self::Redis => "Redis",
            Self::Memcached => "memcached",
        }
    }

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Osprey => "osprey",
            Self::Redis => "redis-server",
            Self::Memcached => "memcached",
        }
    }

    /// As osprey-bench calls it.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Osprey => "osprey",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
        }
    }

    pub(crate) fn how_to_install(self) -> &'static str {
        match self {
            Self::Osprey => "cargo build --release",
            Self::Redis => "apt-get install redis-server",
            Self::Memcached => "apt-get install memcached",
        }
    }

    /// What it is asked to see whether it serves, and how its answer begins.
    pub(crate) fn greeting(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Osprey => (b"PING\r\n", b"PONG"),
            Self::Redis => (b"PING\r\n", b"+PONG"),
            Self::Memcached => (b"version\r\n", b"VERSION"),
        }
    }
}
