//! One number per hot function, on a synthetic shop of Gowalla's size: 29,858 people, 40,981 items,
//! about 810,000 pairs with a long tail. Target: one `rank` well below 1 ms on one core, which leaves
//! the 5 ms of `Recommend` at 1,000/s to the rest of the call.

#![expect(clippy::unwrap_used, reason = "benches")]

use criterion::{Criterion, criterion_group, criterion_main};
use rapport_types::UnixMillis;
use recommend_domain::{
    BasketModel, Catalogue, Filter, Interaction, ItemIdx, ItemItemModel, ItemItemOptions, Items,
    Kind, LivePairs, Models, Popularity, PopularityTable, Query, RankOptions, Scratch, Timeline,
    Unlisted, order_key, rank,
};
use std::hint::black_box;

const PEOPLE: usize = 29_858;
const ITEMS: u64 = 40_981;
const PER_PERSON: usize = 27;

/// A small generator of its own, so that the input never changes with a dependency.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Half of a person's items come from a neighbourhood of their own, half from everybody's long tail.
fn histories() -> Vec<Vec<ItemIdx>> {
    let mut random = Random(1);
    (0..PEOPLE)
        .map(|_| {
            let home = random.unit();
            let length = 5 + (random.unit().powi(3) * 4.0 * (PER_PERSON - 5) as f64) as usize;
            (0..length)
                .map(|at| {
                    let place = if at % 2 == 0 {
                        home + random.unit() * 0.005
                    } else {
                        random.unit().powi(3)
                    };
                    ItemIdx(((place % 1.0) * ITEMS as f64) as u32)
                })
                .collect()
        })
        .collect()
}

fn timeline(history: &[ItemIdx]) -> Timeline {
    let mut timeline = Timeline::default();
    for (at, item) in history.iter().enumerate() {
        timeline.insert(Interaction {
            item: *item,
            kind: Kind::Purchase,
            occurred_at: UnixMillis(at as i64),
            weight_milli: 1_000,
            order: order_key(0, at as u64, 0),
        });
    }
    timeline
}

fn items() -> Items {
    let mut items = Items::default();
    (0..ITEMS).for_each(|item| {
        items.intern(&format!("place-{item}")).unwrap();
    });
    items
}

fn benches(criterion: &mut Criterion) {
    let histories = histories();
    let train = || {
        ItemItemModel::train(
            histories.iter().map(Vec::as_slice),
            &ItemItemOptions::default(),
        )
    };
    let items = items();
    let catalogue = Catalogue::default();
    let mut counts = Popularity::default();
    histories
        .iter()
        .flatten()
        .for_each(|item| counts.add(*item, UnixMillis(0), 1_000));
    let popular = PopularityTable::build(&counts, 1, &items, &catalogue);
    let (similar, live, together) = (train(), LivePairs::default(), BasketModel::default());
    let models = Models {
        items: &items,
        catalogue: &catalogue,
        similar: &similar,
        live: &live,
        together: &together,
        popular: &popular,
    };
    let filter = Filter {
        unlisted: Unlisted::Allow,
        ..Filter::default()
    };
    let filter = filter.compile(&items, &catalogue).unwrap();
    let options = RankOptions::default();
    let timelines: Vec<_> = histories
        .iter()
        .take(1_000)
        .map(|history| timeline(history))
        .collect();
    let mut scratch = Scratch::default();

    criterion.bench_function(
        "rank_20_of_40981_items_history_27_neighbours_100",
        |bench| {
            let folded: Vec<_> = timelines.iter().map(Timeline::history).collect();
            let mut key = 0;
            bench.iter(|| {
                key += 1;
                let history = &folded[key as usize % folded.len()];
                let query = Query {
                    history,
                    filter: &filter,
                    limit: 20,
                    now: UnixMillis(0),
                    key,
                    options: &options,
                };
                black_box(rank(&query, &models, &mut scratch))
            });
        },
    );
    criterion.bench_function("history_of_27_interactions", |bench| {
        let mut at = 0;
        bench.iter(|| {
            at += 1;
            black_box(timelines[at % timelines.len()].history())
        });
    });
    criterion.bench_function("train_item_item_29858_people_810000_pairs", |bench| {
        bench.iter(train)
    });
}

criterion_group! {
    name = recommend;
    config = Criterion::default().sample_size(10);
    targets = benches
}
criterion_main!(recommend);
