//! Neighbours by what is written about items: for catalogues younger than their histories.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::distil::model_of;
use crate::incidence::{Rows, keep_first};
use crate::item_item::{ItemItemModel, NEIGHBOURS_MAX, Neighbour};
use crate::items::ItemIdx;

/// Most distinct words of one item that count: its first.
pub const CONTENT_WORDS_MAX: usize = 1_000;
/// A word that more items than this share says nothing worth its cost, which is quadratic.
pub const CONTENT_SPREAD_MAX: usize = 20_000;
/// Items of one parallel task. Fixed: the split must not depend on the machine.
const CHUNK: usize = 64;

/// Trains item-item neighbours from words: `words[item]`, normalised, in order, with repeats.
///
/// * `score(i -> j)` is the cosine of their vectors, in which a word weighs
///   `(1 + ln count) * ln(1 + items / items with it)`; at most `neighbours`, clamped to
///   [`NEIGHBOURS_MAX`], equal scores by index.
/// * Source: Salton and Buckley, "Term-weighting approaches in automatic text retrieval", Information
///   Processing and Management 24(5), 1988.
/// * Cost: for every word the square of its items, over all threads. Memory: 16 bytes per word of an
///   item. The same bytes for any number of threads.
#[must_use]
pub fn train_content(words: &[Vec<String>], neighbours: usize) -> ItemItemModel {
    let (vectors, postings) = index(words);
    let keep = neighbours.clamp(1, NEIGHBOURS_MAX);
    let parts: Vec<Vec<Vec<Neighbour>>> = (0..words.len().div_ceil(CHUNK))
        .into_par_iter()
        .map_init(
            || vec![0.0f32; words.len()],
            |sums, chunk| {
                let last = ((chunk + 1) * CHUNK).min(words.len());
                (chunk * CHUNK..last)
                    .map(|item| nearest(item, &vectors[item], &postings, sums, keep))
                    .collect()
            },
        )
        .collect();
    let rows: Rows<Neighbour> = parts.into_iter().flatten().collect();
    model_of(rows, vec![0; words.len()])
}

/// Per item its words and weights, and per word its items and weights.
type Index = (Vec<Vec<(u32, f32)>>, Vec<Vec<(u32, f32)>>);

fn index(words: &[Vec<String>]) -> Index {
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    let counted: Vec<BTreeMap<u32, u32>> = words
        .iter()
        .map(|list| {
            let mut counts = BTreeMap::new();
            for word in list {
                let next = numbers.len() as u32;
                let number = *numbers.entry(word).or_insert(next);
                if counts.len() < CONTENT_WORDS_MAX || counts.contains_key(&number) {
                    *counts.entry(number).or_insert(0) += 1;
                }
            }
            counts
        })
        .collect();
    let mut spread = vec![0u32; numbers.len()];
    for word in counted.iter().flat_map(BTreeMap::keys) {
        spread[*word as usize] += 1;
    }
    let rarity = |word: u32| (1.0 + words.len() as f64 / f64::from(spread[word as usize])).ln();
    let mut postings = vec![Vec::new(); numbers.len()];
    let vectors: Vec<Vec<(u32, f32)>> = counted
        .iter()
        .enumerate()
        .map(|(item, counts)| {
            let weight = |(word, count): (&u32, &u32)| {
                (*word, (1.0 + f64::from(*count).ln()) * rarity(*word))
            };
            let raw: Vec<(u32, f64)> = counts.iter().map(weight).collect();
            let length = raw.iter().map(|(_, it)| it * it).sum::<f64>().sqrt();
            let vector: Vec<(u32, f32)> = raw
                .iter()
                .map(|(word, it)| (*word, (it / length) as f32))
                .collect();
            for (word, it) in &vector {
                if spread[*word as usize] as usize <= CONTENT_SPREAD_MAX {
                    postings[*word as usize].push((item as u32, *it));
                }
            }
            vector
        })
        .collect();
    (vectors, postings)
}

/// The nearest items; `sums` is all zero before and after.
fn nearest(
    item: usize,
    vector: &[(u32, f32)],
    postings: &[Vec<(u32, f32)>],
    sums: &mut [f32],
    keep: usize,
) -> Vec<Neighbour> {
    let mut met = Vec::new();
    for (word, own) in vector {
        for (other, weight) in &postings[*word as usize] {
            if sums[*other as usize] == 0.0 {
                met.push(*other);
            }
            sums[*other as usize] += own * weight;
        }
    }
    let mut row: Vec<Neighbour> = met
        .into_iter()
        .map(|other| Neighbour {
            item: ItemIdx(other),
            score: std::mem::take(&mut sums[other as usize]),
        })
        .filter(|it| it.item.at() != item && it.score > 0.0)
        .collect();
    keep_first(&mut row, keep, |a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| a.item.cmp(&b.item))
    });
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn train(texts: &[&str]) -> ItemItemModel {
        let words: Vec<Vec<String>> = texts
            .iter()
            .map(|text| text.split_whitespace().map(str::to_owned).collect())
            .collect();
        train_content(&words, 10)
    }

    #[test]
    fn cosines_match_values_worked_by_hand() {
        let model = train(&["red mug", "red cup", "blue lamp", ""]);
        // red is in two of four items: ln 3; mug and cup in one: ln 5.
        let (red, rare) = (3.0f32.ln(), 5.0f32.ln());
        let expected = red * red / (red * red + rare * rare);
        let row = model.neighbours(ItemIdx(0));
        assert!(row.len() == 1 && row[0].item == ItemIdx(1));
        assert!((row[0].score - expected).abs() < 1e-6);
        assert!(model.neighbours(ItemIdx(2)).is_empty() && model.neighbours(ItemIdx(3)).is_empty());
    }

    proptest! {
        #[test]
        fn likeness_is_symmetric_and_at_most_one(texts in prop::collection::vec("[ab ]{0,8}", 1..12)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let model = train(&texts);
            for item in (0..texts.len() as u32).map(ItemIdx) {
                for it in model.neighbours(item) {
                    prop_assert!(it.score <= 1.0 + 1e-5);
                    let back = model.neighbours(it.item).iter().find(|back| back.item == item);
                    let is_same = back.is_none_or(|back| (back.score - it.score).abs() < 1e-6);
                    prop_assert!(is_same);
                }
            }
        }
    }
}
