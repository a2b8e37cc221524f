//! What the fuzz targets want of the protocol's two parsers, for streams that get far into them: pieces of requests and replies with noise
//! in between. (Bytes by chance seldom get past the first word; `fuzz_corpora.rs` has those.)

use osprey_tests::fuzz;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// One piece in ten is any bytes.
fn stream(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![9 => select(pieces).prop_map(|text| text.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..6)];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A choice of limits and expectation, four lengths of fragments, the stream.
fn input(choice: u8, lengths: [u8; 4], stream: &[u8]) -> Vec<u8> {
    [&[choice], &lengths[..], stream].concat()
}

const OF_REQUESTS: &[&str] = &[
    "GET ",
    "SET ",
    "MSET ",
    "MGET ",
    "DEL ",
    "INCR ",
    "DECR ",
    "EXPIRE ",
    "SCAN ",
    "PING",
    "QUIT",
    "POST ",
    "k ",
    "k 3 ",
    "k 3\r\n",
    "k 0\n",
    "3\nabc",
    "abc",
    "\r\n",
    "\r\n",
    "\n",
    "\n",
    "\r",
    " ",
    "\t",
    "0 ",
    "1 ",
    "12 ",
    "13\n",
    "99999999999999999999 ",
    "-1 ",
    "EX ",
    "NX ",
    "XX ",
    "VER ",
    "KEEPTTL ",
    "COUNT ",
    "PREFIX ",
    "long-key ",
    "                                ",
    "\0",
    "\u{e9}",
];

const OF_REPLIES: &[&str] = &[
    "VALUE ",
    "VALUE 3 1 -1\r\n",
    "VALUE k 3 1 -1\r\n",
    "NOT_FOUND",
    "NOT_FOUND k",
    "ERR ",
    "ERR VER no",
    "OK ",
    "OK 1",
    "OK",
    "END",
    "CURSOR ",
    "DELETED ",
    "EXISTS 1",
    "PONG",
    "BYE",
    "k ",
    "k",
    "3 ",
    "1 ",
    "-1",
    "0",
    "name=",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "abc",
    "abc\r\n",
    " ",
    "=",
    "99999999999999999999",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn requests_are_understood_the_same_however_they_are_split(choice in 0..2_u8, lengths in any::<[u8; 4]>(), stream in stream(OF_REQUESTS)) {
        fuzz::parser::check(&input(choice, lengths.map(|length| length % 16), &stream));
    }

    #[test]
    fn replies_are_understood_the_same_however_they_are_split(choice in any::<u8>(), lengths in any::<[u8; 4]>(), stream in stream(OF_REPLIES)) {
        fuzz::reply::check(&input(choice, lengths.map(|length| length % 16), &stream));
    }
}
