//! The stores, each asked in the way that its documentation shows, and no write acknowledged before `fdatasync` has returned.

use std::error::Error;
use std::path::Path;

use redb::ReadableDatabase as _;

pub type Failed = Box<dyn Error>;

/// What is measured.
pub trait Store: Sized {
    fn open(path: &Path) -> Result<Self, Failed>;

    /// One write, and one sync.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failed>;

    /// Several writes, and one sync.
    fn set_batch<'a>(&mut self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), Failed>;

    /// Reads each key; returns how many bytes their values have.
    fn get_all<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result<usize, Failed>;

    fn close(self) -> Result<(), Failed>;
}

pub struct Osprey(osprey::Db);

impl Store for Osprey {
    fn open(path: &Path) -> Result<Self, Failed> {
        Ok(Self(osprey::open(path)?))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failed> {
        self.0.set(key, value)?;
        Ok(())
    }

    fn set_batch<'a>(&mut self, mut pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), Failed> {
        Ok(self.0.batch(|db| pairs.try_for_each(|(key, value)| db.set(key, value).map(drop)))?)
    }

    fn get_all<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result<usize, Failed> {
        let mut bytes = 0;
        for key in keys {
            bytes += self.0.get(key)?.map_or(0, |entry| entry.value.len());
        }
        Ok(bytes)
    }

    fn close(self) -> Result<(), Failed> {
        self.0.close()?;
        Ok(())
    }
}

pub struct Redb(redb::Database);

const TABLE: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("data");

impl Store for Redb {
    fn open(path: &Path) -> Result<Self, Failed> {
        std::fs::create_dir_all(path)?;
        let database = redb::Database::create(path.join("data.redb"))?;
        Ok(Self(database))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failed> {
        self.set_batch(std::iter::once((key, value)))
    }

    fn set_batch<'a>(&mut self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), Failed> {
        // Durability::Immediate is the default.
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in pairs {
                table.insert(key, value)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get_all<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result<usize, Failed> {
        let table = self.0.begin_read()?.open_table(TABLE)?;
        let mut bytes = 0;
        for key in keys {
            bytes += table.get(key)?.map_or(0, |value| value.value().len());
        }
        Ok(bytes)
    }

    fn close(self) -> Result<(), Failed> {
        Ok(())
    }
}

pub struct Fjall {
    database: fjall::Database,
    keyspace: fjall::Keyspace,
}

impl Store for Fjall {
    fn open(path: &Path) -> Result<Self, Failed> {
        let database = fjall::Database::builder(path).open()?;
        let keyspace = database.keyspace("data", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { database, keyspace })
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failed> {
        self.keyspace.insert(key, value)?;
        Ok(self.database.persist(fjall::PersistMode::SyncData)?)
    }

    fn set_batch<'a>(&mut self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), Failed> {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        pairs.for_each(|(key, value)| batch.insert(&self.keyspace, key, value));
        Ok(batch.commit()?)
    }

    fn get_all<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result<usize, Failed> {
        let mut bytes = 0;
        for key in keys {
            bytes += self.keyspace.get(key)?.map_or(0, |value| value.len());
        }
        Ok(bytes)
    }

    fn close(self) -> Result<(), Failed> {
        Ok(())
    }
}
