//! A store in a directory, without a server: `cargo run -p osprey --example embedded`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut db = osprey::open("my-data")?; // recovers what is there
    db.set(b"user:1", b"Ada")?; // on disk when it returns
    db.batch(|db| {
        db.set(b"user:2", b"Grace")?;
        db.expire(b"user:2", 3_600_000)?; // in an hour
        db.incr(b"users", 2) // one append and one sync for all three
    })?;
    assert_eq!(db.get(b"user:1")?.expect("it was set").value, b"Ada");
    db.close()?;
    Ok(())
}
