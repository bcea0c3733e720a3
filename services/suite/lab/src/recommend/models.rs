//! The recommenders that the laboratory compares, behind one way to be fitted and to score.

use std::fmt;

use rapport_types::UnixMillis;
use recommend_domain::{
    BasketModel, ItemIdx, ItemItemModel, ItemItemOptions, Items, TrainedModels, UserUserModel,
    UserUserOptions, UserUserScratch,
};

use super::data::Training;
use super::metrics::MASKED;
use crate::error::LabError;

/// Weight of popularity where a model says nothing: far below any score of a neighbour, so that the
/// rest of a list is what is popular, as in serving.
const FALLBACK: f32 = 1.0 / (1u32 << 30) as f32;

/// A recommender with all its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Spec {
    Popularity,
    ItemKnn(ItemItemOptions),
    UserKnn(UserUserOptions),
    /// Both neighbourhoods, each scaled to length 1; `user_share` of the second.
    Blend {
        item: ItemItemOptions,
        user: UserUserOptions,
        user_share: f32,
    },
}

impl Spec {
    /// Returns the settings of an algorithm's name without any choosing; `None` for `auto`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "popularity" => Some(Self::Popularity),
            "user-knn" => Some(Self::UserKnn(UserUserOptions::default())),
            "item-knn" => Some(Self::ItemKnn(ItemItemOptions::default())),
            _ => None,
        }
    }

    /// Returns whether the services can load the model.
    pub(crate) fn is_loadable(&self) -> bool {
        match self {
            Self::Popularity | Self::ItemKnn(_) => true,
            Self::UserKnn(_) | Self::Blend { .. } => false,
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Popularity => f.write_str("popularity"),
            Self::ItemKnn(it) => write!(
                f,
                "item-knn(neighbours {}, shrinkage {}, popularity_damping {}, activity_damping {})",
                it.neighbours, it.shrinkage, it.popularity_damping, it.activity_damping
            ),
            Self::UserKnn(it) => write!(
                f,
                "user-knn(neighbours {}, popularity_damping {}, activity_damping {})",
                it.neighbours, it.popularity_damping, it.activity_damping
            ),
            Self::Blend {
                item,
                user,
                user_share,
            } => {
                write!(
                    f,
                    "{} + {user_share} * {}",
                    Self::ItemKnn(*item),
                    Self::UserKnn(*user)
                )
            }
        }
    }
}

/// A fitted recommender.
#[derive(Debug)]
pub(crate) struct Model {
    parts: Parts,
    /// What every item scores before the model speaks; below 0, more popular ones higher.
    base: Vec<f32>,
}

#[derive(Debug)]
enum Parts {
    Popularity,
    ItemKnn(ItemItemModel),
    UserKnn(UserUserModel),
    Blend {
        item: ItemItemModel,
        user: UserUserModel,
        user_share: f32,
    },
}

/// What one thread needs to score.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    weighted: Vec<(ItemIdx, f32)>,
    user: UserUserScratch,
    second: Vec<f32>,
}

impl Model {
    pub(crate) fn fit(spec: &Spec, training: &Training) -> Self {
        let item_model = |options| ItemItemModel::train(training.slices(), options);
        let user_model = |options| UserUserModel::train(training.slices(), options);
        let parts = match spec {
            Spec::Popularity => Parts::Popularity,
            Spec::ItemKnn(options) => Parts::ItemKnn(item_model(options)),
            Spec::UserKnn(options) => Parts::UserKnn(user_model(options)),
            Spec::Blend {
                item,
                user,
                user_share,
            } => Parts::Blend {
                item: item_model(item),
                user: user_model(user),
                user_share: *user_share,
            },
        };
        let base = |count: u32| -FALLBACK / (1.0 + count as f32);
        Self {
            parts,
            base: training.item_counts().into_iter().map(base).collect(),
        }
    }

    /// Scores the whole catalogue for a history, and masks the history's own items.
    pub(crate) fn score(&self, history: &[ItemIdx], scratch: &mut Scratch, scores: &mut Vec<f32>) {
        scores.clear();
        scores.extend_from_slice(&self.base);
        let Scratch {
            weighted,
            user: user_scratch,
            second,
        } = scratch;
        weighted.clear();
        weighted.extend(history.iter().map(|item| (*item, 1.0)));
        match &self.parts {
            Parts::Popularity => {}
            Parts::ItemKnn(model) => model.score_into(weighted, scores),
            Parts::UserKnn(model) => model.score_into(history, user_scratch, scores),
            Parts::Blend {
                item,
                user,
                user_share,
            } => {
                item.score_into(weighted, scores);
                second.clear();
                second.resize(scores.len(), 0.0);
                user.score_into(history, user_scratch, second);
                let (of_items, of_users) = (length(scores), length(second));
                for (score, other) in scores.iter_mut().zip(second.iter()) {
                    *score = (1.0 - user_share) * *score / of_items + user_share * other / of_users;
                }
            }
        }
        for item in history {
            scores[item.at()] = MASKED;
        }
    }

    /// Writes the file that the recommend service loads.
    pub(crate) fn to_bytes(&self, training: &Training) -> Result<Vec<u8>, LabError> {
        let mut items = Items::default();
        for id in &training.items {
            let interned = items.intern(id);
            interned.map_err(|error| LabError::input(format!("--save: item {id:?}: {error}")))?;
        }
        let similar = match &self.parts {
            Parts::Popularity => ItemItemModel::default(), // without neighbours serving shows what is popular
            Parts::ItemKnn(model) => model.clone(),
            Parts::UserKnn(_) | Parts::Blend { .. } => {
                return Err(LabError::input(
                    "--save: the services load item-knn or popularity; name one with --algorithm",
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

/// The length of a vector, 1 for the zero vector.
fn length(scores: &[f32]) -> f32 {
    let square: f32 = scores.iter().map(|score| score * score).sum();
    if square > 0.0 { square.sqrt() } else { 1.0 }
}
