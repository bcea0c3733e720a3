//! Tables and laws of ranking.

use super::*;
use crate::baskets::BasketOptions;
use crate::catalogue::tests::shelf;
use crate::filter::{Filter, Unlisted};
use crate::item_item::ItemItemOptions;
use crate::popularity::Popularity;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A small shop: cups and pans go together, balls and nets do, and everybody buys cards.
const ROWS: [(&str, &str, i64); 8] = [
    ("cup", "Home/Kitchen", 2_000_000),
    ("pan", "Home/Kitchen", 9_000_000),
    ("pot", "Home/Kitchen", 9_000_000),
    ("lamp", "Home/Light", 5_000_000),
    ("ball", "Sport", 3_000_000),
    ("net", "Sport", 4_000_000),
    ("card", "Paper", 1_000_000),
    ("new", "Paper", 1_000_000),
];

const PEOPLE: [&[&str]; 6] = [
    &["cup", "pan", "card"],
    &["cup", "pan", "pot"],
    &["ball", "net", "card"],
    &["ball", "net"],
    &["cup", "lamp", "card"],
    &["pan", "card"],
];

struct Shop {
    items: Items,
    catalogue: Catalogue,
    similar: ItemItemModel,
    live: LivePairs,
    together: BasketModel,
    popular: PopularityTable,
}

impl Shop {
    fn open() -> Self {
        let (items, catalogue) = shelf(&ROWS);
        let index = |id: &&str| items.get(id).unwrap();
        let people: Vec<Vec<ItemIdx>> = PEOPLE
            .iter()
            .map(|had| had.iter().map(index).collect())
            .collect();
        let mut counts = Popularity::default();
        people
            .iter()
            .flatten()
            .for_each(|item| counts.add(*item, UnixMillis(0), 1_000));
        let rows = || people.iter().map(Vec::as_slice);
        let support_min = 2;
        Self {
            similar: ItemItemModel::train(rows(), &ItemItemOptions::default()),
            live: LivePairs::default(),
            together: BasketModel::train(
                rows(),
                &BasketOptions {
                    support_min,
                    ..BasketOptions::default()
                },
            ),
            popular: PopularityTable::build(&counts, 1, &items, &catalogue),
            items,
            catalogue,
        }
    }

    fn models(&self) -> Models<'_> {
        Models {
            items: &self.items,
            catalogue: &self.catalogue,
            similar: &self.similar,
            live: &self.live,
            together: &self.together,
            popular: &self.popular,
        }
    }

    fn line(&self, id: &str) -> HistoryItem {
        HistoryItem {
            item: self.items.get(id).unwrap(),
            last_at: UnixMillis(0),
            strength: 1.0,
            is_purchased: false,
            is_disliked: false,
        }
    }

    fn ask(
        &self,
        history: &[HistoryItem],
        limit: usize,
        options: &RankOptions,
        filter: &Filter,
    ) -> Ranking {
        let filter = filter.compile(&self.items, &self.catalogue).unwrap();
        let query = Query {
            history,
            filter: &filter,
            limit,
            now: UnixMillis(0),
            key: 7,
            options,
        };
        rank(&query, &self.models(), &mut Scratch::default())
    }

    fn names(&self, ranking: &Ranking) -> Vec<&str> {
        ranking
            .items
            .iter()
            .map(|it| self.items.name(it.item))
            .collect()
    }
}

fn plain() -> RankOptions {
    RankOptions {
        diversity: 0.0,
        exploration: Probability::ZERO,
        ..RankOptions::default()
    }
}

#[test]
fn without_history_the_answer_is_popularity() {
    let shop = Shop::open();
    let ranking = shop.ask(&[], 5, &plain(), &Filter::default());
    // card 4, cup 3, pan 3, ball 2, net 2: ties by identifier.
    assert_eq!(shop.names(&ranking), ["card", "cup", "pan", "ball", "net"]);
    assert!(
        ranking
            .items
            .iter()
            .all(|it| it.reasons == [Reason::Popular])
    );
}

#[test]
fn without_sources_the_answer_is_popular_items_that_are_not_known() {
    let shop = Shop::open();
    let popular = RankOptions {
        sources_max: 0,
        ..plain()
    };
    let ask = |history: &[HistoryItem]| shop.ask(history, 8, &popular, &Filter::default());
    let (strangers, known) = (ask(&[]), ask(&[shop.line("net")]));
    let mut expected = shop.names(&strangers);
    assert!(expected.contains(&"net"));
    expected.retain(|name| *name != "net");
    assert_eq!(shop.names(&known), expected);
    let is_popular = |it: &Ranked| it.reasons == [Reason::Popular];
    assert!(known.items.iter().all(is_popular));
}

#[test]
fn history_brings_its_neighbours_and_says_why() {
    let shop = Shop::open();
    let net = shop.line("net");
    let ranking = shop.ask(&[net], 2, &plain(), &Filter::default());
    assert_eq!(shop.names(&ranking), ["ball", "card"]);
    assert!(
        ranking.items[0]
            .reasons
            .contains(&Reason::SimilarTo(net.item))
    );
    assert!(
        ranking.items[0]
            .reasons
            .contains(&Reason::BoughtTogether(net.item))
    );
    assert_eq!(ranking.items[1].reasons, [Reason::SimilarTo(net.item)]);
}

#[test]
fn recent_history_outweighs_old() {
    let shop = Shop::open();
    let mut history = [shop.line("ball"), shop.line("pan")];
    history[1].last_at = UnixMillis(-365 * 86_400_000);
    assert_eq!(
        shop.names(&shop.ask(&history, 1, &plain(), &Filter::default())),
        ["net"]
    );
    history.swap(0, 1);
    history[0].last_at = UnixMillis(0);
    history[1].last_at = UnixMillis(-365 * 86_400_000);
    assert_eq!(
        shop.names(&shop.ask(&history, 1, &plain(), &Filter::default())),
        ["cup"]
    );
}

#[test]
fn the_seen_policy_decides_what_comes_back() {
    let shop = Shop::open();
    let mut history = [shop.line("net"), shop.line("ball")];
    history[1].is_purchased = true;
    let shown = |seen, history: &[HistoryItem]| {
        let ranking = shop.ask(
            history,
            8,
            &RankOptions { seen, ..plain() },
            &Filter::default(),
        );
        let names = shop.names(&ranking);
        (names.contains(&"net"), names.contains(&"ball"))
    };
    assert_eq!(shown(SeenPolicy::Hide, &history), (false, false));
    assert_eq!(shown(SeenPolicy::HidePurchased, &history), (true, false));
    assert_eq!(shown(SeenPolicy::Show, &history), (true, true));
    history[0].is_disliked = true;
    assert_eq!(shown(SeenPolicy::Show, &history), (false, true));
    let back = shop.ask(
        &[shop.line("lamp")],
        8,
        &RankOptions {
            seen: SeenPolicy::Show,
            ..plain()
        },
        &Filter::default(),
    );
    let lamp = back
        .items
        .iter()
        .find(|it| it.item == shop.line("lamp").item)
        .unwrap();
    assert!(lamp.reasons.contains(&Reason::RecentlyViewed));
}

#[test]
fn filters_and_exclusions_hold_for_candidates_and_backfill() {
    let shop = Shop::open();
    let kitchen = Filter {
        categories: vec![vec!["Home".to_owned()]],
        exclude_ids: vec!["pot".to_owned()],
        ..Filter::default()
    };
    let mut names = shop.ask(&[shop.line("net")], 8, &plain(), &kitchen);
    names.items.sort_by_key(|it| it.item);
    assert_eq!(shop.names(&names), ["cup", "pan", "lamp"]);
}

#[test]
fn live_pairs_reach_the_answer_before_any_training() {
    let mut shop = Shop::open();
    let (new, lamp) = (shop.line("new"), shop.line("lamp"));
    assert_ne!(
        shop.names(&shop.ask(&[new], 1, &plain(), &Filter::default())),
        ["lamp"]
    );
    shop.live.add(&[new.item], lamp.item);
    let ranking = shop.ask(&[new], 1, &plain(), &Filter::default());
    assert_eq!(shop.names(&ranking), ["lamp"]);
    assert_eq!(ranking.items[0].reasons[0], Reason::SimilarTo(new.item));
}

#[test]
fn popular_items_of_a_category_in_the_history_are_candidates() {
    let shop = Shop::open();
    let ranking = shop.ask(&[shop.line("lamp")], 8, &plain(), &Filter::default());
    assert!(!shop.names(&ranking).contains(&"lamp"));
    let ranking = shop.ask(&[shop.line("new")], 1, &plain(), &Filter::default());
    assert_eq!(shop.names(&ranking), ["card"]);
    let paper = shop
        .catalogue
        .category_of_path(&["Paper".to_owned()])
        .unwrap();
    assert_eq!(ranking.items[0].reasons, [Reason::PopularInCategory(paper)]);
}

#[test]
fn diversity_takes_the_next_category_at_the_price_worked_by_hand() {
    let (items, catalogue) = shelf(&[("a", "X", 1), ("b", "X", 1), ("c", "Y", 1)]);
    let index = |id: &str| items.get(id).unwrap();
    let pool = [(1.0, index("a")), (0.9, index("b")), (0.5, index("c"))];
    let order = |diversity| select::diversify(&pool, 3, diversity, &catalogue);
    assert_eq!(order(0.0), [0, 1, 2]);
    assert_eq!(order(0.2), [0, 1, 2]); // b: 0.8 * 0.9 - 0.2 = 0.52, c: 0.8 * 0.5 = 0.40
    assert_eq!(order(0.3), [0, 2, 1]); // b: 0.7 * 0.9 - 0.3 = 0.33, c: 0.7 * 0.5 = 0.35
}

#[test]
fn exploration_draws_each_candidate_as_often_as_it_says() {
    let (items, _) = shelf(&ROWS);
    let pool: Vec<_> = (0..items.len() as u32)
        .map(|at| (1.0 / (at + 1) as f32, ItemIdx(at)))
        .collect();
    let rate = Probability::new(0.4).unwrap();
    let mut last = [0u32; 8];
    for key in 0..20_000 {
        let drawn = select::explore(&pool, vec![0, 1, 2], key, rate);
        last[*drawn.shown.last().unwrap()] += 1;
        assert_eq!(drawn.explored.is_some(), drawn.shown[2] != 2);
    }
    // Six contenders share 0.4: each of the five others 0.0667, the default 0.6667. 5 sd < 350.
    for (at, expected) in [
        (2, 13_333u32),
        (3, 1_333),
        (4, 1_333),
        (5, 1_333),
        (6, 1_333),
        (7, 1_333),
    ] {
        assert!(last[at].abs_diff(expected) < 350, "{at}: {}", last[at]);
    }
}

#[test]
fn equal_scores_keep_one_order_whatever_the_numbering() {
    let run = |ids: [&str; 4]| {
        let rows = ids.map(|id| (id, "", 1));
        let (items, catalogue) = shelf(&rows);
        let popular = PopularityTable::build(&Popularity::default(), 1, &items, &catalogue);
        let models = Models {
            items: &items,
            catalogue: &catalogue,
            similar: &ItemItemModel::default(),
            live: &LivePairs::default(),
            together: &BasketModel::default(),
            popular: &popular,
        };
        let filter = Filter::default().compile(&items, &catalogue).unwrap();
        let options = plain();
        let query = Query {
            history: &[],
            filter: &filter,
            limit: 4,
            now: UnixMillis(0),
            key: 1,
            options: &options,
        };
        let ranking = rank(&query, &models, &mut Scratch::default());
        ranking
            .items
            .iter()
            .map(|it| items.name(it.item).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(run(["d", "b", "a", "c"]), ["a", "b", "c", "d"]);
    assert_eq!(run(["a", "b", "c", "d"]), ["a", "b", "c", "d"]);
}

#[test]
fn options_name_every_bad_field() {
    let options = RankOptions {
        recency_half_life_ms: 0,
        recency_floor: 2.0,
        diversity: f32::NAN,
        popular_weight: -1.0,
        ..RankOptions::default()
    };
    let fields: Vec<_> = options
        .validate()
        .unwrap_err()
        .into_iter()
        .map(|bad| bad.field)
        .collect();
    assert_eq!(
        fields,
        [
            "recency_half_life_ms",
            "recency_floor",
            "diversity",
            "popular_weight"
        ]
    );
    assert_eq!(RankOptions::default().validate(), Ok(()));
}

proptest! {
    #[test]
    fn answers_keep_their_bounds_and_never_depend_on_used_scratch(
        had in prop::collection::btree_set(0usize..8, 0..6),
        limit in 0usize..12,
        key: u64,
        diversity in 0.0f32..1.0,
        rate in 0.0f64..1.0,
        excluded in 0usize..8,
    ) {
        let shop = Shop::open();
        let history: Vec<_> = had.iter().map(|at| shop.line(ROWS[*at].0)).collect();
        let filter = Filter {
            exclude_ids: vec![ROWS[excluded].0.to_owned()],
            unlisted: Unlisted::Allow,
            ..Filter::default()
        };
        let filter = filter.compile(&shop.items, &shop.catalogue).unwrap();
        let options = RankOptions { diversity, exploration: Probability::saturating(rate), ..RankOptions::default() };
        let query = Query { history: &history, filter: &filter, limit, now: UnixMillis(5), key, options: &options };
        let mut used = Scratch::default();
        let other = Query { history: &[], key: key ^ 1, ..query };
        let _ = rank(&other, &shop.models(), &mut used);
        let ranking = rank(&query, &shop.models(), &mut used);
        prop_assert_eq!(&ranking, &rank(&query, &shop.models(), &mut Scratch::default()));

        let shown: BTreeSet<_> = ranking.items.iter().map(|it| it.item).collect();
        prop_assert_eq!(shown.len(), ranking.items.len());
        let mut hidden: BTreeSet<_> = history.iter().map(|line| line.item).collect();
        hidden.insert(shop.items.get(ROWS[excluded].0).unwrap());
        prop_assert_eq!(shown.len(), limit.min(8 - hidden.len()));
        prop_assert!(shown.is_disjoint(&hidden));
        prop_assert!(ranking.items.iter().all(|it| (1..=REASONS_MAX).contains(&it.reasons.len())));

        prop_assert!(ranking.candidates.len() <= CANDIDATES_MAX);
        let logged = ranking.candidates.iter().filter(|it| it.is_shown).map(|it| it.item);
        prop_assert_eq!(logged.collect::<Vec<_>>(), ranking.items.iter().map(|it| it.item).collect::<Vec<_>>());
        let sum: f64 = ranking.candidates.iter().map(|it| it.propensity.get()).sum();
        prop_assert!((sum - shown.len() as f64).abs() < 1e-9);
    }
}
