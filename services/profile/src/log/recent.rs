//! What SQLite remembers of recent events: on disk as runs, in memory as a table, not in the tree yet.
//!
//! Dedup keys are hashes, so the entries of one commit belong to as many pages of the tree as there are
//! entries: written at once, a commit of a thousand events writes a thousand pages twice. Instead a
//! commit writes its entries as one run, a row of its own, and keeps them in memory. When enough have
//! gathered they are sorted and move into the tree with the commits that follow, a slice of neighbours
//! at a time, which share pages; then their runs are deleted. After a crash the runs are read again, and
//! moving an entry twice changes nothing.

use std::collections::{BTreeMap, HashMap};

use rapport_store::{StoreError, Tx};

use super::dedup::{ENTRY_BYTES, Entry, KEY_BYTES, Key};
use crate::store::{dedup, log};

/// Entries that gather before they begin to move: at most twice as many are in memory, 120 bytes each.
const GATHERED_MAX: usize = 128 * 1024;
/// Entries that move for each new one, so that a generation has moved before the next has gathered.
const MOVED_PER_NEW: usize = 2;

/// One remembered event.
#[derive(Debug, Clone, Copy)]
struct Row {
    key: Key,
    entry: Entry,
    /// The day of receipt, `None` when it is kept as long as the data live.
    day: Option<i64>,
}

/// What a run is to hold, and the day of its receipt, `None` for ever.
pub(super) type NewRun<'a> = (&'a [(Key, Entry)], Option<i64>);

/// The entries of all runs on disk. One per writer.
#[derive(Debug)]
pub(super) struct Recent {
    gathered_max: usize,
    entries: HashMap<Key, Entry>,
    /// The last run that is in `entries`.
    last_run: i64,
    gathered: Vec<Row>,
    /// The generation on its way into the tree, in the order of the keys.
    moving: Vec<Row>,
    /// How many of those are there.
    moved: usize,
    /// The last run of that generation.
    moving_until: i64,
    /// What the open transaction does. Forgotten when it fails: then the runs on disk tell.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    rows: Vec<Row>,
    last_run: i64,
    moved: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self::new(GATHERED_MAX)
    }
}

impl Recent {
    /// Returns a memory of nothing, whose entries move when `gathered_max` have gathered.
    fn new(gathered_max: usize) -> Self {
        Self {
            gathered_max,
            entries: HashMap::new(),
            last_run: 0,
            gathered: Vec::new(),
            moving: Vec::new(),
            moved: 0,
            moving_until: 0,
            open: None,
        }
    }

    /// Reads the runs that are new since the last commit: all of them at first, and otherwise those of
    /// a commit whose outcome was not known, or of another writer.
    pub(super) async fn catch_up(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        self.open = None;
        for run in dedup::runs_after(tx, self.last_run).await? {
            let rows = run.rows.chunks_exact(KEY_BYTES + ENTRY_BYTES);
            let rows = rows.filter_map(|row| read(row, run.received_day)).collect();
            self.take(rows);
            self.last_run = run.run;
        }
        Ok(())
    }

    /// Returns what is remembered of `key` here.
    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        self.entries.get(key).copied()
    }

    /// Writes new entries as runs, `received_day` `None` for ever, and moves older ones into the tree.
    pub(super) async fn write(
        &mut self,
        tx: &mut Tx,
        new: [NewRun<'_>; 2],
    ) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        let mut last_run = self.last_run;
        for (entries, day) in new {
            if entries.is_empty() {
                continue;
            }
            last_run = dedup::add_run(tx, day, &packed(entries)).await?;
            let row = |(key, entry): &(Key, Entry)| Row {
                key: *key,
                entry: *entry,
                day,
            };
            rows.extend(entries.iter().map(row));
        }
        let moved = self
            .moving
            .len()
            .min(self.moved + rows.len() * MOVED_PER_NEW);
        self.move_on(tx, moved).await?;
        self.open = Some(Open {
            rows,
            last_run,
            moved,
        });
        Ok(())
    }

    /// Moves the generation's entries up to `moved` into the tree; after the last one its runs go.
    async fn move_on(&self, tx: &mut Tx, moved: usize) -> Result<(), StoreError> {
        let mut by_day: BTreeMap<Option<i64>, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
        for row in &self.moving[self.moved..moved] {
            let (keys, entries) = by_day.entry(row.day).or_default();
            keys.extend_from_slice(&row.key);
            row.entry.write(entries);
        }
        for (day, (keys, entries)) in by_day {
            // Not all are new when a crash came between moving and deleting: that is fine.
            let _all_new = log::remember(tx, &keys, &entries, day).await?;
        }
        if moved > self.moved && moved == self.moving.len() {
            dedup::drop_runs(tx, self.moving_until).await?;
        }
        Ok(())
    }

    /// Makes memory say what the transaction wrote. Call after it has committed.
    pub(super) fn committed(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.last_run = open.last_run;
        self.moved = open.moved;
        if self.moved == self.moving.len() {
            for row in std::mem::take(&mut self.moving) {
                self.entries.remove(&row.key);
            }
            self.moved = 0;
        }
        self.take(open.rows);
        if self.moving.is_empty() && self.gathered.len() >= self.gathered_max {
            self.moving = std::mem::take(&mut self.gathered);
            self.moving.sort_unstable_by_key(|row| row.key);
            self.moving_until = self.last_run;
        }
    }

    fn take(&mut self, rows: Vec<Row>) {
        self.entries
            .extend(rows.iter().map(|row| (row.key, row.entry)));
        self.gathered.extend(rows);
    }
}

fn packed(entries: &[(Key, Entry)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * (KEY_BYTES + ENTRY_BYTES));
    for (key, entry) in entries {
        bytes.extend_from_slice(key);
        entry.write(&mut bytes);
    }
    bytes
}

fn read(row: &[u8], day: Option<i64>) -> Option<Row> {
    let (key, entry) = row.split_at_checked(KEY_BYTES)?;
    Some(Row {
        key: key.try_into().ok()?,
        entry: Entry::read(entry)?,
        day,
    })
}

#[cfg(test)]
mod tests;
