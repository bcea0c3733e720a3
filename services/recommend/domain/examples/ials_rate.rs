//! What iALS costs per epoch and where its loss stands then, for `make bench-recommend`.
//!
//! `ials_rate FACTORS UNOBSERVED_WEIGHT REGULARISATION EPOCHS` reads pairs of two numbers a line, user
//! and item, ascending by user, from standard input, and prints a line per number of epochs: epochs,
//! CPU-seconds of a training of that many, loss. Regularisation is the same for all, as the rival's.

#![expect(clippy::print_stdout, reason = "the answer")]
#![expect(clippy::unwrap_used, reason = "a malformed call may end in a panic")]

use std::io::BufRead as _;

use recommend_domain::{IalsModel, IalsOptions, ItemIdx};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| -> f32 { words[at].parse().unwrap() };
    let mut histories: Vec<Vec<ItemIdx>> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (user, item) = line.split_once(' ').unwrap();
        let user: usize = user.parse().unwrap();
        histories.resize(histories.len().max(user + 1), Vec::new());
        histories[user].push(ItemIdx(item.parse().unwrap()));
    }
    for epochs in 1..=number(3) as usize {
        let options = IalsOptions {
            factors: number(0) as usize,
            unobserved_weight: number(1),
            regularisation: number(2),
            frequency_exponent: 0.0,
            epochs,
        };
        let before = cpu_seconds();
        let model = IalsModel::train(histories.iter().map(Vec::as_slice), &options, 0);
        let seconds = cpu_seconds() - before;
        println!("{epochs} {seconds} {}", model.epochs_loss()[epochs - 1]);
    }
}

/// User and system time of all threads, in hundredths of a second, as Linux counts.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| -> f64 { fields[at].parse().unwrap() };
    (ticks(11) + ticks(12)) / 100.0
}
