//! The recommenders that the laboratory compares, behind one way to be fitted and to score.

use std::sync::Arc;

use rapport_math::dense::Lanes;
use rapport_types::UnixMillis;
use recommend_domain::{
    BLOCK_HISTORIES, BasketModel, EaseModel, GraphFilter, GraphFilterScratch, GraphSpectrum,
    IalsModel, IalsScratch, ItemIdx, ItemItemModel, Items, SlimOptions, SocialModel, TrainedModels,
    UserUserModel, UserUserScratch, lane, train_slim,
};

use super::data::Training;
use super::metrics::MASKED;
use super::spec::Spec;
use crate::error::LabError;

/// Weight of popularity where a model says nothing: far below any score of a neighbour, so that the
/// rest of a list is what is popular, as in serving.
const FALLBACK: f32 = 1.0 / (1u32 << 30) as f32;
/// Neighbours of a linear model that a file keeps.
const SAVED_NEIGHBOURS: usize = 400;

/// Whom scores are for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) history: &'a [ItemIdx],
    /// Indices of training histories.
    pub(crate) friends: &'a [u32],
}

/// Most of them that one call of [`Model::score_block`] answers.
pub(crate) const BLOCK: usize = BLOCK_HISTORIES;

/// A fitted recommender.
#[derive(Debug)]
pub(crate) struct Model {
    part: Part,
    /// What every item scores before the model speaks; below 0, more popular ones higher.
    base: Vec<f32>,
}

#[derive(Debug)]
enum Part {
    Popularity,
    Rows(Arc<ItemItemModel>),
    UserKnn(UserUserModel),
    Ease(EaseModel),
    Ials(IalsModel),
    Filter(GraphFilter),
    Social(SocialModel),
    Blend(Vec<(Part, f32)>),
}

/// What one thread needs to score.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    weighted: Vec<(ItemIdx, f32)>,
    user: UserUserScratch,
    filter: GraphFilterScratch,
    ials: IalsScratch,
    part: Vec<f32>,
}

/// What fitting several recommenders on the same histories shares: the last graph's eigenvectors, which
/// cost more than all else.
#[derive(Debug, Default)]
pub(crate) struct Workshop {
    spectrum: Option<(SpectrumKey, Arc<GraphSpectrum>)>,
}

/// Dampings, to the bit, and factors.
type SpectrumKey = (u32, u32, usize);

impl Model {
    pub(crate) fn fit(
        spec: &Spec,
        training: &Training,
        seed: u64,
        workshop: &mut Workshop,
    ) -> Result<Self, LabError> {
        let base = |count: u32| -FALLBACK / (1.0 + count as f32);
        Ok(Self {
            part: Part::fit(spec, training, seed, workshop)?,
            base: training.item_counts().into_iter().map(base).collect(),
        })
    }

    pub(crate) fn items(&self) -> usize {
        self.base.len()
    }

    /// Scores the whole catalogue for up to [`BLOCK`] people, a row each, and masks what they have.
    pub(crate) fn score_block(
        &self,
        asked: &[Asked<'_>],
        scratch: &mut Scratch,
        rows: &mut Vec<f32>,
    ) {
        rows.clear();
        rows.resize(asked.len() * self.items(), 0.0);
        self.part.add_scores(asked, self.items(), scratch, rows);
        self.finish(asked, rows);
    }

    /// Scores each part of a blend for up to [`BLOCK`] people, every row of length 1.
    pub(crate) fn score_parts(
        &self,
        asked: &[Asked<'_>],
        scratch: &mut Scratch,
        parts: &mut Vec<Vec<f32>>,
    ) {
        let blended: Vec<&Part> = if let Part::Blend(parts) = &self.part {
            parts.iter().map(|(part, _)| part).collect()
        } else {
            vec![&self.part]
        };
        parts.resize(blended.len(), Vec::new());
        for (part, rows) in blended.iter().zip(parts) {
            rows.clear();
            rows.resize(asked.len() * self.items(), 0.0);
            part.add_scores(asked, self.items(), scratch, rows);
            rows.chunks_exact_mut(self.items()).for_each(to_unit_length);
        }
    }

    /// Adds popularity's whisper and masks.
    pub(crate) fn finish(&self, asked: &[Asked<'_>], rows: &mut [f32]) {
        for (asked, row) in asked.iter().zip(rows.chunks_exact_mut(self.items())) {
            for (score, base) in row.iter_mut().zip(&self.base) {
                *score += base;
            }
            for item in asked.history {
                row[item.at()] = MASKED;
            }
        }
    }

    /// Writes the file that the recommend service loads.
    pub(crate) fn to_bytes(&self, training: &Training) -> Result<Vec<u8>, LabError> {
        let mut items = Items::default();
        for id in &training.items {
            let interned = items.intern(id);
            interned.map_err(|error| LabError::input(format!("--save: item {id:?}: {error}")))?;
        }
        let similar = match &self.part {
            Part::Popularity => ItemItemModel::default(), // without neighbours serving shows what is popular
            Part::Rows(model) => ItemItemModel::clone(model),
            Part::Ease(model) => model.distil(SAVED_NEIGHBOURS),
            Part::Filter(model) => model.distil(SAVED_NEIGHBOURS),
            Part::UserKnn(_) | Part::Ials(_) | Part::Social(_) | Part::Blend(_) => {
                return Err(LabError::input(
                    "--save: the services load item-item models and popularity; name one with --algorithm",
                ));
            }
        };
        let models = TrainedModels {
            trained_at: UnixMillis(training.newest.map_or(0, |newest| newest as i64)),
            graph_version: 0,
            items,
            similar,
            together: BasketModel::default(), // a history is no basket
        };
        Ok(models.to_bytes())
    }
}

/// What stands in for EASE where its weights do not fit: the same regression of every item, on those
/// nearest to it only.
fn sparse_ease(ridge: f32) -> SlimOptions {
    SlimOptions {
        regularisation: ridge,
        ..SlimOptions::default()
    }
}

impl Part {
    fn fit(
        spec: &Spec,
        training: &Training,
        seed: u64,
        workshop: &mut Workshop,
    ) -> Result<Self, LabError> {
        let slices = || training.slices();
        Ok(match spec {
            Spec::Popularity => Self::Popularity,
            Spec::ItemKnn(options) => Self::Rows(Arc::new(ItemItemModel::train(slices(), options))),
            Spec::UserKnn(options) => Self::UserKnn(UserUserModel::train(slices(), options)),
            Spec::Slim(options) => Self::Rows(Arc::new(train_slim(slices(), options))),
            Spec::Ease(ridge) => match EaseModel::train(slices(), *ridge) {
                Some(model) => Self::Ease(model),
                None => Self::Rows(Arc::new(train_slim(slices(), &sparse_ease(*ridge)))),
            },
            Spec::Ials(options) => Self::Ials(IalsModel::train(slices(), options, seed)),
            Spec::Filter(_, options) => {
                let spectrum = workshop.spectrum(training, options, seed);
                Self::Filter(GraphFilter::of(spectrum, options))
            }
            Spec::Content => Self::Rows(training.content.clone().ok_or_else(|| {
                LabError::input("content needs --items, a file of item and text")
            })?),
            Spec::Social(options) => Self::Social(SocialModel::train(slices(), options)),
            Spec::Blend(parts) => Self::Blend(
                parts
                    .iter()
                    .map(|(part, weight)| Ok((Self::fit(part, training, seed, workshop)?, *weight)))
                    .collect::<Result<_, LabError>>()?,
            ),
        })
    }

    /// Adds scores to rows of `items` zeros.
    fn add_scores(
        &self,
        asked: &[Asked<'_>],
        items: usize,
        scratch: &mut Scratch,
        rows: &mut [f32],
    ) {
        let each = asked.iter().zip(rows.chunks_exact_mut(items));
        match self {
            Self::Popularity => {}
            Self::Rows(model) => each.for_each(|(asked, row)| {
                scratch.weighted.clear();
                scratch
                    .weighted
                    .extend(asked.history.iter().map(|item| (*item, 1.0)));
                model.score_into(&scratch.weighted, row);
            }),
            Self::UserKnn(model) => each.for_each(|(asked, row)| {
                model.score_into(asked.history, &mut scratch.user, row);
            }),
            Self::Ease(model) => {
                each.for_each(|(asked, row)| model.score_into(asked.history, row));
            }
            Self::Social(model) => each.for_each(|(asked, row)| {
                model.score_into(asked.friends, row);
            }),
            Self::Ials(model) => {
                let histories: Vec<&[ItemIdx]> = asked.iter().map(|it| it.history).collect();
                let panels = model.score_block(&histories, &mut scratch.ials);
                put_panels(panels, model.items(), items, rows);
            }
            Self::Filter(model) => {
                let weighted: Vec<Vec<(ItemIdx, f32)>> = asked
                    .iter()
                    .map(|it| it.history.iter().map(|item| (*item, 1.0)).collect())
                    .collect();
                let histories: Vec<&[(ItemIdx, f32)]> =
                    weighted.iter().map(Vec::as_slice).collect();
                let panels = model.score_block(&histories, &mut scratch.filter);
                put_panels(panels, model.items(), items, rows);
            }
            Self::Blend(parts) => {
                let mut own = std::mem::take(&mut scratch.part);
                for (part, weight) in parts {
                    own.clear();
                    own.resize(rows.len(), 0.0);
                    part.add_scores(asked, items, scratch, &mut own);
                    own.chunks_exact_mut(items).for_each(to_unit_length);
                    add_weighted(rows, &own, *weight);
                }
                scratch.part = own;
            }
        }
    }
}

/// Turns panels of scores into rows; training may have seen fewer items than there are.
fn put_panels(panels: &[Lanes], known: usize, items: usize, rows: &mut [f32]) {
    for (at, row) in rows.chunks_exact_mut(items).enumerate() {
        for (to, from) in row.iter_mut().zip(lane(panels, known, at)) {
            *to = from;
        }
    }
}

pub(crate) fn add_weighted(rows: &mut [f32], own: &[f32], weight: f32) {
    for (row, own) in rows.iter_mut().zip(own) {
        *row += weight * own;
    }
}

/// Scales a vector to length 1; the zero vector stays.
fn to_unit_length(scores: &mut [f32]) {
    let square: f32 = scores.iter().map(|score| score * score).sum();
    if square > 0.0 {
        let by = 1.0 / square.sqrt();
        scores.iter_mut().for_each(|score| *score *= by);
    }
}

impl Workshop {
    /// The eigenvectors of a filter's graph: those kept, if they serve, else new ones.
    fn spectrum(
        &mut self,
        training: &Training,
        options: &recommend_domain::GraphFilterOptions,
        seed: u64,
    ) -> Arc<GraphSpectrum> {
        let dampings = (
            options.activity_damping.to_bits(),
            options.popularity_damping.to_bits(),
        );
        let key = (dampings.0, dampings.1, options.factors);
        if let Some((kept, spectrum)) = &self.spectrum
            && (kept.0, kept.1) == dampings
            && kept.2 >= options.factors
        {
            return Arc::clone(spectrum);
        }
        let spectrum = Arc::new(GraphSpectrum::train(training.slices(), options, seed));
        self.spectrum = Some((key, Arc::clone(&spectrum)));
        spectrum
    }
}
