//! The store without the server: a directory that this program opens itself.
//!
//! ```sh
//! cargo run -p osprey --example embedded -- /tmp/visits && cargo run -p osprey --example embedded -- /tmp/visits
//! ```

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("the directory is missing")?;
    let mut db = osprey::open(path)?;
    let visits = db.incr(b"visits", 1)?; // on disk when it returns
    db.batch(|db| {
        db.set(b"last:visitor", b"Ada")?;
        db.expire(b"last:visitor", 3_600_000) // in an hour; one sync for both
    })?;
    println!("visit {visits}, {} keys", db.engine().store().len());
    db.close()?;
    Ok(())
}
