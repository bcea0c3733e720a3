//! The files of `lab recommend` as indices: histories to learn from, queries to be judged by.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use recommend_domain::{ItemIdx, ItemItemModel};

use super::side::{Friends, read_content, read_friends};
use crate::args::RecommendArgs;

use crate::error::LabError;
use crate::reader::Table;

/// Training histories.
#[derive(Debug, Clone, Default)]
pub(crate) struct Training {
    /// Identifiers by index, in byte order, so that ties fall the same way for any order of rows.
    pub(crate) items: Vec<String>,
    /// By user, in order of first appearance: distinct items, oldest first.
    pub(crate) histories: Vec<Vec<ItemIdx>>,
    /// The newest `timestamp`, where the file has one.
    pub(crate) newest: Option<f64>,
    /// Neighbours by text, where there is a file of items.
    pub(crate) content: Option<Arc<ItemItemModel>>,
    /// By user, indices of histories; empty without a file of friends.
    pub(crate) friends: Vec<Vec<u32>>,
}

impl Training {
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[ItemIdx]> + Clone {
        self.histories.iter().map(Vec::as_slice)
    }

    pub(crate) fn friends_of(&self, user: u32) -> &[u32] {
        self.friends.get(user as usize).map_or(&[], |list| list)
    }

    /// People per item.
    pub(crate) fn item_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.items.len()];
        for item in self.histories.iter().flatten() {
            counts[item.at()] += 1;
        }
        counts
    }
}

/// One user to be judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// Index of the training history, `None` for a user that training never saw.
    pub(crate) user: Option<u32>,
    /// Held-out items that could be shown, ascending, distinct.
    pub(crate) held: Vec<ItemIdx>,
    /// All distinct held-out items: also those that training never saw, and those it did for this
    /// very user, which are masked. Both are misses.
    pub(crate) held_count: usize,
    /// Indices of the training histories of friends.
    pub(crate) friends: Vec<u32>,
}

/// Both files, read.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) training: Training,
    pub(crate) queries: Vec<Query>,
    pub(crate) train_rows: usize,
    /// Test rows that are judged.
    pub(crate) test_rows: usize,
    /// Test rows whose pair stands in training, dropped or not.
    pub(crate) overlap: usize,
    /// Test rows before anything was dropped or cut.
    pub(crate) test_rows_read: usize,
}

/// One file's pairs, by index into its own names.
#[derive(Debug, Default)]
struct Pairs {
    users: Names,
    items: Names,
    /// User, item, moment; in the order of the file.
    rows: Vec<(u32, u32, f64)>,
    timed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) by_name: HashMap<String, u32>,
    pub(super) names: Vec<String>,
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

fn read(path: &Path) -> Result<Pairs, LabError> {
    let mut table = Table::open(path)?;
    let columns = table.fixed(&["user", "item"], &["timestamp", "weight"])?;
    let (user_column, item_column) = (columns[0].unwrap_or(0), columns[1].unwrap_or(1));
    let mut pairs = Pairs {
        timed: columns[2].is_some(),
        ..Pairs::default()
    };
    while table.advance()? {
        let user = pairs.users.index(table.required(user_column)?);
        let item = pairs.items.index(table.required(item_column)?);
        let moment = columns[2].map_or(Ok(0.0), |column| table.moment(column))?;
        if let Some(column) = columns[3] {
            // Every model here counts people, not weights; a weight that is none is still an error.
            table.number(column)?;
        }
        pairs.rows.push((user, item, moment));
    }
    if pairs.rows.is_empty() {
        return Err(table.bad_file("there is no row below the header"));
    }
    Ok(pairs)
}

impl Data {
    /// Reads all files. `limit` keeps the first test users, `drop_overlap` leaves out test pairs that
    /// training holds.
    pub(crate) fn read(args: &RecommendArgs) -> Result<Self, LabError> {
        let limit = args.common.limit.map(std::num::NonZeroUsize::get);
        let drop_overlap = args.common.drop_overlap;
        let trained = read(&args.train)?;
        let tested = read(&args.test)?;
        let train_rows = trained.rows.len();
        let test_rows_read = tested.rows.len();
        let (mut training, item_index) = fold(&trained);
        if let Some(items) = &args.items {
            training.content = Some(Arc::new(read_content(items, &training.items)?));
        }
        let mut friends = Friends::new();
        if let Some(social) = &args.social {
            friends = read_friends(social, &trained.users, &tested.users)?;
            let of = |name: &String| friends.get(name).cloned().unwrap_or_default();
            training.friends = trained.users.names.iter().map(of).collect();
        }
        let known: Vec<HashSet<ItemIdx>> = training
            .histories
            .iter()
            .map(|history| history.iter().copied().collect())
            .collect();
        let user_of: Vec<Option<u32>> = tested
            .users
            .names
            .iter()
            .map(|name| trained.users.by_name.get(name).copied())
            .collect();
        let item_of: Vec<Option<ItemIdx>> = tested
            .items
            .names
            .iter()
            .map(|name| {
                trained
                    .items
                    .by_name
                    .get(name)
                    .map(|old| item_index[*old as usize])
            })
            .collect();
        let mut held: Vec<HashSet<u32>> = vec![HashSet::new(); user_of.len()];
        let mut rows_of = vec![0; user_of.len()];
        let mut overlap = 0;
        for (user, item, _) in &tested.rows {
            let is_known = user_of[*user as usize]
                .zip(item_of[*item as usize])
                .is_some_and(|(user, item)| known[user as usize].contains(&item));
            overlap += usize::from(is_known);
            if !(is_known && drop_overlap) {
                held[*user as usize].insert(*item);
                rows_of[*user as usize] += 1;
            }
        }
        let judged: Vec<usize> = (0..held.len())
            .filter(|user| rows_of[*user] > 0)
            .take(limit.unwrap_or(usize::MAX))
            .collect();
        let queries = judged
            .iter()
            .map(|at| {
                let user = user_of[*at];
                let is_shown =
                    |item: &ItemIdx| user.is_none_or(|user| !known[user as usize].contains(item));
                let items = held[*at].iter().filter_map(|item| item_of[*item as usize]);
                let mut shown: Vec<ItemIdx> = items.filter(is_shown).collect();
                shown.sort_unstable();
                Query {
                    user,
                    held: shown,
                    held_count: held[*at].len(),
                    friends: friends
                        .get(&tested.users.names[*at])
                        .cloned()
                        .unwrap_or_default(),
                }
            })
            .collect();
        let test_rows = judged.iter().map(|user| rows_of[*user]).sum();
        Ok(Self {
            training,
            queries,
            train_rows,
            test_rows,
            overlap,
            test_rows_read,
        })
    }
}

/// Folds pairs into histories; returns also the new index of each item.
fn fold(pairs: &Pairs) -> (Training, Vec<ItemIdx>) {
    let mut order: Vec<u32> = (0..pairs.items.names.len() as u32).collect();
    order.sort_unstable_by(|a, b| {
        pairs.items.names[*a as usize].cmp(&pairs.items.names[*b as usize])
    });
    let mut index = vec![ItemIdx(0); order.len()];
    for (new, old) in order.iter().enumerate() {
        index[*old as usize] = ItemIdx(new as u32);
    }
    let mut timed: Vec<Vec<(f64, ItemIdx)>> = vec![Vec::new(); pairs.users.names.len()];
    for (user, item, moment) in &pairs.rows {
        timed[*user as usize].push((*moment, index[*item as usize]));
    }
    let mut seen = HashSet::new();
    let histories = timed.into_iter().map(|mut rows| {
        rows.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: row order breaks ties
        seen.clear();
        let mut history: Vec<ItemIdx> = rows
            .into_iter()
            .rev()
            .map(|(_, item)| item)
            .filter(|item| seen.insert(*item))
            .collect();
        history.reverse();
        history
    });
    let newest = pairs
        .rows
        .iter()
        .map(|row| row.2)
        .fold(f64::NEG_INFINITY, f64::max);
    let training = Training {
        items: order
            .iter()
            .map(|old| pairs.items.names[*old as usize].clone())
            .collect(),
        histories: histories.collect(),
        newest: pairs.timed.then_some(newest),
        ..Training::default()
    };
    (training, index)
}
