//! Keys put, found, deleted and swept, among few and many: times are for one key.

use std::hint::black_box;
use std::iter::repeat_with;

use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, measurement::WallTime};
use osprey_core::record::{Kind, Record};
use osprey_core::store::Store;
use osprey_core::units::{Millis, Version};

use crate::{VALUE, key};

const KEYS: [(&str, usize); 2] = [("10,000 keys", 10_000), ("1,000,000 keys", 1_000_000)];

const NOW: Millis = Millis(1_000_000);

/// Every so manieth key is due when the store is swept.
const DUE_EVERY: usize = 10;

/// How many deadlines a sweep looks at: the server's default.
const SWEEP_STEPS: usize = 1000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    for (name, keys) in KEYS {
        // In an order that jumps about, and stands in memory in that order, so that reading the keys themselves costs little.
        let keys: Vec<_> = (0..keys).map(|at| at.wrapping_mul(2_654_435_761) % keys).map(key).collect();
        present(&mut group, name, &keys);
        whole(&mut group, name, &keys);
    }
    group.finish();
}

/// Among keys that are there, one key at a time.
fn present(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, keys: &[[u8; 16]]) {
    group.sampling_mode(SamplingMode::Auto).sample_size(100).throughput(Throughput::Elements(1));
    let mut store = filled(keys, |_| None);
    let mut next = keys.iter().cycle();
    group.bench_function(BenchmarkId::new("hit", name), |bencher| {
        bencher.iter(|| assert!(is_live(&store, next.next().unwrap())));
    });
    let absent: Vec<_> = keys.iter().map(|key| key.map(|byte| byte.to_ascii_uppercase())).collect();
    let mut next = absent.iter().cycle();
    group.bench_function(BenchmarkId::new("miss", name), |bencher| {
        bencher.iter(|| assert!(!is_live(&store, next.next().unwrap())));
    });
    let mut next = keys.iter().cycle();
    group.bench_function(BenchmarkId::new("overwrite", name), |bencher| {
        bencher.iter(|| put(&mut store, next.next().unwrap(), Version(2), None));
    });
}

/// All keys at once: what a key costs includes its share of the growth of tables and slabs, or of giving them back.
fn whole(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, keys: &[[u8; 16]]) {
    group.sampling_mode(SamplingMode::Flat).sample_size(10).throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function(BenchmarkId::new("insert", name), |bencher| {
        bencher.iter_with_large_drop(|| filled(keys, |_| None));
    });
    group.bench_function(BenchmarkId::new("delete", name), |bencher| {
        let delete_all = |mut store: Store| {
            for key in keys {
                assert!(store.remove(store.hash(key), key));
            }
            store
        };
        bencher.iter_batched(|| filled(keys, |_| None), delete_all, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements((keys.len() / DUE_EVERY) as u64));
    group.bench_function(BenchmarkId::new("sweep of a tenth", name), |bencher| {
        let due = |number: usize| Some(if number.is_multiple_of(DUE_EVERY) { NOW } else { Millis(2 * NOW.0 + number as u64) });
        let sweep_all = |mut store: Store| {
            let swept: usize =
                repeat_with(|| store.sweep(NOW, SWEEP_STEPS)).take_while(|&(swept, _)| swept > 0).map(|(swept, _)| swept).sum();
            assert_eq!(swept, keys.len() / DUE_EVERY);
            store
        };
        bencher.iter_batched(|| filled(keys, due), sweep_all, BatchSize::PerIteration);
    });
}

fn filled(keys: &[[u8; 16]], expiry: impl Fn(usize) -> Option<Millis>) -> Store {
    let mut store = Store::new([7; 16]).unwrap();
    for (number, key) in keys.iter().enumerate() {
        put(&mut store, key, Version(1), expiry(number));
    }
    assert_eq!(store.len(), keys.len());
    store
}

fn put(store: &mut Store, key: &[u8; 16], version: Version, expiry: Option<Millis>) {
    let spot = store.lookup(store.hash(key), key, Millis(1)).spot;
    store.put(spot, &Record { kind: Kind::Set, version, expiry, key, value: &VALUE }).unwrap();
}

fn is_live(store: &Store, key: &[u8; 16]) -> bool {
    black_box(store.lookup(store.hash(key), key, Millis(1)).live()).is_some()
}
