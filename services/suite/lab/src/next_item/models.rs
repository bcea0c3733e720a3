//! The session models that the laboratory compares, behind one way to be fitted.

use std::fmt;

use recommend_domain::{
    AttentionModel, AttentionOptions, BlendModel, BlendOptions, MarkovModel, MarkovOptions,
    SessionItemKnn, SessionItemKnnOptions, SessionModel, SessionPopularity, Sessions, StanModel,
    StanOptions, VmisModel, VmisOptions,
};

/// A session model with all its settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Spec {
    Popularity,
    ItemKnn(SessionItemKnnOptions),
    Markov(MarkovOptions),
    Vmis(VmisOptions),
    Stan(StanOptions),
    Attention(AttentionOptions),
    /// Models with their shares.
    Blend(Vec<(f32, Spec)>, BlendOptions),
}

impl Spec {
    /// Returns the settings of an algorithm's name without any choosing; `None` for `auto`.
    pub(crate) fn named(name: &str, seed: u64) -> Option<Self> {
        match name {
            "popularity" => Some(Self::Popularity),
            "item-knn" => Some(Self::ItemKnn(SessionItemKnnOptions::default())),
            "markov" => Some(Self::Markov(MarkovOptions::default())),
            "vmis" => Some(Self::Vmis(VmisOptions::default())),
            "v-stan" => Some(Self::Stan(StanOptions::default())),
            "attention" => Some(Self::Attention(AttentionOptions {
                seed,
                ..AttentionOptions::default()
            })),
            _ => None,
        }
    }

    /// Fits the model; popularity where another cannot be fitted.
    pub(crate) fn fit(&self, sessions: &Sessions) -> Box<dyn SessionModel> {
        match self {
            Self::Popularity => Box::new(SessionPopularity::train(sessions, 0.0)),
            Self::ItemKnn(options) => Box::new(SessionItemKnn::train(sessions, options)),
            Self::Markov(options) => Box::new(MarkovModel::train(sessions, options)),
            Self::Vmis(options) => Box::new(VmisModel::train(sessions, options)),
            Self::Stan(options) => Box::new(StanModel::train(sessions, options)),
            Self::Attention(options) => match AttentionModel::train(sessions, options) {
                Some(model) => Box::new(model),
                None => Self::Popularity.fit(sessions),
            },
            Self::Blend(parts, options) => {
                let parts = parts
                    .iter()
                    .map(|(weight, spec)| (*weight, spec.fit(sessions)));
                Box::new(BlendModel::new(parts.collect(), options, sessions.items()))
            }
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Popularity => f.write_str("popularity"),
            Self::ItemKnn(it) => write!(f, "item-knn(position_decay {})", it.position_decay),
            Self::Markov(it) => write!(
                f,
                "markov(reach {}, position_decay {}, age_rate {})",
                it.reach, it.position_decay, it.age_rate
            ),
            Self::Vmis(it) => write!(
                f,
                "vmis(window {}, sample {}, neighbours {}, repeat {})",
                it.window, it.sample, it.neighbours, it.repeat
            ),
            Self::Stan(it) => write!(
                f,
                "v-stan(window {}, sample {}, neighbours {}, position_decay {}, rarity {}, \
                 length_damping {}, age_rate {}, match_decay {}, distance_decay {}, backward {}, \
                 popularity_damping {}, repeat {}, revisit {})",
                it.window,
                it.sample,
                it.neighbours,
                it.position_decay,
                it.rarity,
                it.length_damping,
                it.age_rate,
                it.match_decay,
                it.distance_decay,
                it.backward,
                it.popularity_damping,
                it.repeat,
                it.revisit
            ),
            Self::Attention(it) => write!(
                f,
                "attention(width {}, epochs {}, rivals {}, dropout {}, temperature {}, age_rate {})",
                it.width, it.epochs, it.rivals, it.dropout, it.temperature, it.age_rate
            ),
            Self::Blend(parts, options) => {
                for (at, (weight, spec)) in parts.iter().enumerate() {
                    let plus = if at > 0 { " + " } else { "" };
                    write!(f, "{plus}{weight} * {spec}")?;
                }
                write!(
                    f,
                    ", repeat {}, revisit {}",
                    options.repeat, options.revisit
                )
            }
        }
    }
}
