//! Names and settings: what a recommender is before it is fitted.

use std::fmt;

use recommend_domain::{
    EASE_RIDGE, GraphFilterOptions, IalsOptions, ItemItemOptions, SlimOptions, SocialOptions,
    UserUserOptions,
};

/// A recommender with all its settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Spec {
    Popularity,
    ItemKnn(ItemItemOptions),
    UserKnn(UserUserOptions),
    Ease(f32),
    Slim(SlimOptions),
    Ials(IalsOptions),
    /// Under the name that its settings began as.
    Filter(&'static str, GraphFilterOptions),
    /// Neighbours by the text of items.
    Content,
    /// What friends have.
    Social(SocialOptions),
    /// Weighted scores, each scaled to length 1.
    Blend(Vec<(Spec, f32)>),
}

impl Spec {
    /// Returns the settings of an algorithm's name without any choosing; `None` for `auto`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "popularity" => Self::Popularity,
            "user-knn" => Self::UserKnn(UserUserOptions::default()),
            "item-knn" => Self::ItemKnn(ItemItemOptions::default()),
            "ease" => Self::Ease(EASE_RIDGE),
            "slim" => Self::Slim(SlimOptions::default()),
            "ials" => Self::Ials(IalsOptions::default()),
            "gf-cf" => Self::Filter("gf-cf", GraphFilterOptions::gf_cf()),
            "bspm" => Self::Filter("bspm", GraphFilterOptions::bspm()),
            "content" => Self::Content,
            "social" => Self::Social(SocialOptions::default()),
            _ => return None,
        })
    }

    /// Returns whether the services can load the model: item-item weights, or none.
    pub(crate) fn is_loadable(&self) -> bool {
        match self {
            Self::Popularity
            | Self::ItemKnn(_)
            | Self::Ease(_)
            | Self::Slim(_)
            | Self::Filter(..)
            | Self::Content => true,
            Self::UserKnn(_) | Self::Ials(_) | Self::Social(_) | Self::Blend(_) => false,
        }
    }

    /// Returns the recommenders that are blended: itself if it is no blend.
    pub(crate) fn parts(&self) -> Vec<(Self, f32)> {
        if let Self::Blend(parts) = self {
            parts.clone()
        } else {
            vec![(self.clone(), 1.0)]
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
            Self::Ease(ridge) => write!(f, "ease(regularisation {ridge})"),
            Self::Slim(it) => write!(
                f,
                "slim(support {}, regularisation {}, activity_damping {})",
                it.support, it.regularisation, it.activity_damping
            ),
            Self::Ials(it) => write!(
                f,
                "ials(factors {}, unobserved_weight {}, regularisation {}, epochs {})",
                it.factors, it.unobserved_weight, it.regularisation, it.epochs
            ),
            Self::Filter(name, it) => write!(
                f,
                "{name}(factors {}, ideal_weight {}, sharpening {}, activity_damping {}, \
                 popularity_damping {}, lean {}, ideal_lean {})",
                it.factors,
                it.ideal_weight,
                it.sharpening,
                it.activity_damping,
                it.popularity_damping,
                it.lean,
                it.ideal_lean
            ),
            Self::Content => f.write_str("content"),
            Self::Social(it) => write!(f, "social(activity_damping {})", it.activity_damping),
            Self::Blend(parts) => {
                for (at, (part, weight)) in parts.iter().enumerate() {
                    let plus = if at == 0 { "" } else { " + " };
                    write!(f, "{plus}{weight} * {part}")?;
                }
                Ok(())
            }
        }
    }
}
