//! The settings of a graph filter.

use crate::bounds::bounded;
use crate::item::Violation;

/// Most leading eigenvectors.
pub const FACTORS_MAX: usize = 1_024;

/// How a graph filter smooths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GraphFilterOptions {
    /// Leading eigenvectors of the ideal low-pass part, 1 to [`FACTORS_MAX`]; fewer where items are few.
    pub factors: usize,
    /// Weight of the ideal low-pass part, `[0, 10]`; 0 leaves it out.
    pub ideal_weight: f32,
    /// For how long what was blurred is sharpened, `[0, 3]`; 0 is not at all. The series is no longer
    /// the exponential it stands for above 2.8.
    pub sharpening: f32,
    /// How little a person with many items says: `items^-damping` in `R̃`, `[0, 1]`; 1/2 is GF-CF's.
    pub activity_damping: f32,
    /// The same for an item with many people; 1/2 is GF-CF's.
    pub popularity_damping: f32,
    /// How much of the damping moves from the candidate to the item it is suggested by, in the blurred
    /// part: `[-1/2, 1/2]`; 0 is GF-CF's, symmetric.
    pub lean: f32,
    /// The same in the ideal low-pass part; 1/2 is GF-CF's.
    pub ideal_lean: f32,
}

impl GraphFilterOptions {
    /// GF-CF as published: 256 factors, weight 0.3 (section 5.1 of its paper).
    #[must_use]
    pub const fn gf_cf() -> Self {
        Self {
            factors: 256,
            ideal_weight: 0.3,
            sharpening: 0.0,
            activity_damping: 0.5,
            popularity_damping: 0.5,
            lean: 0.0,
            ideal_lean: 0.5,
        }
    }

    /// BSPM with early merge as its authors run it on the first of their three data sets: 448 factors,
    /// weight 0.2, time 2.5, one fourth-order step.
    #[must_use]
    pub const fn bspm() -> Self {
        Self {
            factors: 448,
            ideal_weight: 0.2,
            sharpening: 2.5,
            ..Self::gf_cf()
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// Every violation at once.
    pub fn validate(&self) -> Result<(), Vec<Violation>> {
        let mut bad = Vec::new();
        if !(1..=FACTORS_MAX).contains(&self.factors) {
            let why = format!("must be between 1 and {FACTORS_MAX}");
            bad.push(Violation::new("factors", why));
        }
        for (field, value, low, high) in self.ranges() {
            if !(low..=high).contains(&value) {
                let why = format!("must be between {low} and {high}");
                bad.push(Violation::new(field, why));
            }
        }
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }

    fn ranges(&self) -> [(&'static str, f32, f32, f32); 6] {
        [
            ("ideal_weight", self.ideal_weight, 0.0, 10.0),
            ("sharpening", self.sharpening, 0.0, 3.0),
            ("activity_damping", self.activity_damping, 0.0, 1.0),
            ("popularity_damping", self.popularity_damping, 0.0, 1.0),
            ("lean", self.lean, -0.5, 0.5),
            ("ideal_lean", self.ideal_lean, -0.5, 0.5),
        ]
    }

    /// Moves every setting into its range; what is not a number becomes the lower end.
    pub(super) fn clamped(&self) -> Self {
        let [
            ideal_weight,
            sharpening,
            activity_damping,
            popularity_damping,
            lean,
            ideal_lean,
        ] = self
            .ranges()
            .map(|(_, value, low, high)| bounded(value, low, high));
        Self {
            factors: self.factors.clamp(1, FACTORS_MAX),
            ideal_weight,
            sharpening,
            activity_damping,
            popularity_damping,
            lean,
            ideal_lean,
        }
    }
}
