//! The files beside the pairs: what is written about items, and who is whose friend.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rapport_text::words;
use rayon::prelude::*;
use recommend_domain::{ItemItemModel, train_content};

use super::data::Names;
use crate::error::LabError;
use crate::reader::Table;

/// Neighbours by text that are kept per item.
const CONTENT_NEIGHBOURS: usize = 100;

/// By name of a user, the training histories of friends, ascending, distinct.
pub(super) type Friends = HashMap<String, Vec<u32>>;

/// Reads `item,text…` and compares the items of training by all their text. Items that training does
/// not know are passed over; those without text have no neighbours.
pub(super) fn read_content(path: &Path, items: &[String]) -> Result<ItemItemModel, LabError> {
    let mut table = Table::open(path)?;
    let item_column = table.fixed(&["item"], &[])?[0].unwrap_or(0);
    let mut texts: BTreeMap<usize, String> = BTreeMap::new();
    while table.advance()? {
        let item = table.required(item_column)?;
        // Identifiers of training are in byte order.
        let Ok(index) = items.binary_search_by(|known| known.as_str().cmp(item)) else {
            continue;
        };
        let text = texts.entry(index).or_default();
        for column in (0..table.columns()).filter(|column| *column != item_column) {
            text.push_str(table.text(column)?);
            text.push('\n');
        }
    }
    if texts.is_empty() {
        return Err(table.bad_file("no item of it stands in the training file"));
    }
    let found: Vec<Vec<String>> = (0..items.len())
        .into_par_iter()
        .map(|item| texts.get(&item).map_or(Vec::new(), |text| words(text)))
        .collect();
    Ok(train_content(&found, CONTENT_NEIGHBOURS))
}

/// Reads `user,friend`, for users of either file; a friend without training history has nothing to say.
/// A pair says nothing about its reverse: files that mean both have both.
pub(super) fn read_friends(
    path: &Path,
    trained: &Names,
    tested: &Names,
) -> Result<Friends, LabError> {
    let mut table = Table::open(path)?;
    let columns = table.fixed(&["user", "friend"], &[])?;
    let (user_column, friend_column) = (columns[0].unwrap_or(0), columns[1].unwrap_or(1));
    let mut friends = Friends::new();
    while table.advance()? {
        let user = table.required(user_column)?;
        let friend = table.required(friend_column)?;
        let is_known = trained.by_name.contains_key(user) || tested.by_name.contains_key(user);
        if let Some(index) = trained.by_name.get(friend)
            && is_known
            && user != friend
        {
            friends.entry(user.to_owned()).or_default().push(*index);
        }
    }
    if friends.is_empty() {
        return Err(table.bad_file("no user of it stands in the training file"));
    }
    for list in friends.values_mut() {
        list.sort_unstable();
        list.dedup();
    }
    Ok(friends)
}
