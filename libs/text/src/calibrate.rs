//! From scores to honest probabilities, and from confidence to "I do not know": both fitted on
//! rows that the model had not seen.

use crate::network::softmax;

/// Sharpness searched, as powers of e: from nearly even odds to nearly certain.
const SHARPNESS_LOG: (f64, f64) = (-3.0, 5.0);
/// Steps of the golden-section search: narrows eight units to a thousandth.
const SEARCH_STEPS: u32 = 20;

/// Finds the factor on the scores that makes the softmax most likely to have said the truth.
///
/// * `scores`, shape `[rows, classes]`; `labels`, shape `[rows]`, not empty.
/// * Source: temperature scaling, Guo et al., ICML 2017 (this is 1 / temperature).
pub(crate) fn fit_sharpness(scores: &[f32], labels: &[u32]) -> f32 {
    let classes = scores.len() / labels.len();
    let mut row = vec![0.0; classes];
    let mut loss = |log: f64| {
        let factor = libm::exp(log) as f32;
        let mut sum = 0.0;
        for (scores, label) in scores.chunks(classes).zip(labels) {
            for (cell, score) in row.iter_mut().zip(scores) {
                *cell = score * factor;
            }
            softmax(&mut row);
            sum -= libm::log(f64::from(row[*label as usize]).max(1e-12));
        }
        sum
    };
    let ratio = 0.618_033_988_749_894_9;
    let (mut low, mut high) = SHARPNESS_LOG;
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_left, mut at_right) = (loss(left), loss(right));
    for _ in 0..SEARCH_STEPS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - ratio * (high - low);
            at_left = loss(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + ratio * (high - low);
            at_right = loss(right);
        }
    }
    libm::exp(f64::midpoint(low, high)) as f32
}

/// Largest share of known texts whose right answer may be lost to catch unknown ones. Labels held out
/// of a family of near labels look much like the known ones; without this bound they would cost
/// every third answer, and a desk that sends known questions to people for nothing is soon turned off.
const KNOWN_LOSS_MAX: f64 = 0.035;

/// Finds the confidence below which a text is called out of scope: the one that keeps the most
/// known texts right plus the most unknown texts out, each as a share of its kind, and loses at
/// most [`KNOWN_LOSS_MAX`] of the known.
///
/// * `known`: confidence of each known text and whether its label was right; `unknown`: confidence
///   of texts whose label the model had never seen. Both not empty.
pub(crate) fn fit_threshold(known: &[(f32, bool)], unknown: &[f32]) -> f32 {
    // Gain of rejecting a text: an unknown one is caught, a right answer is lost.
    let mut gains: Vec<(f32, f64)> = unknown
        .iter()
        .map(|c| (*c, 1.0 / unknown.len() as f64))
        .collect();
    let loss = 1.0 / known.len() as f64;
    gains.extend(
        known
            .iter()
            .map(|&(c, right)| (c, if right { -loss } else { 0.0 })),
    );
    gains.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut best, mut threshold) = (0.0, 0.0, f32::NEG_INFINITY);
    let mut lost = 0.0;
    for (at, (confidence, gain)) in gains.iter().enumerate() {
        sum += gain;
        lost -= gain.min(0.0);
        // Equal confidences are rejected together, so a threshold may stand only between two.
        let next = gains.get(at + 1).map_or(confidence + 1e-3, |next| next.0);
        if sum > best && lost <= KNOWN_LOSS_MAX && next > *confidence {
            best = sum;
            threshold = f32::midpoint(*confidence, next);
        }
    }
    threshold
}

/// Computes the chance that a known text is more confident than an unknown one; ties count half.
///
/// Cost: `O(n log n)`. Source: Hanley and McNeil, Radiology 1982 (the rank form of the area).
pub(crate) fn auroc(known: &[(f32, bool)], unknown: &[f32]) -> f64 {
    let mut unknown = unknown.to_vec();
    unknown.sort_by(f32::total_cmp);
    let wins: f64 = known
        .iter()
        .map(|(confidence, _)| {
            let below = unknown.partition_point(|other| other < confidence);
            let not_above = unknown.partition_point(|other| other <= confidence);
            f64::midpoint(below as f64, not_above as f64)
        })
        .sum();
    wins / (known.len() as f64 * unknown.len() as f64)
}

/// Computes accuracy and macro-F1 of predictions. A class neither present nor predicted is left out.
pub(crate) fn accuracy_and_macro_f1(
    truth: &[u32],
    predicted: &[u32],
    classes: usize,
) -> (f64, f64) {
    let (mut hits, mut truths, mut guesses) = (
        vec![0u32; classes],
        vec![0u32; classes],
        vec![0u32; classes],
    );
    for (&truth, &predicted) in truth.iter().zip(predicted) {
        truths[truth as usize] += 1;
        guesses[predicted as usize] += 1;
        hits[truth as usize] += u32::from(truth == predicted);
    }
    let f1: Vec<f64> = (0..classes)
        .filter(|class| truths[*class] + guesses[*class] > 0)
        .map(|class| 2.0 * f64::from(hits[class]) / f64::from(truths[class] + guesses[class]))
        .collect();
    let right: u32 = hits.iter().sum();
    (
        f64::from(right) / truth.len() as f64,
        f1.iter().sum::<f64>() / f1.len() as f64,
    )
}

#[cfg(test)]
mod tests {
    use super::{accuracy_and_macro_f1, auroc, fit_sharpness, fit_threshold};

    #[test]
    fn sharpness_makes_probabilities_frequencies() {
        // Scores say 1 : 0 and are right three times in four: odds 3 = e^s, so s = ln 3 = 1.0986.
        let scores = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let sharpness = fit_sharpness(&scores, &[0, 0, 0, 1]);
        assert!((sharpness - 1.0986).abs() < 2e-3, "{sharpness}");
    }

    #[test]
    fn threshold_stands_between_known_and_unknown() {
        let known = [(0.9, true), (0.8, true), (0.3, false)];
        assert!((fit_threshold(&known, &[0.2, 0.4]) - 0.6).abs() < 1e-6);
        // Rejecting anything loses more than it gains.
        assert_eq!(fit_threshold(&[(0.1, true)], &[0.9]), f32::NEG_INFINITY);
        // A tie is rejected as one: 0.5 holds a gain of 1/2 and a loss of 1, so it stays.
        assert!((fit_threshold(&[(0.5, true)], &[0.5, 0.1]) - 0.3).abs() < 1e-6);
        // Catching the second unknown would lose one right answer of two.
        let known = [(0.3, true), (0.9, true)];
        assert!((fit_threshold(&known, &[0.2, 0.4]) - 0.25).abs() < 1e-6);
    }

    #[test]
    fn auroc_matches_values_worked_by_hand() {
        let known = [(0.9, true), (0.5, true)];
        assert!((auroc(&known, &[0.1, 0.5]) - 0.875).abs() < 1e-12); // 2 + 1.5 of 4 pairs
        assert!((auroc(&known, &[0.95]) - 0.0).abs() < 1e-12);
    }

    #[test]
    fn macro_f1_matches_values_worked_by_hand() {
        // class 0: tp 1, truths 2, guesses 1: 2/3; class 1: tp 1, truths 1, guesses 2: 2/3.
        let (accuracy, f1) = accuracy_and_macro_f1(&[0, 0, 1], &[0, 1, 1], 3);
        assert!((accuracy - 2.0 / 3.0).abs() < 1e-12 && (f1 - 2.0 / 3.0).abs() < 1e-12);
    }
}
