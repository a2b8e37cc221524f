//! Configurations as people write them, and exactly what they are told.

use super::*;
use log::LevelFilter;
use std::fs;
use std::path::Path;

/// Loads a file of this name and text, in a directory of its own; messages are without the directory.
fn load_named(name: &str, bytes: &[u8]) -> Result<Loaded, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    let mut loader = Loader::new();
    loader.file(&path);
    loader.finish().map_err(|mistakes| mistakes.to_string().replace(&format!("{}/", directory.path().display()), ""))
}

fn load(text: &str) -> Result<Loaded, String> {
    load_named("osprey.toml", text.as_bytes())
}

fn mistakes(text: &str) -> String {
    load(text).map(|loaded| loaded.to_toml()).unwrap_err()
}

#[test]
fn the_file_of_the_distribution_lists_every_option_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../osprey.toml");
    let text = fs::read_to_string(path).unwrap();
    let loaded = load(&text).unwrap();
    assert_eq!(loaded.config, Config::default());
    for key in options::KEYS {
        assert_ne!(*loaded.origin(key.name), Origin::Default, "{} is missing", key.name);
        // Written as --check-config prints it, so that the two can be compared.
        let line = format!("{} = {}", key.name, (key.show)(&Config::default()));
        assert!(text.lines().any(|found| found == line || found.starts_with(&format!("{line}  #"))), "no line {line:?}");
    }
}

#[test]
fn a_file_of_the_go_server_works_unchanged() {
    let loaded = load(
        r#"
        listen_addr = "0.0.0.0:7070"
        max_clients = 10000
        max_key_bytes = 256
        max_value_bytes = 16777216  # 16 MiB
        data_dir = "./data"
        wal_max_bytes = 268435456    # 256 MiB
        sync_policy = "batch"        # one of: os | batch | always
        batch_fsync_ms = 100
        batch_fsync_bytes = 1048576
        enable_snapshot = true
        snapshot_pause_max_ms = 500
        busy_warn_ms = 50
        sweep_interval_ms = 200
        sweep_batch = 1000
        metrics_enable = true
        log_level = "INFO"
        log_file = ""  # Empty means use default
        slowlog_threshold_ms = 50"#,
    )
    .unwrap();
    let expected = Config { listen_addr: "0.0.0.0:7070".parse().unwrap(), snapshot_pause_max_ms: 500, ..Config::default() };
    assert_eq!(loaded.config, expected);
}

#[test]
fn every_option_can_be_set() {
    let text = r#"
        listen_addr = ":1"
        max_clients = 2
        idle_timeout_ms = 3
        request_timeout_ms = 0
        write_timeout_ms = 0
        shutdown_timeout_ms = 4
        max_key_bytes = 5
        max_value_bytes = 6
        max_line_bytes = 2_048
        max_args = 0x20
        max_output_bytes = 1_000_000
        max_memory_bytes = 2_000_000
        data_dir = "/var/lib/osprey"
        wal_max_bytes = 3_000_000
        wal_segment_bytes = 65_536
        sync_policy = "always"
        batch_fsync_ms = 7
        batch_fsync_bytes = 8
        enable_snapshot = false
        snapshot_pause_max_ms = 9
        snapshot_bandwidth_max = 100_000
        wal_keep_hours = 14
        wal_keep_bytes = 15
        data_dir_warn_bytes = 4_000_000
        busy_warn_ms = 0
        sweep_interval_ms = 10
        sweep_batch = 11
        metrics_enable = false
        metrics_addr = "localhost:12"
        log_level = "debug"
        log_file = "/var/log/osprey.log"
        slowlog_threshold_ms = 13
    "#;
    let expected = Config {
        listen_addr: ":1".parse().unwrap(),
        max_clients: 2,
        idle_timeout_ms: Some(3),
        request_timeout_ms: None,
        write_timeout_ms: None,
        shutdown_timeout_ms: 4,
        max_key_bytes: 5,
        max_value_bytes: 6,
        max_line_bytes: 2_048,
        max_args: 32,
        max_output_bytes: 1_000_000,
        max_memory_bytes: Some(2_000_000),
        data_dir: "/var/lib/osprey".into(),
        wal_max_bytes: 3_000_000,
        wal_segment_bytes: 65_536,
        sync_policy: SyncPolicy::Always,
        batch_fsync_ms: 7,
        batch_fsync_bytes: 8,
        enable_snapshot: false,
        snapshot_pause_max_ms: 9,
        snapshot_bandwidth_max: Some(100_000),
        wal_keep_hours: Some(14),
        wal_keep_bytes: Some(15),
        data_dir_warn_bytes: Some(4_000_000),
        sweep_interval_ms: 10,
        sweep_batch: 11,
        metrics_enable: false,
        metrics_addr: Some("localhost:12".parse().unwrap()),
        log_level: LevelFilter::Debug,
        log_file: Some("/var/log/osprey.log".into()),
        slowlog_threshold_ms: Some(13),
        busy_warn_ms: None,
    };
    assert_eq!(load(text).unwrap().config, expected);
}

#[test]
fn what_is_printed_loads_as_the_same_configuration() {
    let loaded = load("data_dir = 'a \"b\"\\c'\nlog_level = \"warning\"\nidle_timeout_ms = 5\nmetrics_addr = \":0\"").unwrap();
    let again = load(&loaded.to_toml()).unwrap();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_right_one() {
    assert_eq!(mistakes("\n\nmax_client = 5"), r#"osprey.toml:3:1: unknown key "max_client"; did you mean "max_clients"?"#);
    assert_eq!(mistakes("  requirepass = 'x'"), r#"osprey.toml:1:3: unknown key "requirepass"; no option has a name like it"#);
}

#[test]
fn options_in_a_section_are_told_where_they_belong() {
    let message = r#"osprey.toml:1:2: unknown section "server": options stand at the top level, as "key = value""#;
    assert_eq!(mistakes("[server]\nlisten_addr = ':1'"), message);
    assert_eq!(mistakes(" server.listen_addr = ':1'"), message);
}

#[test]
fn a_value_of_the_wrong_type_is_told_the_right_one() {
    assert_eq!(mistakes("max_clients = \"5\""), r#"osprey.toml:1:15: max_clients must be a whole number from 1 to 1000000, not "5""#);
    assert_eq!(mistakes("max_clients = 5.0"), "osprey.toml:1:15: max_clients must be a whole number from 1 to 1000000, not 5.0");
    assert_eq!(mistakes("enable_snapshot = 1"), "osprey.toml:1:19: enable_snapshot must be true or false, not 1");
    assert_eq!(mistakes("data_dir = [1]"), "osprey.toml:1:12: data_dir must be the path of a directory, not an array");
    assert_eq!(mistakes("[data_dir]"), "osprey.toml:1:1: data_dir must be the path of a directory, not a table");
    assert_eq!(mistakes("log_file = 1"), r#"osprey.toml:1:12: log_file must be the path of a file, or "" (standard error), not 1"#);
}

#[test]
fn an_impossible_value_is_told_the_possible_ones() {
    let message = |line: &str| mistakes(line).split_once(": ").unwrap().1.to_owned();
    assert_eq!(message("max_clients = 0"), "max_clients must be a whole number from 1 to 1000000, not 0");
    assert_eq!(message("max_clients = -1"), "max_clients must be a whole number from 1 to 1000000, not -1");
    assert_eq!(
        message("max_clients = 99999999999999999999"),
        "max_clients must be a whole number from 1 to 1000000, not 99999999999999999999"
    );
    assert_eq!(message("batch_fsync_ms = 0"), "batch_fsync_ms must be a whole number from 1 to 3600000, not 0");
    assert_eq!(message("max_key_bytes = 65536"), "max_key_bytes must be a whole number from 1 to 65535, not 65536");
    assert_eq!(message("max_value_bytes = 1073741825"), "max_value_bytes must be a whole number from 1 to 1073741824, not 1073741825");
    assert_eq!(message("wal_segment_bytes = 65535"), "wal_segment_bytes must be a whole number from 65536 to 1073741824, not 65535");
    assert_eq!(
        message("max_memory_bytes = 1"),
        "max_memory_bytes must be 0 (no limit) or a whole number from 1048576 to 1125899906842624, not 1"
    );
    assert_eq!(message("write_timeout_ms = -5"), "write_timeout_ms must be 0 (never) or a whole number from 1 to 2592000000, not -5");
    assert_eq!(message("sync_policy = 'never'"), r#"sync_policy must be one of "os", "batch", "always", not "never""#);
    assert_eq!(
        message("log_level = 'loud'"),
        r#"log_level must be one of "OFF", "ERROR", "WARN", "WARNING", "INFO", "DEBUG", "TRACE", not "loud""#
    );
    assert_eq!(
        message("listen_addr = 'localhost'"),
        r#"listen_addr must be an address "host:port" with a port from 0 to 65535, such as "127.0.0.1:7070", "[::1]:7070" or ":7070" (all interfaces), not "localhost""#
    );
    assert_eq!(
        message("metrics_addr = '9090'"),
        r#"metrics_addr must be an address "host:port" with a port from 0 to 65535, such as "127.0.0.1:7070", "[::1]:7070" or ":7070" (all interfaces), or "" (none), not "9090""#
    );
    assert_eq!(message("data_dir = ''"), r#"data_dir must be the path of a directory, not """#);
}

#[test]
fn every_number_is_refused_just_outside_its_bounds() {
    let options = Config::default();
    let numbers = options::KEYS.iter().filter(|key| (key.show)(&options).parse::<u64>().is_ok());
    for key in numbers {
        // A huge number is never possible; the message then tells the bounds.
        let message = mistakes(&format!("{} = 9223372036854775807", key.name));
        let (_, bounds) = message.split_once("a whole number from ").unwrap();
        let (least, rest) = bounds.split_once(" to ").unwrap();
        let (least, most): (u64, u64) = (least.parse().unwrap(), rest.split_once(',').unwrap().0.parse().unwrap());
        let is_refused = |number: u64| {
            let mut config = Config::default();
            (key.set)(&mut config, &given::Given::Text(&number.to_string())).is_err()
        };
        assert!(!is_refused(least) && !is_refused(most) && is_refused(most + 1), "{}", key.name);
        assert!(least < 2 || is_refused(least - 1), "{}", key.name);
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    assert_eq!(
        mistakes("sweep_batch = 0\nmax_client = 5\nlisten_addr = 7070\nmax_args = 100\nbatch_fsync_ms = 0.5\n"),
        "osprey.toml:1:15: sweep_batch must be a whole number from 1 to 1000000000, not 0\n\
         osprey.toml:2:1: unknown key \"max_client\"; did you mean \"max_clients\"?\n\
         osprey.toml:3:15: listen_addr must be an address \"host:port\" with a port from 0 to 65535, such as \"127.0.0.1:7070\", \"[::1]:7070\" or \":7070\" (all interfaces), not 7070\n\
         osprey.toml:5:18: batch_fsync_ms must be a whole number from 1 to 3600000, not 0.5"
    );
}

#[test]
fn a_value_without_quotes_is_told_to_need_them() {
    let message =
        |found: &str| format!("osprey.toml:2:13: not valid TOML: a value must be text in quotes, a number, true or false, not {found}");
    for value in ["INFO", "info", "True", "yes", "./data", "127.0.0.1:7070", "10MB", "10 MB", "-", "010"] {
        assert_eq!(mistakes(&format!("max_clients = 1\nlog_level = {value} # why\n")), message(&format!("{value:?}")), "{value}");
    }
    assert_eq!(
        mistakes("log_level ="),
        "osprey.toml:1:12: not valid TOML: a value must be text in quotes, a number, true or false, not \"\""
    );
}

#[test]
fn wrong_toml_is_told_with_its_place() {
    assert_eq!(mistakes("max_args = 16\nmax_args = 17\n"), "osprey.toml:2:1: not valid TOML: duplicate key");
    assert_eq!(mistakes("listen_addr: 1"), "osprey.toml:1:12: not valid TOML: invalid unquoted key, expected letters, numbers, `-`, `_`");
    assert_eq!(mistakes("data_dir = 'a"), "osprey.toml:1:14: not valid TOML: invalid literal string, expected `'`");
    assert_eq!(mistakes("max_clients = [1"), "osprey.toml:1:17: not valid TOML: unclosed array, expected `]`");
}

#[test]
fn wrong_toml_is_told_once_a_line_and_on_every_line() {
    // The parser finds three mistakes in the second line.
    assert_eq!(
        mistakes("max_clients = 1 max_args = 16\ndata_dir = ./data\n\nlog_file = none"),
        "osprey.toml:1:15: not valid TOML: a value must be text in quotes, a number, true or false, not \"1 max_args = 16\"\n\
         osprey.toml:2:12: not valid TOML: a value must be text in quotes, a number, true or false, not \"./data\"\n\
         osprey.toml:4:12: not valid TOML: a value must be text in quotes, a number, true or false, not \"none\""
    );
}

#[test]
fn a_column_counts_characters() {
    assert_eq!(mistakes("'ä' = 1\n"), "osprey.toml:1:1: unknown key \"ä\"; no option has a name like it");
    assert_eq!(
        mistakes("data_dir = \"ä\" max_args = 16"),
        "osprey.toml:1:16: not valid TOML: unexpected key or value, expected newline, `#`"
    );
}

#[test]
fn a_file_that_is_no_text_is_told_so() {
    assert_eq!(load_named("a.bin", b"# \n\xc3\xa4 \xff").unwrap_err(), "a.bin:2:3: is not UTF-8 text");
    assert_eq!(
        load_named("big.toml", &vec![b'#'; (1 << 20) + 1]).unwrap_err(),
        "big.toml: is larger than 1048576 bytes, so it is no configuration of Osprey"
    );
    assert_eq!(load_named("largest.toml", &vec![b'#'; 1 << 20]).unwrap().config, Config::default());
}

#[test]
fn a_missing_file_is_a_mistake_only_if_it_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("osprey.toml");
    let mut loader = Loader::new();
    loader.file_if_present(&path);
    assert_eq!(loader.finish().unwrap().config, Config::default());

    let mut loader = Loader::new();
    loader.file(&path);
    assert_eq!(
        loader.finish().unwrap_err().to_string(),
        format!("{}: can't be read: No such file or directory (os error 2)", path.display())
    );

    let mut loader = Loader::new();
    loader.file_if_present(directory.path());
    assert_eq!(
        loader.finish().unwrap_err().to_string(),
        format!("{}: can't be read: Is a directory (os error 21)", directory.path().display())
    );
}

#[test]
fn variables_are_over_the_file_and_flags_over_both() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("osprey.toml");
    fs::write(&path, "max_clients = 1\nsweep_batch = 1\ndata_dir = 'file'\n").unwrap();
    let mut loader = Loader::new();
    loader.file(&path);
    loader.variables([
        ("OSPREY_SWEEP_BATCH".into(), "2".into()),
        ("OSPREY_DATA_DIR".into(), "variable".into()),
        ("HOME".into(), "/".into()),
    ]);
    loader.flag("--data-dir", "data_dir", "flag");
    let loaded = loader.finish().unwrap();

    let expected = Config { max_clients: 1, sweep_batch: 2, data_dir: "flag".into(), ..Config::default() };
    assert_eq!(loaded.config, expected);
    assert_eq!(*loaded.origin("max_clients"), Origin::File { path: path.clone(), line: 1, column: 15 });
    assert_eq!(*loaded.origin("sweep_batch"), Origin::Variable("OSPREY_SWEEP_BATCH".into()));
    assert_eq!(*loaded.origin("data_dir"), Origin::Flag("--data-dir"));
    assert_eq!(*loaded.origin("max_args"), Origin::Default);

    let printed = loaded.to_toml();
    for line in [
        format!("max_clients = 1 # {}:1:15", path.display()),
        "sweep_batch = 2 # environment variable OSPREY_SWEEP_BATCH".into(),
        "data_dir = \"flag\" # --data-dir".into(),
        "max_args = 4096".into(),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "no line {line:?} in\n{printed}");
    }
}

#[test]
fn mistakes_of_variables_and_flags_name_them() {
    let mut loader = Loader::new();
    loader.variables([("OSPREY_MAX_CLIENTS".into(), "many".into()), ("OSPREY_ENABLE_SNAPSHOT".into(), "yes".into())]);
    loader.flag("--data-dir", "data_dir", "");
    assert_eq!(
        loader.finish().unwrap_err().to_string(),
        "environment variable OSPREY_ENABLE_SNAPSHOT: enable_snapshot must be true or false, not \"yes\"\n\
         environment variable OSPREY_MAX_CLIENTS: max_clients must be a whole number from 1 to 1000000, not \"many\"\n\
         --data-dir: data_dir must be the path of a directory, not \"\""
    );
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let mut loader = Loader::new();
    loader.variables([("OSPREY_DATA_DIR".into(), std::ffi::OsString::from_vec(b"/\xff".to_vec()))]);
    let message = "environment variable OSPREY_DATA_DIR: data_dir must be UTF-8 text, not \"/\\xFF\"";
    assert_eq!(loader.finish().unwrap_err().to_string(), message);
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let mut loader = Loader::new();
    let names = ["OSPREY_SERVICE_HOST", "OSPREY_MAX_CLIENT", "OSPREY_max_args", "OSPREY_", "osprey_max_args", "OSPREYS"];
    loader.variables(names.map(|name| (name.into(), "1".into())));
    let loaded = loader.finish().unwrap();
    assert_eq!(loaded.config, Config::default());
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "environment variable OSPREY_ is ignored: there is no such option",
            "environment variable OSPREY_MAX_CLIENT is ignored: there is no such option; did you mean OSPREY_MAX_CLIENTS?",
            "environment variable OSPREY_SERVICE_HOST is ignored: there is no such option",
            "environment variable OSPREY_max_args is ignored: there is no such option; did you mean OSPREY_MAX_ARGS?",
        ]
    );
}

#[test]
fn options_that_conflict_are_told_at_the_one_set_last() {
    assert_eq!(
        mistakes("max_line_bytes = 1024\nmax_key_bytes = 1000"),
        "osprey.toml:1:18: max_line_bytes = 1024 is too short for a SET of a key of max_key_bytes = 1000: raise it to 1128 or more"
    );
    assert!(load("max_line_bytes = 1128\nmax_key_bytes = 1000").is_ok());

    let mut loader = Loader::new();
    loader.variables([("OSPREY_METRICS_ADDR".into(), "localhost:7070".into())]);
    loader.flag("--listen", "listen_addr", "localhost:7070");
    let message = "--listen: metrics_addr and listen_addr are both \"localhost:7070\": give metrics a port of their own";
    assert_eq!(loader.finish().unwrap_err().to_string(), message);
    assert!(load("listen_addr = 'localhost:0'\nmetrics_addr = 'localhost:0'").is_ok());
}
