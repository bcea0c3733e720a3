//! What is tried: every family once, then family by family one setting after the other, the best kept.

use recommend_domain::{
    EASE_ITEMS_MAX, EASE_RIDGE, GraphFilterOptions, IalsOptions, ItemItemOptions, SlimOptions,
    UserUserOptions,
};

use super::Search;
use crate::recommend::spec::Spec;

/// A way to recommend, and where the search for its settings begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    ItemKnn,
    /// EASE where it fits, else the sparse way to the same end.
    Linear,
    Filter,
    UserKnn,
    Ials,
}

impl Family {
    /// The families, cheap ones first; `loadable`: only those that the services can load.
    pub(super) fn all(loadable: bool) -> &'static [Self] {
        const ALL: [Family; 5] = [
            Family::ItemKnn,
            Family::Linear,
            Family::Filter,
            Family::UserKnn,
            Family::Ials,
        ];
        if loadable { &ALL[..3] } else { &ALL }
    }

    /// Whether a recommender is one of this family's.
    pub(super) fn has(self, spec: &Spec) -> bool {
        match spec {
            Spec::ItemKnn(_) => self == Self::ItemKnn,
            Spec::Ease(_) | Spec::Slim(_) => self == Self::Linear,
            Spec::Filter(..) => self == Self::Filter,
            Spec::UserKnn(_) => self == Self::UserKnn,
            Spec::Ials(_) => self == Self::Ials,
            Spec::Popularity | Spec::Content | Spec::Social(_) | Spec::Blend(_) => false,
        }
    }

    /// The settings to begin with: published or usual ones.
    pub(super) fn first(self, items: usize) -> Spec {
        match self {
            Self::ItemKnn => Spec::ItemKnn(first_item_knn()),
            Self::Linear if items <= EASE_ITEMS_MAX => Spec::Ease(EASE_RIDGE),
            Self::Linear => Spec::Slim(SlimOptions::default()),
            Self::Filter => bspm(GraphFilterOptions::bspm()),
            Self::UserKnn => Spec::UserKnn(UserUserOptions::default()),
            Self::Ials => Spec::Ials(IalsOptions::default()),
        }
    }

    /// Tries other settings around the first.
    pub(super) fn refine(self, search: &mut Search<'_>) {
        match self {
            Self::ItemKnn => refine_item_knn(search),
            Self::Linear => refine_linear(search),
            Self::Filter => refine_filter(search),
            Self::UserKnn => refine_user_knn(search),
            Self::Ials => refine_ials(search),
        }
    }
}

fn first_item_knn() -> ItemItemOptions {
    ItemItemOptions {
        neighbours: 200,
        ..ItemItemOptions::default()
    }
}

fn bspm(it: GraphFilterOptions) -> Spec {
    Spec::Filter("bspm", it)
}

fn refine_item_knn(search: &mut Search<'_>) {
    let mut it = first_item_knn();
    let dampings = [0.0, 0.1, 0.2, 0.4, 0.5, 0.6].into_iter();
    it = search.best_of(
        it,
        dampings.map(|popularity_damping| ItemItemOptions {
            popularity_damping,
            ..it
        }),
        Spec::ItemKnn,
    );
    let dampings = [0.2, 0.4, 0.8, 1.0].into_iter();
    it = search.best_of(
        it,
        dampings.map(|activity_damping| ItemItemOptions {
            activity_damping,
            ..it
        }),
        Spec::ItemKnn,
    );
    let shrinkages = [0.0, 3.0, 10.0].into_iter();
    it = search.best_of(
        it,
        shrinkages.map(|shrinkage| ItemItemOptions { shrinkage, ..it }),
        Spec::ItemKnn,
    );
    let neighbours = [50, 100, 400].into_iter();
    search.best_of(
        it,
        neighbours.map(|neighbours| ItemItemOptions { neighbours, ..it }),
        Spec::ItemKnn,
    );
}

fn refine_user_knn(search: &mut Search<'_>) {
    let mut it = UserUserOptions::default();
    let dampings = [0.1, 0.2, 0.4, 0.5, 0.6].into_iter();
    it = search.best_of(
        it,
        dampings.map(|popularity_damping| UserUserOptions {
            popularity_damping,
            ..it
        }),
        Spec::UserKnn,
    );
    let dampings = [0.3, 0.45, 0.8].into_iter();
    it = search.best_of(
        it,
        dampings.map(|activity_damping| UserUserOptions {
            activity_damping,
            ..it
        }),
        Spec::UserKnn,
    );
    let neighbours = [50, 100, 400, 1_000].into_iter();
    search.best_of(
        it,
        neighbours.map(|neighbours| UserUserOptions { neighbours, ..it }),
        Spec::UserKnn,
    );
}

fn refine_linear(search: &mut Search<'_>) {
    if search.validation.training.items.len() <= EASE_ITEMS_MAX {
        let ridges = [10.0, 30.0, 300.0, 1_000.0, 3_000.0].into_iter();
        search.best_of(EASE_RIDGE, ridges, Spec::Ease);
        return;
    }
    let it = SlimOptions::default();
    let dampings = [0.3, 0.6].into_iter();
    let it = search.best_of(
        it,
        dampings.map(|activity_damping| SlimOptions {
            activity_damping,
            ..it
        }),
        Spec::Slim,
    );
    let ridges = [3.0, 30.0].into_iter();
    search.best_of(
        it,
        ridges.map(|regularisation| SlimOptions {
            regularisation,
            ..it
        }),
        Spec::Slim,
    );
}

/// From the published settings of both filters, first what one set of eigenvectors serves.
fn refine_filter(search: &mut Search<'_>) {
    let mut it = GraphFilterOptions::bspm();
    let blurred = [0.0, 1.2, 1.8].into_iter();
    it = search.best_of(
        it,
        blurred.map(|sharpening| GraphFilterOptions { sharpening, ..it }),
        bspm,
    );
    let weights = [0.1, 0.35, 0.6].into_iter();
    it = search.best_of(
        it,
        weights.map(|ideal_weight| GraphFilterOptions { ideal_weight, ..it }),
        bspm,
    );
    let leans = [-0.1, 0.1, 0.2].into_iter();
    it = search.best_of(
        it,
        leans.map(|lean| GraphFilterOptions { lean, ..it }),
        bspm,
    );
    let factors = [128, 256].into_iter();
    it = search.best_of(
        it,
        factors.map(|factors| GraphFilterOptions { factors, ..it }),
        bspm,
    );
    let dampings = [0.3, 0.4].into_iter();
    it = search.best_of(
        it,
        dampings.map(|activity_damping| GraphFilterOptions {
            activity_damping,
            ..it
        }),
        bspm,
    );
    let dampings = [0.4, 0.6].into_iter();
    search.best_of(
        it,
        dampings.map(|popularity_damping| GraphFilterOptions {
            popularity_damping,
            ..it
        }),
        bspm,
    );
}

fn refine_ials(search: &mut Search<'_>) {
    let mut it = IalsOptions::default();
    let weights = [0.1, 0.03, 0.003].into_iter();
    it = search.best_of(
        it,
        weights.map(|unobserved_weight| IalsOptions {
            unobserved_weight,
            ..it
        }),
        Spec::Ials,
    );
    let weights = [0.003, 0.03].into_iter();
    search.best_of(
        it,
        weights.map(|regularisation| IalsOptions {
            regularisation,
            ..it
        }),
        Spec::Ials,
    );
}

/// Weightings of up to six parts, the best single one first: it gets at least two fifths, in fifths;
/// those that are one part alone were tried already.
pub(super) fn mixes(parts: usize) -> Vec<Vec<f32>> {
    const STEPS: usize = 5;
    let mut all = Vec::new();
    let mut mix = vec![0usize; parts];
    fill(&mut mix, 0, STEPS, &mut all);
    all.retain(|mix| mix[0] >= 2 && mix[0] < STEPS);
    all.into_iter()
        .map(|mix| mix.iter().map(|it| *it as f32 / STEPS as f32).collect())
        .collect()
}

/// Every way to share `left` steps among the parts from `at` on.
fn fill(mix: &mut Vec<usize>, at: usize, left: usize, all: &mut Vec<Vec<usize>>) {
    if at + 1 == mix.len() {
        mix[at] = left;
        all.push(mix.clone());
        return;
    }
    for some in (0..=left).rev() {
        mix[at] = some;
        fill(mix, at + 1, left - some, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_share_everything_and_lean_on_the_first() {
        assert_eq!(mixes(2), [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6]]);
        let four = mixes(4);
        assert!(
            four.iter()
                .all(|mix| (mix.iter().sum::<f32>() - 1.0).abs() < 1e-6)
        );
        assert_eq!(four.len(), 3 + 6 + 10);
    }
}
