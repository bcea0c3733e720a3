//! Candidate generation into dense buffers that are reused: no hashing and no allocation per item.

use super::{Models, Query, REASONS_MAX, SOURCES_MAX, SeenPolicy};
use crate::catalogue::CategoryIdx;
use crate::incidence::keep_first;
use crate::items::{ItemIdx, Items};
use crate::reason::Reason;
use std::cmp::Ordering;

/// Categories of the history whose popular items become candidates.
const CATEGORIES_OF_HISTORY_MAX: usize = 3;
/// Popular items taken from each of them.
const CATEGORY_CANDIDATES_MAX: usize = 50;

const TOUCHED: u8 = 1;
const BLOCKED: u8 = 2;
const IN_CATEGORY: u8 = 4;
const SEEN: u8 = 8;

/// What is known of one item during one request: 24 bytes, so a catalogue of 40,000 stays in L2.
#[derive(Debug, Clone, Copy)]
struct Cell {
    score: f32,
    similar: f32,
    similar_to: ItemIdx,
    together: f32,
    together_with: ItemIdx,
    marks: u8,
}

const CLEAN: Cell = Cell {
    score: 0.0,
    similar: 0.0,
    similar_to: ItemIdx(0),
    together: 0.0,
    together_with: ItemIdx(0),
    marks: 0,
};

/// Working memory of [`super::rank`]: one per serving thread.
#[derive(Debug, Default)]
pub struct Scratch {
    cells: Vec<Cell>,
    touched: Vec<ItemIdx>,
    sources: Vec<(ItemIdx, f32)>,
    categories: Vec<(CategoryIdx, f32)>,
}

/// Orders candidates: higher score first, then by identifier, equal in every process.
fn by_score(items: &Items) -> impl Fn(&(f32, ItemIdx), &(f32, ItemIdx)) -> Ordering + '_ {
    |a, b| b.0.total_cmp(&a.0).then_with(|| items.compare(a.1, b.1))
}

impl Scratch {
    /// Returns up to `wanted` permitted candidates, best first; the cells stay for [`Self::reasons`].
    pub(super) fn gather(
        &mut self,
        query: &Query<'_>,
        models: &Models<'_>,
        wanted: usize,
    ) -> Vec<(f32, ItemIdx)> {
        self.begin(models.items.len());
        self.weigh_history(query);
        self.block(query);
        self.add_similar(models);
        self.add_together(query, models);
        self.add_categories(query, models);
        let mut pool = self.pool(query, models);
        if pool.len() < wanted {
            self.backfill(query, models, wanted, &mut pool);
        }
        keep_first(&mut pool, wanted, by_score(models.items));
        pool
    }

    /// Returns why `item` is a candidate of the last [`Self::gather`]; at least one reason.
    pub(super) fn reasons(&self, item: ItemIdx, models: &Models<'_>) -> Vec<Reason> {
        let cell = self.cells[item.at()];
        let mut reasons = Vec::with_capacity(REASONS_MAX);
        if cell.similar > 0.0 {
            reasons.push(Reason::SimilarTo(cell.similar_to));
        }
        if cell.together > 0.0 {
            let at = if cell.together > cell.similar {
                0
            } else {
                reasons.len()
            };
            reasons.insert(at, Reason::BoughtTogether(cell.together_with));
        }
        if cell.marks & SEEN != 0 {
            reasons.push(Reason::RecentlyViewed);
        }
        if cell.marks & IN_CATEGORY != 0 {
            reasons.push(Reason::PopularInCategory(models.catalogue.category(item)));
        }
        if reasons.is_empty() {
            reasons.push(Reason::Popular);
        }
        reasons.truncate(REASONS_MAX);
        reasons
    }

    fn begin(&mut self, items: usize) {
        for item in self.touched.drain(..) {
            self.cells[item.at()] = CLEAN;
        }
        // Another process's models may be smaller: a cell beyond them is clean and never touched.
        if self.cells.len() < items {
            self.cells.resize(items, CLEAN);
        }
    }

    /// Fills the sources with shares of the whole, newest first, so that scores of people with long
    /// and with short histories share one scale.
    fn weigh_history(&mut self, query: &Query<'_>) {
        self.sources.clear();
        let options = query.options;
        let half_life = options.recency_half_life_ms.max(1) as f32;
        for line in query
            .history
            .iter()
            .filter(|line| !line.is_disliked)
            .take(options.sources_max.min(SOURCES_MAX))
        {
            let age = query.now.since(line.last_at).max(0) as f32;
            let recency = (-age / half_life).exp2().max(options.recency_floor);
            if line.item.at() < self.cells.len() {
                self.sources.push((line.item, line.strength * recency));
            }
        }
        let total: f32 = self.sources.iter().map(|(_, weight)| weight).sum();
        if total > 0.0 {
            self.sources
                .iter_mut()
                .for_each(|(_, weight)| *weight /= total);
        }
    }

    fn block(&mut self, query: &Query<'_>) {
        for line in query.history {
            let is_hidden = line.is_disliked
                || match query.options.seen {
                    SeenPolicy::Hide => true,
                    SeenPolicy::HidePurchased => line.is_purchased,
                    SeenPolicy::Show => false,
                };
            if is_hidden {
                self.mark(line.item, BLOCKED);
            }
        }
        query
            .filter
            .excluded()
            .iter()
            .for_each(|item| self.mark(*item, BLOCKED));
        // What may come back is a candidate by itself.
        for at in 0..self.sources.len() {
            let (item, weight) = self.sources[at];
            if self.cells[item.at()].marks & BLOCKED == 0 {
                self.mark(item, SEEN);
                self.cells[item.at()].score += query.options.revisit_weight * weight;
            }
        }
    }

    fn mark(&mut self, item: ItemIdx, marks: u8) {
        if let Some(cell) = self.cells.get_mut(item.at()) {
            if cell.marks == 0 {
                self.touched.push(item);
            }
            cell.marks |= marks | TOUCHED;
        }
    }

    fn add_similar(&mut self, models: &Models<'_>) {
        let Self {
            cells,
            touched,
            sources,
            ..
        } = self;
        let mut add = |source: ItemIdx, other: ItemIdx, part: f32| {
            let Some(cell) = cells.get_mut(other.at()) else {
                return;
            };
            if cell.marks == 0 {
                cell.marks = TOUCHED;
                touched.push(other);
            }
            cell.score += part;
            if part > cell.similar {
                cell.similar = part;
                cell.similar_to = source;
            }
        };
        for (source, weight) in sources.iter() {
            for neighbour in models.similar.neighbours(*source) {
                add(*source, neighbour.item, weight * neighbour.score);
            }
            if models.live.is_empty() {
                continue;
            }
            for (other, together) in models.live.pairs(*source) {
                let score = models.similar.live_score(*source, *other, *together);
                add(*source, *other, weight * score);
            }
        }
    }

    fn add_together(&mut self, query: &Query<'_>, models: &Models<'_>) {
        let Self {
            cells,
            touched,
            sources,
            ..
        } = self;
        for (source, weight) in sources.iter() {
            for (other, confidence) in models.together.confidences(*source) {
                let Some(cell) = cells.get_mut(other.at()) else {
                    continue;
                };
                if cell.marks == 0 {
                    cell.marks = TOUCHED;
                    touched.push(other);
                }
                let part = query.options.together_weight * weight * confidence;
                cell.score += part;
                if part > cell.together {
                    cell.together = part;
                    cell.together_with = *source;
                }
            }
        }
    }

    /// Adds the popular items of the categories that the history is mostly about.
    fn add_categories(&mut self, query: &Query<'_>, models: &Models<'_>) {
        let mut shares = std::mem::take(&mut self.categories);
        shares.clear();
        for (item, weight) in &self.sources {
            let category = models.catalogue.category(*item);
            match shares.iter_mut().find(|(known, _)| *known == category) {
                Some((_, share)) => *share += weight,
                None if category == CategoryIdx::NONE => {}
                None => shares.push((category, *weight)),
            }
        }
        let paths = |category| models.catalogue.category_path(category);
        keep_first(&mut shares, CATEGORIES_OF_HISTORY_MAX, |a, b| {
            b.1.total_cmp(&a.1).then_with(|| paths(a.0).cmp(paths(b.0)))
        });
        for (category, share) in &shares {
            for item in models
                .popular
                .in_category(*category)
                .iter()
                .take(CATEGORY_CANDIDATES_MAX)
            {
                let part = query.options.category_weight * share * models.popular.score(*item);
                if part > 0.0 && item.at() < self.cells.len() {
                    self.mark(*item, IN_CATEGORY);
                    self.cells[item.at()].score += part;
                }
            }
        }
        self.categories = shares;
    }

    fn pool(&self, query: &Query<'_>, models: &Models<'_>) -> Vec<(f32, ItemIdx)> {
        let mut pool = Vec::with_capacity(self.touched.len());
        for item in &self.touched {
            let cell = &self.cells[item.at()];
            if cell.marks & BLOCKED == 0 && query.filter.permits(*item, models.catalogue) {
                let popular = query.options.popular_weight * models.popular.score(*item);
                pool.push((cell.score + popular, *item));
            }
        }
        pool
    }

    /// Fills up with popular items, from the filter's own categories first: a narrow filter should
    /// not walk the whole catalogue.
    fn backfill(
        &mut self,
        query: &Query<'_>,
        models: &Models<'_>,
        wanted: usize,
        pool: &mut Vec<(f32, ItemIdx)>,
    ) {
        let lists = query
            .filter
            .categories()
            .iter()
            .map(|category| models.popular.in_category(*category));
        for item in lists.flatten().chain(models.popular.order()) {
            if pool.len() >= wanted {
                return;
            }
            let is_new = self
                .cells
                .get(item.at())
                .is_some_and(|cell| cell.marks == 0);
            if is_new && query.filter.permits(*item, models.catalogue) {
                self.mark(*item, TOUCHED);
                pool.push((
                    query.options.popular_weight * models.popular.score(*item),
                    *item,
                ));
            }
        }
    }
}
