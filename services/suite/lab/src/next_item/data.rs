//! The files of `lab next-item` as visits: those to learn from, oldest first, and those to be judged by.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use recommend_domain::{ItemIdx, Sessions};

use crate::error::LabError;
use crate::reader::Table;

/// What stands for an item that training never saw: no catalogue is that large.
pub(crate) const UNKNOWN: ItemIdx = ItemIdx(u32::MAX);

/// A visit: items in order of their clicks.
pub(crate) type Visit = Vec<ItemIdx>;

/// Both files, read.
#[derive(Debug)]
pub(crate) struct Data {
    /// Items of the training file.
    pub(crate) items: usize,
    /// Visits by their first moment, equal ones in order of the file, so that files whose times are
    /// positions keep their order.
    pub(crate) training: Vec<Visit>,
    /// Visits in order of the file; unknown items are [`UNKNOWN`].
    pub(crate) test: Vec<Visit>,
    pub(crate) train_rows: usize,
    /// Test rows that are judged.
    pub(crate) test_rows: usize,
    /// Test rows whose pair of session and item stands in training, dropped or not.
    pub(crate) overlap: usize,
    /// Test rows before anything was dropped or cut.
    pub(crate) test_rows_read: usize,
}

/// One file's clicks, by index into its own names.
#[derive(Debug, Default)]
struct Clicks {
    sessions: Names,
    items: Names,
    /// Session, item, moment; in the order of the file.
    rows: Vec<(u32, u32, f64)>,
}

#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    fn index(&mut self, name: &str) -> u32 {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), index);
        index
    }
}

fn read(path: &Path) -> Result<Clicks, LabError> {
    let mut table = Table::open(path)?;
    let columns = table.fixed(&["session", "item", "timestamp"], &[])?;
    let at = |column: usize| columns[column].unwrap_or(column);
    let mut clicks = Clicks::default();
    while table.advance()? {
        let session = clicks.sessions.index(table.required(at(0))?);
        let item = clicks.items.index(table.required(at(1))?);
        clicks.rows.push((session, item, table.moment(at(2))?));
    }
    if clicks.rows.is_empty() {
        return Err(table.bad_file("there is no row below the header"));
    }
    Ok(clicks)
}

impl Data {
    /// Reads both files. `limit` keeps the first test visits, `drop_overlap` leaves out test rows whose
    /// session had the same item in training.
    pub(crate) fn read(
        train: &Path,
        test: &Path,
        limit: Option<usize>,
        drop_overlap: bool,
    ) -> Result<Self, LabError> {
        let trained = read(train)?;
        let mut tested = read(test)?;
        let test_rows_read = tested.rows.len();
        let overlap = mark_overlap(&trained, &mut tested, drop_overlap);
        let index = in_order_of_names(&trained.items.names);
        let known = |name: &String| {
            let old = trained.items.by_name.get(name);
            old.map_or(UNKNOWN, |old| index[*old as usize])
        };
        let test_index: Vec<ItemIdx> = tested.items.names.iter().map(known).collect();
        let mut training = visits(&trained, &index);
        training.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: order of the file breaks ties
        let mut test: Vec<Visit> = visits(&tested, &test_index)
            .into_iter()
            .map(|it| it.1)
            .collect();
        test.truncate(limit.unwrap_or(usize::MAX));
        Ok(Self {
            items: trained.items.names.len(),
            training: training.into_iter().map(|(_, visit)| visit).collect(),
            train_rows: trained.rows.len(),
            test_rows: test.iter().map(Vec::len).sum(),
            test,
            overlap,
            test_rows_read,
        })
    }

    /// Returns the training visits as models take them.
    pub(crate) fn sessions(&self) -> Sessions {
        Sessions::new(self.training.iter().map(Vec::as_slice), self.items)
    }
}

/// Counts test rows whose pair stands in training, and takes them out if asked to.
fn mark_overlap(trained: &Clicks, tested: &mut Clicks, drop_them: bool) -> usize {
    let pairs: HashSet<(u32, u32)> = trained.rows.iter().map(|row| (row.0, row.1)).collect();
    let (sessions, items) = (&tested.sessions.names, &tested.items.names);
    let before = tested.rows.len();
    let is_known = |row: &(u32, u32, f64)| {
        let session = trained.sessions.by_name.get(&sessions[row.0 as usize]);
        let item = trained.items.by_name.get(&items[row.1 as usize]);
        session
            .zip(item)
            .is_some_and(|(session, item)| pairs.contains(&(*session, *item)))
    };
    if drop_them {
        tested.rows.retain(|row| !is_known(row));
        before - tested.rows.len()
    } else {
        tested.rows.iter().filter(|row| is_known(row)).count()
    }
}

/// Numbers items in byte order of their names, so that ties fall the same way for any order of rows.
fn in_order_of_names(names: &[String]) -> Vec<ItemIdx> {
    let mut order: Vec<u32> = (0..names.len() as u32).collect();
    order.sort_unstable_by(|a, b| names[*a as usize].cmp(&names[*b as usize]));
    let mut index = vec![ItemIdx(0); order.len()];
    for (new, old) in order.iter().enumerate() {
        index[*old as usize] = ItemIdx(new as u32);
    }
    index
}

/// Folds clicks into visits with their first moments, in order of first appearance.
fn visits(clicks: &Clicks, index: &[ItemIdx]) -> Vec<(f64, Visit)> {
    let mut timed: Vec<Vec<(f64, ItemIdx)>> = vec![Vec::new(); clicks.sessions.names.len()];
    for (session, item, moment) in &clicks.rows {
        timed[*session as usize].push((*moment, index[*item as usize]));
    }
    timed.retain(|rows| !rows.is_empty());
    let visit = |mut rows: Vec<(f64, ItemIdx)>| {
        rows.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: row order breaks ties
        (rows[0].0, rows.into_iter().map(|(_, item)| item).collect())
    };
    timed.into_iter().map(visit).collect()
}
