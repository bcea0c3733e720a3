//! From histories to the bytes of a model: pure, and the same bytes for the same histories.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use recommend_domain::{
    BasketModel, BasketOptions, ItemIdx, Items, Selection, SimilarAlgorithm, Timeline,
    TrainedModels, select_similar,
};

use super::histories::Histories;
use crate::store::model::ModelChoice;

/// Purchases further apart than this are two baskets: an order's lines come at once.
const BASKET_GAP_MS: i64 = 30 * 60 * 1_000;

/// Draws what is held out: the same histories are cut the same way on every replica.
const SEED: u64 = 0;

/// A model, ready to be saved.
#[derive(Debug)]
pub(super) struct Fitted {
    /// The file.
    pub(super) file: Vec<u8>,
    /// Persons with a history.
    pub(super) persons: usize,
    /// Items with a neighbour.
    pub(super) items: usize,
    /// The model that was found best.
    pub(super) algorithm: SimilarAlgorithm,
    /// What it was worth.
    pub(super) choice: ModelChoice,
}

/// Trains on all cores. Ids are numbered in their order and persons come in the order of their
/// anchors, so that neither arrival nor threads change a byte. `None` if `stop` is set meanwhile.
pub(super) fn fit(histories: Histories, stop: &AtomicBool) -> Option<Fitted> {
    let ids: BTreeSet<&str> = histories.items.iter().map(|(_, id)| id).collect();
    let mut items = Items::default();
    for id in ids {
        items
            .intern(id)
            .expect("the ids come from a table of the same size");
    }
    let moved: Vec<ItemIdx> = histories
        .items
        .iter()
        .filter_map(|(_, id)| items.get(id))
        .collect();
    let on_order = |list: &mut Vec<ItemIdx>| list.iter_mut().for_each(|at| *at = moved[at.at()]);
    let mut rows: Vec<Vec<ItemIdx>> = Vec::with_capacity(histories.persons.len());
    let mut baskets: Vec<Vec<ItemIdx>> = Vec::new();
    for timeline in histories.persons.values() {
        let mut row = liked(timeline);
        on_order(&mut row);
        rows.push(row);
        for mut basket in timeline.baskets(BASKET_GAP_MS) {
            on_order(&mut basket);
            baskets.push(basket);
        }
    }
    rows.retain(|row| !row.is_empty());
    let selection = select_similar(&rows, SEED, stop)?;
    let (algorithm, choice) = (selection.algorithm, choice(&selection));
    let similar = selection.model;
    let together = BasketModel::train(baskets.iter().map(Vec::as_slice), &BasketOptions::default());
    let has_neighbour = |at: &u32| !similar.neighbours(ItemIdx(*at)).is_empty();
    let with_neighbour = (0..items.len() as u32).filter(has_neighbour).count();
    let trained = TrainedModels {
        trained_at: histories.newest,
        graph_version: histories.graph_version,
        items,
        similar,
        together,
    };
    Some(Fitted {
        file: trained.to_bytes(),
        persons: rows.len(),
        items: with_neighbour,
        algorithm,
        choice,
    })
}

fn choice(selection: &Selection) -> ModelChoice {
    let ndcg = |of: SimilarAlgorithm| selection.trial(of).map(|trial| trial.ndcg);
    ModelChoice {
        judged_persons: selection.persons as i64,
        ndcg: ndcg(selection.algorithm),
        plain_ndcg: ndcg(SimilarAlgorithm::ItemKnn),
    }
}

/// Returns the items that a person is interested in, oldest first.
fn liked(timeline: &Timeline) -> Vec<ItemIdx> {
    let history = timeline.history();
    let lines = history.iter().rev();
    lines
        .filter(|line| !line.is_disliked && line.strength > 0.0)
        .map(|line| line.item)
        .collect()
}
