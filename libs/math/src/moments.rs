//! Running moments that merge: Welford's recurrence with the pairwise update of Chan et al.
//! A partition, a day or a person is folded into another without seeing its values again.

/// Count, mean and variance of a stream of numbers.
///
/// Merging is commutative, and associative up to rounding. Source: Chan, Golub and LeVeque,
/// "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    count: u64,
    mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

impl Moments {
    /// Returns the moments of `zeros` zeros and the values: units that did nothing cost no loop.
    #[must_use]
    pub fn with_zeros(zeros: u64) -> Self {
        Self {
            count: zeros,
            mean: 0.0,
            squares: 0.0,
        }
    }

    /// Returns the moments of `successes` ones among `trials`; `successes` is capped at `trials`.
    #[must_use]
    pub fn of_proportion(successes: u64, trials: u64) -> Self {
        let successes = successes.min(trials);
        if trials == 0 {
            return Self::default();
        }
        let mean = successes as f64 / trials as f64;
        Self {
            count: trials,
            mean,
            squares: successes as f64 * (1.0 - mean),
        }
    }

    /// Takes one finite value.
    pub fn push(&mut self, value: f64) {
        debug_assert!(value.is_finite());
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    /// Takes all that another has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        // A weighted mean, not a step from one side, so that the order of the two does not matter.
        self.mean = (n * self.mean + m * other.mean) / (n + m);
        self.squares = self.squares + other.squares + apart * apart * (n * m / (n + m));
        self.count += other.count;
    }

    /// Returns how many values were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the mean, or `None` before the first value.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Returns the sum of the values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.mean * self.count as f64
    }

    /// Returns the sample variance (divisor `n - 1`), or `None` for fewer than two values.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }

    /// Returns the standard error of the mean, or `None` for fewer than two values.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        self.variance()
            .map(|variance| libm::sqrt(variance / self.count as f64))
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        values.into_iter().for_each(|value| moments.push(value));
        moments
    }
}

/// Moments of pairs: both variances and the covariance. Ratios and CUPED are made of these.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PairMoments {
    x: Moments,
    y: Moments,
    /// Sum of products of the distances from the two means.
    products: f64,
}

impl PairMoments {
    /// Takes one pair of finite values.
    pub fn push(&mut self, x: f64, y: f64) {
        let x_before = x - self.x.mean;
        self.x.push(x);
        self.y.push(y);
        self.products += x_before * (y - self.y.mean);
    }

    /// Takes all that another has seen.
    pub fn merge(&mut self, other: &Self) {
        let (n, m) = (self.x.count as f64, other.x.count as f64);
        if n > 0.0 && m > 0.0 {
            let apart = (other.x.mean - self.x.mean) * (other.y.mean - self.y.mean);
            self.products = self.products + other.products + apart * (n * m / (n + m));
        } else {
            self.products += other.products;
        }
        self.x.merge(&other.x);
        self.y.merge(&other.y);
    }

    /// Returns the moments of the first of each pair.
    #[must_use]
    pub fn x(&self) -> &Moments {
        &self.x
    }

    /// Returns the moments of the second of each pair.
    #[must_use]
    pub fn y(&self) -> &Moments {
        &self.y
    }

    /// Returns the sample covariance (divisor `n - 1`), or `None` for fewer than two pairs.
    #[must_use]
    pub fn covariance(&self) -> Option<f64> {
        (self.x.count > 1).then(|| self.products / (self.x.count - 1) as f64)
    }
}

impl FromIterator<(f64, f64)> for PairMoments {
    fn from_iter<I: IntoIterator<Item = (f64, f64)>>(pairs: I) -> Self {
        let mut moments = Self::default();
        pairs.into_iter().for_each(|(x, y)| moments.push(x, y));
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_worked_by_hand() {
        let moments: Moments = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
            .into_iter()
            .collect();
        assert_eq!(moments.mean(), Some(5.0));
        assert_eq!(moments.variance(), Some(32.0 / 7.0));
        assert_eq!(Moments::default().mean(), None);
        assert_eq!(Moments::from_iter([3.0]).variance(), None);
        let pairs = PairMoments::from_iter([(1.0, 2.0), (2.0, 4.0), (3.0, 9.0)]);
        assert_eq!(pairs.covariance(), Some(3.5)); // (-1 * -3 + 0 * -1 + 1 * 4) / 2
        let coin = Moments::of_proportion(3, 10);
        assert_eq!((coin.mean(), coin.count()), (Some(0.3), 10));
        assert!((coin.variance().unwrap() - 2.1 / 9.0).abs() < 1e-15);
    }

    fn close(a: Option<f64>, b: Option<f64>, scale: f64) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * scale,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    type Pairs = Vec<(f64, f64)>;

    fn pairs() -> impl Strategy<Value = Pairs> {
        prop::collection::vec((-1e3..1e3, -1e3..1e3), 0..40)
    }

    proptest! {
        #[test]
        fn merging_parts_equals_seeing_all(a in pairs(), b in pairs(), c in pairs()) {
            let fold = |parts: &[&Pairs]| parts.iter().fold(PairMoments::default(), |mut sum, part| {
                sum.merge(&part.iter().copied().collect());
                sum
            });
            let all: PairMoments = [a.clone(), b.clone(), c.clone()].concat().into_iter().collect();
            for merged in [fold(&[&a, &b, &c]), fold(&[&c, &a, &b])] {
                prop_assert_eq!(merged.x().count(), all.x().count());
                prop_assert!(close(merged.x().mean(), all.x().mean(), 1e3));
                prop_assert!(close(merged.y().variance(), all.y().variance(), 1e6));
                prop_assert!(close(merged.covariance(), all.covariance(), 1e6));
            }
        }

        #[test]
        fn merging_is_commutative_to_the_bit(a in pairs(), b in pairs()) {
            let (left, right): (PairMoments, PairMoments) = (a.into_iter().collect(), b.into_iter().collect());
            let (mut one, mut two) = (left, right);
            one.merge(&right);
            two.merge(&left);
            prop_assert_eq!(one.x(), two.x());
        }
    }
}
