//! How likely each tag is of each token of a sentence, by the forward-backward algorithm.

/// A tag that is less likely than this, as far as the tokens on its one side tell, is passed over.
const NEVER: f32 = 1e-4;

/// How tags follow one another: `exp` of the weight of each pair.
#[derive(Default)]
pub(super) struct Follows {
    tags: usize,
    /// From the first to the second, row by row; and from the second to the first.
    onward: Vec<f32>,
    backward: Vec<f32>,
}

impl Follows {
    /// Of weights from the first to the second, row by row.
    pub fn new(tags: usize, weights: &[f32]) -> Self {
        let mut follows = Self { tags, onward: vec![0.0; tags * tags], backward: vec![0.0; tags * tags] };
        weights.iter().enumerate().for_each(|(pair, weight)| follows.set(pair, *weight));
        follows
    }

    /// Takes of others those between some of the tags.
    pub fn take(&mut self, of: &Self, tags: &[usize]) {
        self.tags = tags.len();
        let pair = |first: &usize, second: &usize| of.onward.get(first * of.tags + second).copied().unwrap_or_default();
        self.onward.clear();
        self.onward.extend(tags.iter().flat_map(|first| tags.iter().map(move |second| pair(first, second))));
        self.backward.clear();
        self.backward.extend(tags.iter().flat_map(|second| tags.iter().map(move |first| pair(first, second))));
    }

    /// Changes the weight of a pair, by its place in the rows.
    pub fn set(&mut self, pair: usize, weight: f32) {
        let (first, second) = (pair / self.tags, pair % self.tags);
        let places = [self.onward.get_mut(pair), self.backward.get_mut(second * self.tags + first)];
        places.into_iter().flatten().for_each(|place| *place = weight.exp());
    }
}

/// The tokens of a sentence, each with its tags. All is by token, then by tag.
#[derive(Default)]
pub(super) struct Lattice {
    tags: usize,
    /// The weights of the tags; once run, `exp` of them.
    scores: Vec<f32>,
    forward: Vec<f32>,
    backward: Vec<f32>,
    /// Once run: how likely each tag is.
    pub likely: Vec<f32>,
    row: Vec<f32>,
    after: Vec<f32>,
}

impl Lattice {
    /// Begins a sentence.
    pub fn begin(&mut self, tags: usize) {
        self.tags = tags;
        self.scores.clear();
    }

    /// Adds a token with the weights of its tags.
    pub fn push(&mut self, weights: impl Iterator<Item = f32>) {
        self.scores.extend(weights.take(self.tags));
    }

    /// Turns weights into how likely each tag is of each token, given the whole sentence.
    pub fn run(&mut self, follows: &Follows) {
        let tags = self.tags;
        let Self { scores, forward, backward, likely, row, after, .. } = self;
        for scores in scores.chunks_exact_mut(tags) {
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            scores.iter_mut().for_each(|score| *score = exp(*score - most));
        }
        forward.clear();
        row.clear();
        row.resize(tags, 1.0);
        for scores in scores.chunks_exact(tags) {
            row.iter_mut().zip(scores).for_each(|(sum, score)| *sum *= score);
            normalise(row);
            forward.extend_from_slice(row);
            let before = forward.get(forward.len() - tags..).unwrap_or_default();
            row.fill(0.0);
            add_rows(row, before, &follows.onward);
        }
        backward.clear();
        backward.resize(scores.len(), 1.0);
        after.clear();
        after.resize(tags, 1.0);
        for (scores, backward) in scores.chunks_exact(tags).zip(backward.chunks_exact_mut(tags)).rev() {
            backward.copy_from_slice(after);
            row.iter_mut().zip(scores.iter().zip(backward.iter())).for_each(|(next, (score, b))| *next = score * b);
            normalise(row);
            after.fill(0.0);
            add_rows(after, row, &follows.backward);
        }
        likely.clear();
        likely.extend(forward.iter().zip(backward.iter()).map(|(forward, backward)| forward * backward));
        likely.chunks_exact_mut(tags).for_each(normalise);
    }

    /// Once run: how likely pairs of tags are of the tokens before and at a place.
    pub fn pairs(&self, at: usize, follows: &Follows, mut found: impl FnMut(usize, usize, f32)) {
        let tags = self.tags;
        let of = |all: &'_ [f32], at: usize| all.get(at * tags..(at + 1) * tags).unwrap_or_default().to_vec();
        let Some(before) = at.checked_sub(1) else { return };
        let next: Vec<f32> = of(&self.scores, at).iter().zip(of(&self.backward, at)).map(|(s, b)| s * b).collect();
        let first = of(&self.forward, before);
        let rows = || first.iter().zip(follows.onward.chunks_exact(tags));
        let weighed = |row: &[f32]| row.iter().zip(&next).map(|(weight, next)| weight * next).sum::<f32>();
        let sum: f32 = rows().map(|(share, row)| share * weighed(row)).sum();
        for (tag, (share, row)) in rows().enumerate() {
            let pairs = row.iter().zip(&next).enumerate();
            pairs.for_each(|(second, (weight, next))| found(tag, second, share * weight * next / sum));
        }
    }
}

/// The exponential function of a number that is not positive, near enough: by multiplications alone, so that it is the same on every
/// machine.
fn exp(x: f32) -> f32 {
    let mut power = (1.0 + x / 1024.0).max(0.0);
    for _ in 0..10 {
        power *= power;
    }
    power
}

/// Adds the rows of a square, each as often as its share says.
fn add_rows(sum: &mut [f32], shares: &[f32], rows: &[f32]) {
    for (share, row) in shares.iter().copied().zip(rows.chunks_exact(sum.len())).filter(|(share, _)| *share > NEVER) {
        sum.iter_mut().zip(row).for_each(|(sum, weight)| *sum += share * weight);
    }
}

fn normalise(row: &mut [f32]) {
    let sum: f32 = row.iter().sum();
    if sum > 0.0 {
        row.iter_mut().for_each(|value| *value /= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All ways to tag three tokens with two tags, by counting.
    #[test]
    fn what_is_likely_is_the_share_of_all_ways() {
        let scores = [[0.5f32, -0.2], [0.1, 0.9], [-1.0, 0.3]];
        let transitions = [[0.2f32, -0.5], [0.7, 0.1]];
        let follows = Follows::new(2, transitions.as_flattened());
        let mut lattice = Lattice::default();
        lattice.begin(2);
        scores.iter().for_each(|scores| lattice.push(scores.iter().copied()));
        lattice.run(&follows);
        let (mut all, mut likely, mut pairs) = (0.0, [[0.0f32; 2]; 3], [[0.0f32; 2]; 2]);
        for way in 0..8usize {
            let tags = [way & 1, way >> 1 & 1, way >> 2];
            let mut weight: f32 = tags.iter().zip(scores).map(|(tag, scores)| scores[*tag]).sum();
            weight += transitions[tags[0]][tags[1]] + transitions[tags[1]][tags[2]];
            all += weight.exp();
            tags.iter().enumerate().for_each(|(at, tag)| likely[at][*tag] += weight.exp());
            pairs[tags[1]][tags[2]] += weight.exp();
        }
        for (got, expected) in lattice.likely.iter().zip(likely.iter().flatten()) {
            assert!((got - expected / all).abs() < 1e-3, "{got} {expected}");
        }
        lattice.pairs(2, &follows, |first, second, got| {
            let expected = pairs[first][second] / all;
            assert!((got - expected).abs() < 1e-3, "{got} {expected}");
        });
    }
}
