//! One number per hot function, on a synthetic shop of CDNOW's size. Targets: a forecast of one person
//! well below 1 ms, so that a page of them costs less than the call; a fit of 2,357 customers below 50 ms.

#![expect(clippy::unwrap_used, reason = "benches")]

use criterion::{Criterion, criterion_group, criterion_main};
use profile_domain::clv::{BgNbd, ClvModel, Customer, History};
use std::hint::black_box;

/// A small generator of its own, so that the input never changes with a dependency.
struct Random(u64);

impl Random {
    /// A wait of a mean length.
    fn wait(&mut self, mean: f64) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        -mean * (((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64).ln()
    }
}

/// Customers known for 27 to 39 weeks, to the day, of whom four in ten buy again.
fn customers(count: u32) -> Vec<Customer> {
    let mut random = Random(1);
    let one = |n: u32| {
        let age = f64::from(189 + n % 85) / 7.0;
        let gap = [3.0, 12.0, 60.0, 300.0, 900.0][n as usize % 5];
        let (mut days, mut at, mut spent) = (vec![0i64], 0.0, 0.0);
        loop {
            at += random.wait(gap);
            let day = (at * 7.0).ceil() as i64;
            if at > age || random.wait(4.0) < 1.0 {
                break;
            }
            if days.last() != Some(&day) {
                days.push(day);
                spent += random.wait(30.0);
            }
        }
        let now = (age * 7.0).ceil() as i64;
        Customer {
            history: History::of_days(&days, now).unwrap(),
            mean_spend: spent / days.len().saturating_sub(1).max(1) as f64,
        }
    };
    (0..count).map(one).collect()
}

fn benches(criterion: &mut Criterion) {
    let known = customers(2_357);
    criterion.bench_function("fit_2357_customers", |bench| {
        bench.iter(|| ClvModel::fit(black_box(&known)).unwrap());
    });
    let model = ClvModel::fit(&known).unwrap();
    let published = BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap();
    let mut at = 0;
    criterion.bench_function("expected_purchases_39_weeks", |bench| {
        bench.iter(|| {
            at = (at + 1) % known.len();
            published.expected_purchases(&known[at].history, black_box(39.0))
        });
    });
    criterion.bench_function("forecast_52_weeks_discounted", |bench| {
        bench.iter(|| {
            at = (at + 1) % known.len();
            model.forecast(&known[at], black_box(52.0), 0.1)
        });
    });
}

criterion_group! {
    name = clv;
    config = Criterion::default().sample_size(20);
    targets = benches
}
criterion_main!(clv);
