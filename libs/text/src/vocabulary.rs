//! The known features of a model and their weights: keys to columns, inverse document frequency,
//! and texts to sparse rows. No labels here.

use rayon::prelude::*;

use crate::features::{Extractor, FeatureOptions, GROUPS, group_of};

/// Most features a vocabulary keeps, whatever room the file has.
pub(crate) const FEATURES_MAX: usize = 300_000;
/// Texts per parallel task: fixed, so that the same sums come out for any number of threads.
const TEXTS_PER_TASK: usize = 512;

/// Sparse rows, one per text, in compressed row form.
#[derive(Debug, Default, Clone)]
pub(crate) struct Rows {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Rows {
    /// Builds rows from their cells; columns must ascend.
    #[cfg(test)]
    pub(crate) fn from_rows(rows: &[&[(u32, f32)]]) -> Self {
        let mut all = Self {
            starts: vec![0],
            ..Self::default()
        };
        for row in rows {
            all.columns.extend(row.iter().map(|cell| cell.0));
            all.values.extend(row.iter().map(|cell| cell.1));
            all.starts.push(all.columns.len());
        }
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Returns how many cells are not zero.
    pub(crate) fn entries(&self) -> usize {
        self.columns.len()
    }

    /// Returns the columns and values of one row; columns ascend.
    pub(crate) fn row(&self, index: usize) -> (&[u32], &[f32]) {
        let range = self.starts[index]..self.starts[index + 1];
        (&self.columns[range.clone()], &self.values[range])
    }
}

/// Scratch of one thread that turns texts into rows.
#[derive(Debug, Default)]
pub(crate) struct RowBuffer {
    pub(crate) extractor: Extractor,
    found: Vec<u32>,
    pub(crate) columns: Vec<u32>,
    pub(crate) values: Vec<f32>,
    /// Share of the text's features of each group that the vocabulary knows, repeats counted; 1 for a
    /// group that the text has nothing of.
    pub(crate) known: [f32; GROUPS],
    /// For [`crate::quantised::Quantised::add_rows`].
    pub(crate) scaled: Vec<f32>,
}

/// How the occurrences of a feature in a text become a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weighing {
    /// How often it occurs: what naive Bayes counts.
    Counts,
    /// `(1 + ln count) · idf`, each group scaled to its weight, the whole row to length 1.
    TfIdf,
}

/// What a vocabulary keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VocabularyOptions {
    pub(crate) features: FeatureOptions,
    pub(crate) weighing: Weighing,
    /// Fewest texts that a kept feature occurs in.
    pub(crate) texts_min: u32,
    /// Most features, at most [`FEATURES_MAX`].
    pub(crate) features_max: usize,
}

/// The known features: sorted keys, so that a group is a range of columns.
#[derive(Debug, Clone)]
pub(crate) struct Vocabulary {
    pub(crate) options: FeatureOptions,
    pub(crate) weighing: Weighing,
    pub(crate) keys: Vec<u64>,
    pub(crate) idf: Vec<f32>,
    group_ends: [u32; GROUPS],
    /// Open addressing: the key's upper half and below it column + 1; 0 when empty. A power of two,
    /// at most half full. Slot and upper half are over 50 bits of the key, so that another key is
    /// taken for it once in 10^15: not worth a second cache miss per look-up.
    slots: Vec<u64>,
    /// One bit per key, by its middle bits. Small enough for a core's own cache, and most features
    /// of a text are unknown: it answers for nine in ten of them.
    sieve: Vec<u64>,
}

impl Vocabulary {
    /// Learns the features of the training texts: those in at least `texts_min` texts, and of these
    /// the `features_max` most frequent (ties by key).
    pub(crate) fn learn(texts: &[&str], options: &VocabularyOptions) -> Self {
        let chunks: Vec<Vec<u64>> = texts
            .par_chunks(TEXTS_PER_TASK)
            .map(|chunk| {
                let mut extractor = Extractor::default();
                let (mut all, mut keys) = (Vec::new(), Vec::new());
                for text in chunk {
                    keys.clear();
                    extractor.each(text, &options.features, |occurrence| {
                        keys.push(occurrence.key)
                    });
                    keys.sort_unstable();
                    keys.dedup();
                    all.extend_from_slice(&keys);
                }
                all
            })
            .collect();
        let mut keys = chunks.concat();
        keys.par_sort_unstable();
        let mut counted: Vec<(u64, u32)> = keys
            .chunk_by(|a, b| a == b)
            .map(|same| (same[0], same.len() as u32))
            .filter(|(_, count)| *count >= options.texts_min)
            .collect();
        let most = options.features_max.min(FEATURES_MAX);
        if counted.len() > most {
            counted.sort_unstable_by_key(|&(key, count)| (std::cmp::Reverse(count), key));
            counted.truncate(most);
            counted.sort_unstable();
        }
        let total = texts.len() as f64;
        let idf = counted
            .iter()
            .map(|&(_, count)| (libm::log((1.0 + total) / (1.0 + f64::from(count))) + 1.0) as f32)
            .collect();
        let keys = counted.into_iter().map(|(key, _)| key).collect();
        Self::from_parts(options.features, options.weighing, keys, idf)
    }

    /// Rebuilds a vocabulary; `keys` must ascend strictly and `idf` be as long.
    pub(crate) fn from_parts(
        options: FeatureOptions,
        weighing: Weighing,
        keys: Vec<u64>,
        idf: Vec<f32>,
    ) -> Self {
        let mut slots = vec![0u64; (keys.len() * 2).next_power_of_two().max(2)];
        let mut sieve = vec![0u64; (keys.len() / 8).next_power_of_two()];
        let mask = slots.len() - 1;
        for (column, &key) in (1u64..).zip(&keys) {
            let (word, bit) = sieve_place(key, sieve.len());
            sieve[word] |= bit;
            let mut slot = key as usize & mask;
            while slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = key & UPPER_HALF | column;
        }
        let group_ends =
            std::array::from_fn(|group| keys.partition_point(|key| group_of(*key) <= group) as u32);
        Self {
            options,
            weighing,
            keys,
            idf,
            group_ends,
            slots,
            sieve,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the column of a feature, `None` if training did not keep it.
    pub(crate) fn column(&self, key: u64) -> Option<u32> {
        let (word, bit) = sieve_place(key, self.sieve.len());
        if self.sieve[word] & bit == 0 {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut slot = key as usize & mask;
        loop {
            let entry = self.slots[slot];
            if entry == 0 {
                return None;
            }
            if (entry ^ key) & UPPER_HALF == 0 {
                return Some(entry as u32 - 1);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Fills the buffer with a text's row, weighed as [`Weighing`] says; empty if nothing is known.
    pub(crate) fn fill(&self, text: &str, buffer: &mut RowBuffer) {
        let RowBuffer {
            extractor,
            found,
            columns,
            values,
            known,
            ..
        } = buffer;
        let (mut all, mut missed) = ([0u32; GROUPS], [0u32; GROUPS]);
        found.clear();
        columns.clear();
        values.clear();
        extractor.each(text, &self.options, |occurrence| {
            let group = group_of(occurrence.key);
            all[group] += 1;
            match self.column(occurrence.key) {
                Some(column) => found.push(column),
                None => missed[group] += 1,
            }
        });
        *known = std::array::from_fn(|group| 1.0 - missed[group] as f32 / all[group].max(1) as f32);
        found.sort_unstable();
        for same in found.chunk_by(|a, b| a == b) {
            columns.push(same[0]);
            values.push(match self.weighing {
                Weighing::Counts => same.len() as f32,
                Weighing::TfIdf => sublinear(same.len()) * self.idf[same[0] as usize],
            });
        }
        if self.weighing == Weighing::TfIdf {
            self.scale(columns, values);
        }
    }

    fn scale(&self, columns: &[u32], values: &mut [f32]) {
        let mut from = 0;
        let mut total = 0.0;
        for (group, end) in self.group_ends.iter().enumerate() {
            let to = columns.partition_point(|column| column < end);
            let length = length_of(&values[from..to]);
            if length > 0.0 {
                let weight = self.options.weights[group];
                values[from..to]
                    .iter_mut()
                    .for_each(|value| *value *= weight / length);
                total += weight * weight;
            }
            from = to;
        }
        if total > 0.0 {
            let scale = 1.0 / total.sqrt();
            values.iter_mut().for_each(|value| *value *= scale);
        }
    }

    /// Turns texts into rows, in order, on the threads of the current pool.
    pub(crate) fn rows(&self, texts: &[&str]) -> Rows {
        let chunks: Vec<Rows> = texts
            .par_chunks(TEXTS_PER_TASK)
            .map(|chunk| {
                let mut buffer = RowBuffer::default();
                let mut rows = Rows::default();
                for text in chunk {
                    self.fill(text, &mut buffer);
                    rows.columns.extend_from_slice(&buffer.columns);
                    rows.values.extend_from_slice(&buffer.values);
                    rows.starts.push(rows.columns.len());
                }
                rows
            })
            .collect();
        let mut all = Rows {
            starts: vec![0],
            ..Rows::default()
        };
        for rows in chunks {
            let before = all.columns.len();
            all.starts
                .extend(rows.starts.iter().map(|start| before + start));
            all.columns.extend(rows.columns);
            all.values.extend(rows.values);
        }
        all
    }
}

/// The bits of a key that its slot remembers; the other half of a slot is the column.
const UPPER_HALF: u64 = !0 << 32;

/// Returns the word and the bit of a key in a sieve of so many words, a power of two.
fn sieve_place(key: u64, words: usize) -> (usize, u64) {
    let spread = (key >> 18) as usize;
    ((spread >> 6) & (words - 1), 1 << (spread & 63))
}

/// `1 + ln count`: a word said five times is not five times the evidence.
fn sublinear(count: usize) -> f32 {
    match count {
        1 => 1.0,
        2 => 1.693_147_2,
        3 => 2.098_612_3,
        more => 1.0 + libm::logf(more as f32),
    }
}

fn length_of(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::{FEATURES_MAX, RowBuffer, Vocabulary, VocabularyOptions, Weighing};
    use crate::features::FeatureOptions;
    use proptest::prelude::*;

    fn words_only(texts_min: u32) -> VocabularyOptions {
        let features = FeatureOptions {
            word_ngrams: 1,
            subword_max: 0,
            segment_ngrams: 0,
            pair_window: 0,
            ..FeatureOptions::default()
        };
        let weighing = Weighing::TfIdf;
        VocabularyOptions {
            features,
            weighing,
            texts_min,
            features_max: FEATURES_MAX,
        }
    }

    #[test]
    fn weights_match_values_worked_by_hand() {
        // card is in 2 of 2 texts: idf ln(3/3) + 1 = 1; lost and new in one: ln(3/2) + 1 = 1.405465.
        let vocabulary = Vocabulary::learn(&["lost card", "new card"], &words_only(1));
        assert_eq!(vocabulary.len(), 3);
        let mut buffer = RowBuffer::default();
        vocabulary.fill("card card lost unknown", &mut buffer);
        // (1 + ln 2) · 1 = 1.693147 and 1.405465; length 2.200500.
        let mut values = buffer.values.clone();
        values.sort_by(f32::total_cmp);
        assert!((values[0] - 0.638_702).abs() < 1e-5, "{values:?}");
        assert!((values[1] - 0.769_438).abs() < 1e-5, "{values:?}");
    }

    #[test]
    fn counts_are_counts() {
        let options = VocabularyOptions {
            weighing: Weighing::Counts,
            ..words_only(1)
        };
        let vocabulary = Vocabulary::learn(&["lost card", "new card"], &options);
        let mut buffer = RowBuffer::default();
        vocabulary.fill("card card card unknown", &mut buffer);
        assert_eq!(buffer.values, [3.0]);
    }

    #[test]
    fn rare_features_are_left_out() {
        let vocabulary = Vocabulary::learn(&["lost card", "new card"], &words_only(2));
        assert_eq!(vocabulary.len(), 1);
    }

    proptest! {
        #[test]
        fn rows_have_length_one_or_nothing(texts in prop::collection::vec("[a-d ]{0,12}", 1..8)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let vocabulary = Vocabulary::learn(&texts, &VocabularyOptions {
                features: FeatureOptions { segment_ngrams: 0, ..FeatureOptions::default() },
                ..words_only(1)
            });
            let rows = vocabulary.rows(&texts);
            prop_assert_eq!(rows.len(), texts.len());
            for index in 0..rows.len() {
                let (columns, values) = rows.row(index);
                prop_assert!(columns.windows(2).all(|pair| pair[0] < pair[1]));
                let length: f32 = values.iter().map(|v| v * v).sum();
                prop_assert!(values.is_empty() || (length - 1.0).abs() < 1e-4);
            }
        }
    }
}
