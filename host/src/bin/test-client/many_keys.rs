//! Many requests at once, and a walk over many keys.

use std::collections::HashSet;

use osprey::client::{Error, Reply, SetOptions};

use super::walk::Walk;

const KEYS: usize = 300;
const REQUESTS: usize = 10_000;

pub(crate) fn check(w: &mut Walk) -> Result<(), Error> {
    pipelining(w)?;
    scan(w)
}

fn pipelining(w: &mut Walk) -> Result<(), Error> {
    w.group("Pipelining");
    let n = w.key("pipelined");
    let mut pipeline = w.client()?.pipeline();
    for _ in 0..REQUESTS {
        pipeline.incr(&n, 1);
    }
    let in_order = pipeline.run().into_iter().zip(1..).filter(|(reply, count)| matches!(reply, Ok(Reply::Integer(n)) if n == count));
    let in_order = in_order.count();
    w.judge(
        format!("{REQUESTS} times INCR {n} 1, not waiting for replies"),
        format!("1 to {REQUESTS}, in order"),
        in_order == REQUESTS,
        format!("{in_order} replies as expected"),
    );
    Ok(())
}

fn scan(w: &mut Walk) -> Result<(), Error> {
    w.group("SCAN with COUNT and PREFIX");
    let prefix = w.key("scan:");
    let expected: HashSet<Vec<u8>> = (0..KEYS).map(|n| format!("{prefix}{n}").into_bytes()).collect();
    let client = w.client()?;
    let mut pipeline = client.pipeline();
    for key in &expected {
        pipeline.set(key, "v", &SetOptions::default());
    }
    for stored in pipeline.run() {
        stored?;
    }
    for count in [None, Some(1), Some(1000)] {
        let (found, steps) = walk(w, count, &prefix)?;
        let missing = expected.difference(&found).count();
        let strange = found.difference(&expected).count();
        w.judge(
            format!("SCAN 0{} PREFIX {prefix}, to the end", count.map(|count| format!(" COUNT {count}")).unwrap_or_default()),
            format!("the {KEYS} keys and no other"),
            missing == 0 && strange == 0,
            format!("{} keys in {steps} steps, {missing} missing, {strange} of another prefix", found.len()),
        );
    }
    let (found, steps) = walk(w, Some(1000), &w.key("no such prefix").replace(' ', "-"))?;
    w.judge("SCAN 0 COUNT 1000 PREFIX no-such-prefix", "no key", found.is_empty(), format!("{} keys in {steps} steps", found.len()));
    Ok(())
}

/// All keys under `prefix` and how many steps that took.
fn walk(w: &mut Walk, count: Option<u64>, prefix: &str) -> Result<(HashSet<Vec<u8>>, usize), Error> {
    let client = w.client()?;
    let (mut found, mut cursor, mut steps) = (HashSet::new(), 0, 0);
    loop {
        let page = client.scan(cursor, count, prefix)?;
        found.extend(page.keys);
        steps += 1;
        cursor = page.next;
        if cursor == 0 {
            return Ok((found, steps));
        }
    }
}
