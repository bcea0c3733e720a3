//! Minimising a smooth function of a few variables in a box. Deterministic; no allocation.

/// Most steps of one search.
const STEPS_MAX: usize = 1_000;
/// Most halvings of one step.
const HALVINGS_MAX: usize = 30;
/// Share of the promised decrease that a step must bring (Armijo).
const SUFFICIENT: f64 = 1e-4;
/// What rounding may do to a value that is a mean of very many: a step that is worse by no more is not
/// called worse, or the last digits of the place would be lost where the function is flat.
const ROUNDING: f64 = 1e-14;
/// Steps in a row without a value lower than rounding explains that end a search.
const IDLE_MAX: usize = 4;

/// Where a search ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Minimum<const N: usize> {
    /// The place, inside the box.
    pub at: [f64; N],
    /// The value there.
    pub value: f64,
    /// Whether no free variable's slope is above the tolerance.
    pub converged: bool,
    /// Which variables stand at a wall of the box that the function would like to pass.
    pub at_bound: [bool; N],
    /// How often the function was computed.
    pub evaluations: usize,
}

/// Finds a local minimum inside a box.
///
/// * `bounds`: lowest and highest value of each variable, finite and in this order; `start` is moved
///   inside.
/// * `objective` returns value and gradient. A value that is not finite counts as infinitely bad, so
///   steps stop short of it; it must be finite at the start, else the start is returned.
/// * `tolerance`: largest slope of a free variable at a minimum. Scale the variables so that a step of 1
///   is a fair first guess: no step moves a variable by more than 2.
/// * Cost: some tens of evaluations, `O(N²)` beside each.
/// * Source: BFGS on the free variables with steps projected onto the box: Bertsekas, SIAM Journal on
///   Control and Optimization 20(2), 1982; the update as in Nocedal and Wright, 2nd ed., 6.17.
pub fn minimise<const N: usize>(
    start: [f64; N],
    bounds: &[(f64, f64); N],
    tolerance: f64,
    objective: impl Fn(&[f64; N]) -> (f64, [f64; N]),
) -> Minimum<N> {
    let mut search = Search::begin(start, bounds, &objective);
    let (mut inverse, mut held) = (identity::<N>(), search.held());
    let (mut least, mut idle) = (search.value, 0);
    for _ in 0..STEPS_MAX {
        if search.slope() <= tolerance || !search.value.is_finite() || idle > IDLE_MAX {
            break;
        }
        // What was learned about curvature holds for one set of free variables.
        let now = search.held();
        if now != held {
            (inverse, held) = (identity(), now);
        }
        let direction = search.direction(&inverse, &held);
        let promised = dot(&search.gradient, &direction);
        let (step, change) = match search.advance(&direction, &objective) {
            Some(moved) => moved,
            None => {
                // Straight downhill leads nowhere either, or what is promised is below rounding.
                if inverse == identity() || -promised <= ROUNDING * search.value.abs() {
                    break;
                }
                inverse = identity();
                continue;
            }
        };
        // Below rounding a value may fall and rise for ever.
        let lower = search.value < least - ROUNDING * least.abs();
        idle = if lower { 0 } else { idle + 1 };
        least = least.min(search.value);
        update(&mut inverse, &step, &change, &held);
    }
    Minimum {
        at: search.at,
        value: search.value,
        converged: search.value.is_finite() && search.slope() <= tolerance,
        at_bound: search.held(),
        evaluations: search.evaluations,
    }
}

struct Search<'a, const N: usize> {
    bounds: &'a [(f64, f64); N],
    at: [f64; N],
    value: f64,
    gradient: [f64; N],
    evaluations: usize,
}

impl<'a, const N: usize> Search<'a, N> {
    fn begin(
        start: [f64; N],
        bounds: &'a [(f64, f64); N],
        objective: &impl Fn(&[f64; N]) -> (f64, [f64; N]),
    ) -> Self {
        let at = inside(&start, bounds);
        let (value, gradient) = objective(&at);
        Self {
            bounds,
            at,
            value,
            gradient,
            evaluations: 1,
        }
    }

    /// Which variables stand at a wall and are pushed against it.
    fn held(&self) -> [bool; N] {
        std::array::from_fn(|n| {
            let (low, high) = self.bounds[n];
            (self.at[n] <= low && self.gradient[n] > 0.0)
                || (self.at[n] >= high && self.gradient[n] < 0.0)
        })
    }

    /// The largest slope of a free variable.
    fn slope(&self) -> f64 {
        let held = self.held();
        let free = (0..N).filter(|n| !held[*n]);
        free.fold(0.0, |most, n| self.gradient[n].abs().max(most))
    }

    /// The quasi-Newton direction of the free variables, no longer than 2 in any; straight downhill
    /// where the matrix has lost its way.
    fn direction(&self, inverse: &[[f64; N]; N], held: &[bool; N]) -> [f64; N] {
        let free = |n: usize| if held[n] { 0.0 } else { self.gradient[n] };
        let downhill: [f64; N] = std::array::from_fn(|n| -free(n));
        let mut direction: [f64; N] = std::array::from_fn(|row| {
            let sum: f64 = (0..N)
                .map(|column| inverse[row][column] * downhill[column])
                .sum();
            if held[row] { 0.0 } else { sum }
        });
        if dot(&direction, &downhill) <= 0.0 {
            direction = downhill;
        }
        let longest = direction.iter().fold(0.0f64, |most, d| most.max(d.abs()));
        let scale = if longest > 2.0 { 2.0 / longest } else { 1.0 };
        direction.map(|d| d * scale)
    }

    /// Goes as far along a direction, projected onto the box, as the function falls enough. Returns how
    /// place and gradient changed; `None` if no step does.
    fn advance(
        &mut self,
        direction: &[f64; N],
        objective: &impl Fn(&[f64; N]) -> (f64, [f64; N]),
    ) -> Option<([f64; N], [f64; N])> {
        let mut length = 1.0;
        let slack = ROUNDING * self.value.abs();
        for _ in 0..HALVINGS_MAX {
            let aim = std::array::from_fn(|n| self.at[n] + length * direction[n]);
            let at = inside(&aim, self.bounds);
            let step: [f64; N] = std::array::from_fn(|n| at[n] - self.at[n]);
            if step.iter().all(|s| *s == 0.0) {
                return None;
            }
            let (value, gradient) = objective(&at);
            self.evaluations += 1;
            let promised = dot(&self.gradient, &step);
            let finite = value.is_finite() && gradient.iter().all(|g| g.is_finite());
            if finite && value <= self.value + SUFFICIENT * promised + slack {
                let change = std::array::from_fn(|n| gradient[n] - self.gradient[n]);
                (self.at, self.value, self.gradient) = (at, value, gradient);
                return Some((step, change));
            }
            length *= 0.5;
        }
        None
    }
}

/// Learns the inverse curvature from one step; leaves it where the step saw none.
fn update<const N: usize>(
    inverse: &mut [[f64; N]; N],
    step: &[f64; N],
    change: &[f64; N],
    held: &[bool; N],
) {
    let free = |vector: &[f64; N]| -> [f64; N] {
        std::array::from_fn(|n| if held[n] { 0.0 } else { vector[n] })
    };
    let (step, change) = (free(step), free(change));
    let curvature = dot(&step, &change);
    if curvature <= 1e-10 * libm::sqrt(dot(&step, &step) * dot(&change, &change)) {
        return;
    }
    if *inverse == identity() {
        // The first step tells the scale (Nocedal and Wright, 6.20).
        let scale = curvature / dot(&change, &change);
        (0..N).for_each(|n| inverse[n][n] = scale);
    }
    let across: [f64; N] = std::array::from_fn(|row| dot(&inverse[row], &change));
    let along = (1.0 + dot(&change, &across) / curvature) / curvature;
    for (row, line) in inverse.iter_mut().enumerate() {
        for (column, cell) in line.iter_mut().enumerate() {
            *cell += along * step[row] * step[column]
                - (across[row] * step[column] + step[row] * across[column]) / curvature;
        }
    }
}

fn inside<const N: usize>(at: &[f64; N], bounds: &[(f64, f64); N]) -> [f64; N] {
    std::array::from_fn(|n| at[n].clamp(bounds[n].0, bounds[n].1))
}

fn identity<const N: usize>() -> [[f64; N]; N] {
    std::array::from_fn(|row| std::array::from_fn(|column| f64::from(u8::from(row == column))))
}

fn dot<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    (0..N).map(|n| a[n] * b[n]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: (f64, f64) = (-1e3, 1e3);

    /// `100 (y - x²)² + (1 - x)²`, whose valley bends; the minimum is 0 at (1, 1).
    fn rosenbrock(at: &[f64; 2]) -> (f64, [f64; 2]) {
        let [x, y] = *at;
        let bend = y - x * x;
        let value = 100.0 * bend * bend + (1.0 - x) * (1.0 - x);
        (value, [-400.0 * x * bend - 2.0 * (1.0 - x), 200.0 * bend])
    }

    #[test]
    fn a_bent_valley_is_followed_to_its_end() {
        let found = minimise([-1.2, 1.0], &[WIDE, WIDE], 1e-9, rosenbrock);
        assert!(found.converged && found.evaluations < 120, "{found:?}");
        assert!(found.at.iter().all(|x| (x - 1.0).abs() < 1e-8), "{found:?}");
    }

    #[test]
    fn a_wall_holds() {
        // Along x = 0.5 the best is y = 0.25.
        let found = minimise([-1.2, 1.0], &[(-2.0, 0.5), WIDE], 1e-9, rosenbrock);
        assert!(
            found.converged && found.at_bound == [true, false],
            "{found:?}"
        );
        assert!((found.at[1] - 0.25).abs() < 1e-9 && found.at[0] == 0.5);
        // A start outside is moved inside, and a wall that does not push is left again.
        let found = minimise([9.0, 9.0], &[(-2.0, 2.0), (-4.0, 4.0)], 1e-9, rosenbrock);
        assert!(
            found.converged && found.at_bound == [false, false],
            "{found:?}"
        );
    }

    #[test]
    fn where_nothing_is_defined_nothing_is_found() {
        let found = minimise([0.0], &[WIDE], 1e-9, |_| (f64::NAN, [f64::NAN]));
        assert!(!found.converged && found.at == [0.0]);
        // ln is undefined below 0: steps stop short of it. x - ln x is least at 1.
        let barrier = |at: &[f64; 1]| (at[0] - at[0].ln(), [1.0 - 1.0 / at[0]]);
        let found = minimise([30.0], &[WIDE], 1e-10, barrier);
        assert!(
            found.converged && (found.at[0] - 1.0).abs() < 1e-9,
            "{found:?}"
        );
    }

    proptest::proptest! {
        #[test]
        fn quadratics_are_solved(centre in proptest::array::uniform3(-5.0..5.0f64),
                                 curvature in proptest::array::uniform3(0.01..100.0f64)) {
            let bowl = |at: &[f64; 3]| {
                let value = (0..3).map(|n| 0.5 * curvature[n] * (at[n] - centre[n]).powi(2)).sum();
                (value, std::array::from_fn(|n| curvature[n] * (at[n] - centre[n])))
            };
            let bounds = [(-2.0, 2.0); 3];
            let found = minimise([0.0; 3], &bounds, 1e-10, bowl);
            for (at, centre) in found.at.iter().zip(centre) {
                let expected = centre.clamp(-2.0, 2.0);
                proptest::prop_assert!((at - expected).abs() < 1e-7, "{found:?}");
            }
        }
    }
}
