//! The network: parameters, the way from visits to vectors, and the exact gradients of that way.

use rapport_math::Rng;

use super::kernel::{columns, gemm, rows, sigmoid};

/// Smallest length that a vector is divided by.
const LENGTH_MIN: f32 = 1e-6;

/// Everything that is learned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Net {
    pub(super) width: usize,
    pub(super) window: usize,
    /// A vector per item, shape `[items, width]`.
    pub(super) items: Vec<f32>,
    /// The weights of attention, see [`Parts`].
    pub(super) attention: Vec<f32>,
}

/// Where each part of the attention weights lies in their one array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    width: usize,
    window: usize,
}

impl Parts {
    pub(super) fn len(self) -> usize {
        2 * self.width * self.width + self.window * self.width + self.width
    }

    /// Shape `[width, width]`: what the last item makes of the others.
    fn last(self, all: &[f32]) -> &[f32] {
        &all[..self.width * self.width]
    }

    /// Shape `[width, width]`: what each item says by itself.
    fn each(self, all: &[f32]) -> &[f32] {
        &all[self.width * self.width..][..self.width * self.width]
    }

    /// Shape `[window, width]`: what its place, counted from the end, says.
    fn places(self, all: &[f32]) -> &[f32] {
        &all[2 * self.width * self.width..][..self.window * self.width]
    }

    /// Shape `[width]`: turns all that into one number.
    fn query(self, all: &[f32]) -> &[f32] {
        &all[all.len() - self.width..]
    }
}

impl Net {
    /// Draws every parameter from `[-1 / sqrt(width), 1 / sqrt(width))`.
    pub(super) fn new(items: usize, width: usize, window: usize, rng: &Rng) -> Self {
        let bound = 1.0 / (width as f64).sqrt();
        let draw = |stream: u64, count: usize| -> Vec<f32> {
            let mut rng = rng.fork(stream);
            (0..count)
                .map(|_| rng.range(-bound, bound) as f32)
                .collect()
        };
        let parts = Parts { width, window };
        Self {
            width,
            window,
            items: draw(0, items * width),
            attention: draw(1, parts.len()),
        }
    }

    pub(super) fn parts(&self) -> Parts {
        Parts {
            width: self.width,
            window: self.window,
        }
    }

    pub(super) fn item(&self, item: u32) -> &[f32] {
        &self.items[item as usize * self.width..][..self.width]
    }
}

/// Some visits on their way through the network, forwards and back. Reusable.
#[derive(Debug, Clone, Default)]
pub(super) struct Visits {
    /// Where each visit's clicks begin in the arrays below, and where the last one's end.
    pub(super) starts: Vec<usize>,
    /// Clicked items, the newest of each visit first.
    pub(super) clicks: Vec<u32>,
    /// What each number of `inputs` was multiplied by; empty without dropout.
    pub(super) kept: Vec<f32>,
    inputs: Vec<f32>,
    lasts: Vec<f32>,
    from_last: Vec<f32>,
    gates: Vec<f32>,
    /// Attention per click; those of a visit sum to 1.
    pub(super) shares: Vec<f32>,
    lengths: Vec<f32>,
    /// A vector of length 1 per visit: what it stands for.
    pub(super) units: Vec<f32>,
    /// The gradient with respect to `units`, given to [`Self::back`].
    pub(super) d_units: Vec<f32>,
    /// The gradient with respect to the vector of each click's item.
    pub(super) d_inputs: Vec<f32>,
    /// The gradient with respect to the attention weights.
    pub(super) d_attention: Vec<f32>,
}

fn zeroed(values: &mut Vec<f32>, count: usize) {
    values.clear();
    values.resize(count, 0.0);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(to: &mut [f32], from: &[f32], factor: f32) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to += factor * from);
}

impl Visits {
    /// Forgets all visits.
    pub(super) fn clear(&mut self) {
        self.starts.clear();
        self.starts.push(0);
        self.clicks.clear();
        self.kept.clear();
    }

    /// Adds a visit of at least one click, oldest first.
    pub(super) fn push(&mut self, clicks: impl DoubleEndedIterator<Item = u32>) {
        self.push_newest(clicks.rev());
    }

    /// Adds a visit of at least one click, newest first.
    pub(super) fn push_newest(&mut self, clicks: impl Iterator<Item = u32>) {
        self.clicks.extend(clicks);
        self.starts.push(self.clicks.len());
    }

    /// Drops each number of the items' vectors with a chance of `dropout`, in 256ths, and scales up
    /// what is left.
    pub(super) fn drop_out(&mut self, dropout: f32, width: usize, rng: &mut Rng) {
        let below = (dropout * 256.0) as u64;
        let factor = 256.0 / (256 - below) as f32;
        let count = self.clicks.len() * width;
        self.kept.clear();
        while self.kept.len() < count {
            let bits = rng.next_u64();
            let kept = (0..8).map(|byte| bits >> (8 * byte) & 255 >= below);
            self.kept
                .extend(kept.map(|kept| if kept { factor } else { 0.0 }));
        }
        self.kept.truncate(count);
    }

    fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Computes `shares` and `units`.
    ///
    /// With `x_r` the vector of the click `r` steps from the end, `a_r = q . sigmoid(x_0 L + x_r E +
    /// p_r)`, `s = softmax(a)`, `h = sum of s_r x_r`, the unit is `h / |h|`.
    pub(super) fn forward(&mut self, net: &Net) {
        let (width, parts) = (net.width, net.parts());
        self.inputs.clear();
        for item in &self.clicks {
            self.inputs.extend_from_slice(net.item(*item));
        }
        self.inputs
            .iter_mut()
            .zip(&self.kept)
            .for_each(|(input, kept)| *input *= kept);
        self.lasts.clear();
        for start in &self.starts[..self.count()] {
            self.lasts
                .extend_from_slice(&self.inputs[start * width..][..width]);
        }
        let count = self.count();
        zeroed(&mut self.from_last, count * width);
        let (last, each) = (parts.last(&net.attention), parts.each(&net.attention));
        let shape = |height: usize| [height, width, width];
        let from_last = (&mut self.from_last[..], width);
        gemm(
            shape(count),
            rows(&self.lasts, width),
            (last, width),
            from_last,
        );
        zeroed(&mut self.gates, self.clicks.len() * width);
        let places = parts.places(&net.attention);
        for (visit, ends) in self.starts.windows(2).enumerate() {
            let gates = self.gates[ends[0] * width..ends[1] * width].chunks_exact_mut(width);
            for (gate, place) in gates.zip(places.chunks_exact(width)) {
                gate.copy_from_slice(place);
                add_scaled(gate, &self.from_last[visit * width..][..width], 1.0);
            }
        }
        let gates = (&mut self.gates[..], width);
        gemm(
            shape(self.clicks.len()),
            rows(&self.inputs, width),
            (each, width),
            gates,
        );
        sigmoid(&mut self.gates);
        let query = parts.query(&net.attention);
        self.shares.clear();
        self.shares
            .extend(self.gates.chunks_exact(width).map(|gate| dot(gate, query)));
        self.pool(width);
    }

    /// From attention before its softmax, in `shares`, to `shares` and `units`.
    fn pool(&mut self, width: usize) {
        zeroed(&mut self.units, (self.starts.len() - 1) * width);
        self.lengths.clear();
        for (ends, unit) in self
            .starts
            .windows(2)
            .zip(self.units.chunks_exact_mut(width))
        {
            let shares = &mut self.shares[ends[0]..ends[1]];
            let top = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            shares
                .iter_mut()
                .for_each(|share| *share = (*share - top).exp());
            let total: f32 = shares.iter().sum();
            shares.iter_mut().for_each(|share| *share /= total);
            for (at, share) in (ends[0]..ends[1]).zip(shares) {
                add_scaled(unit, &self.inputs[at * width..][..width], *share);
            }
            let length = dot(unit, unit).sqrt().max(LENGTH_MIN);
            unit.iter_mut().for_each(|value| *value /= length);
            self.lengths.push(length);
        }
    }

    /// Computes `d_inputs` and `d_attention` from `d_units`, after [`Self::forward`].
    pub(super) fn back(&mut self, net: &Net) {
        let (width, parts) = (net.width, net.parts());
        let query = parts.query(&net.attention);
        zeroed(&mut self.d_inputs, self.clicks.len() * width);
        zeroed(&mut self.d_attention, parts.len());
        let square = width * width;
        let (d_squares, d_rest) = self.d_attention.split_at_mut(2 * square);
        let (d_places, d_query) = d_rest.split_at_mut(net.window * width);
        for (visit, ends) in self.starts.windows(2).enumerate() {
            let d_unit = &mut self.d_units[visit * width..][..width];
            let unit = &self.units[visit * width..][..width];
            let along = dot(d_unit, unit);
            add_scaled(d_unit, unit, -along);
            d_unit
                .iter_mut()
                .for_each(|value| *value /= self.lengths[visit]);
            // From here on `d_unit` is the gradient of the pooled vector before its division.
            let d_share = |at: usize| dot(d_unit, &self.inputs[at * width..][..width]);
            let mean: f32 = (ends[0]..ends[1])
                .map(|at| self.shares[at] * d_share(at))
                .sum();
            let d_last = &mut self.from_last[visit * width..][..width];
            d_last.fill(0.0);
            for at in ends[0]..ends[1] {
                let d_logit = self.shares[at] * (d_share(at) - mean);
                let gate = &mut self.gates[at * width..][..width];
                add_scaled(d_query, gate, d_logit);
                // The gates give way to the gradients of what they were the sigmoid of.
                for (gate, query) in gate.iter_mut().zip(query) {
                    *gate = d_logit * query * *gate * (1.0 - *gate);
                }
                add_scaled(d_last, gate, 1.0);
                add_scaled(&mut d_places[(at - ends[0]) * width..][..width], gate, 1.0);
                let d_input = &mut self.d_inputs[at * width..][..width];
                add_scaled(d_input, d_unit, self.shares[at]);
            }
        }
        let (d_last, d_each) = d_squares.split_at_mut(square);
        let (visits, clicks) = (self.starts.len() - 1, self.clicks.len());
        let product = |inputs: &[f32], count: usize, by: &[f32], out: &mut [f32]| {
            gemm(
                [width, width, count],
                columns(inputs, width),
                (by, width),
                (out, width),
            );
        };
        product(&self.lasts, visits, &self.from_last, d_last);
        product(&self.inputs, clicks, &self.gates, d_each);
        self.back_to_inputs(net);
    }

    /// Adds to `d_inputs` what the gates pass on, and undoes dropout.
    fn back_to_inputs(&mut self, net: &Net) {
        let (width, parts) = (net.width, net.parts());
        let turned = |matrix: &[f32]| -> Vec<f32> {
            let at = |place: usize| matrix[place % width * width + place / width];
            (0..width * width).map(at).collect()
        };
        let each = turned(parts.each(&net.attention));
        let shape = [self.clicks.len(), width, width];
        let to = (&mut self.d_inputs[..], width);
        gemm(shape, rows(&self.gates, width), (&each, width), to);
        let last = turned(parts.last(&net.attention));
        let count = self.count();
        zeroed(&mut self.lasts, count * width);
        let shape = [count, width, width];
        let to = (&mut self.lasts[..], width);
        gemm(shape, rows(&self.from_last, width), (&last, width), to);
        for (start, d_last) in self.starts.iter().zip(self.lasts.chunks_exact(width)) {
            add_scaled(&mut self.d_inputs[start * width..][..width], d_last, 1.0);
        }
        self.d_inputs
            .iter_mut()
            .zip(&self.kept)
            .for_each(|(d_input, kept)| *d_input *= kept);
    }
}
