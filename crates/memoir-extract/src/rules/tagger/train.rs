//! Finds the weights of a tagger on annotated sentences.
//!
//! Each sentence moves the weights along the gradient of its conditional likelihood, by FTRL-Proximal (McMahan et al.,
//! "Ad click prediction: a view from the trenches", 2013), whose L1 term leaves most weights at zero. Of the features of a
//! token some are left out by chance in each pass, so that none is relied upon alone; what counts in the end is the mean
//! over the later passes. Chance is a fixed sequence: the same sentences give the same weights.

use std::collections::HashMap;

use super::lattice::{Follows, Lattice};
use super::model::Trained;

/// A sentence with what is to be learned of it.
#[derive(Clone, Debug, Default)]
pub struct TrainingSentence {
    /// The tag of each token: its label, or `O`.
    pub tags: Vec<String>,
    /// The features of each token.
    pub features: Vec<Vec<u32>>,
    /// The features of the whole sentence.
    pub of_sentence: Vec<u32>,
    /// What the gate looks at of each token.
    pub of_gate: Vec<[u32; 10]>,
}

/// How the weights are found.
#[derive(Clone, Copy, Debug)]
pub struct TrainingOptions {
    /// How often all sentences are gone through.
    pub passes: usize,
    /// How far a step goes.
    pub rate: f32,
    /// What keeps weights at zero, and what keeps them small.
    pub l1: f32,
    pub l2: f32,
    /// Which share of the features is left out by chance.
    pub dropout: f32,
    /// Features that are seen less often are not used.
    pub seen: usize,
    /// Which share of the sentences with marks the gate may lose.
    pub lost: f32,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self { passes: 14, rate: 0.1, l1: 30.0, l2: 1.0, dropout: 0.5, seen: 2, lost: 0.09 }
    }
}

/// A smaller weight is none.
const LEAST: f32 = 0.02;

/// A weight under FTRL-Proximal.
#[derive(Clone, Copy, Default)]
struct Weight {
    z: f32,
    n: f32,
    value: f32,
    /// The sum of its values at the ends of the later passes.
    sum: f32,
}

impl Weight {
    fn step(&mut self, gradient: f32, options: &TrainingOptions) {
        let n = self.n + gradient * gradient;
        let sigma = (n.sqrt() - self.n.sqrt()) / options.rate;
        self.z += gradient - sigma * self.value;
        self.n = n;
        self.value = if self.z.abs() <= options.l1 {
            0.0
        } else {
            (self.z.signum() * options.l1 - self.z) / ((1.0 + n.sqrt()) / options.rate + options.l2)
        };
    }
}

/// Chance that is the same each time: xorshift.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap_or_default() % bound.max(1)
    }

    fn happens(&mut self, share: f32) -> bool {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32 > 1.0 - share
    }

    fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.below(at + 1));
        }
    }
}

/// Sentences with numbers in the place of tags and features.
struct Numbered {
    tags: Vec<usize>,
    /// Numbers of features; the sentence's are among those of each token.
    features: Vec<Vec<u32>>,
}

/// The weights of a tagger and of its gate, found on sentences.
pub(super) fn train(sentences: &[TrainingSentence], options: &TrainingOptions) -> Trained {
    let (weights, least) = gate(sentences, options);
    let mut trained = field(sentences, options);
    trained.gate = weights;
    trained.least = least;
    trained
}

/// The conditional random field.
fn field(sentences: &[TrainingSentence], options: &TrainingOptions) -> Trained {
    let mut tags: Vec<String> = sentences.iter().flat_map(|sentence| sentence.tags.iter().cloned()).collect();
    tags.sort_unstable_by_key(|tag| (tag != "O", tag.clone()));
    tags.dedup();
    let number: HashMap<&str, usize> = tags.iter().enumerate().map(|(number, tag)| (tag.as_str(), number)).collect();
    let mut seen: HashMap<u32, usize> = HashMap::new();
    for sentence in sentences {
        let all = sentence.features.iter().flatten().chain(&sentence.of_sentence);
        all.for_each(|feature| *seen.entry(*feature).or_default() += 1);
    }
    let mut features: Vec<u32> =
        seen.into_iter().filter(|(_, n)| *n >= options.seen).map(|(feature, _)| feature).collect();
    features.sort_unstable();
    let index = |feature: &u32| features.binary_search(feature).ok().and_then(|at| u32::try_from(at).ok());
    let numbered: Vec<Numbered> = sentences
        .iter()
        .map(|sentence| {
            let own = |own: &Vec<u32>| own.iter().chain(&sentence.of_sentence).filter_map(index).collect();
            let tags = sentence.tags.iter().map(|tag| number.get(tag.as_str()).copied().unwrap_or_default());
            Numbered { tags: tags.collect(), features: sentence.features.iter().map(own).collect() }
        })
        .collect();
    // A feature has weights for the tags that it was seen with.
    let mut with: Vec<Vec<(u8, Weight)>> = vec![Vec::new(); features.len()];
    for sentence in &numbered {
        for (tag, features) in sentence.tags.iter().zip(&sentence.features) {
            let tag = u8::try_from(*tag).unwrap_or_default();
            for feature in features {
                if let Some(with) = with.get_mut(*feature as usize)
                    && !with.iter().any(|(known, _)| *known == tag)
                {
                    with.push((tag, Weight::default()));
                }
            }
        }
    }
    let count = tags.len();
    let mut transitions = vec![Weight::default(); count * count];
    let mut follows = Follows::new(count, &vec![0.0; count * count]);
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut order: Vec<usize> = (0..numbered.len()).collect();
    let (mut lattice, mut scores) = (Lattice::default(), vec![0.0f32; count]);
    let scale = 1.0 / (1.0 - options.dropout);
    let later = options.passes.div_ceil(2);
    for pass in 0..options.passes {
        chance.shuffle(&mut order);
        for at in &order {
            let Some(sentence) = numbered.get(*at) else { continue };
            let keep = |features: &Vec<u32>| -> Vec<u32> {
                features.iter().copied().filter(|_| !chance.happens(options.dropout)).collect()
            };
            let kept: Vec<Vec<u32>> = sentence.features.iter().map(keep).collect();
            lattice.begin(count);
            for features in &kept {
                scores.fill(0.0);
                for (tag, weight) in features.iter().filter_map(|feature| with.get(*feature as usize)).flatten() {
                    if let Some(score) = scores.get_mut(usize::from(*tag)) {
                        *score += weight.value * scale;
                    }
                }
                lattice.push(scores.iter().copied());
            }
            lattice.run(&follows);
            for at in 1..kept.len() {
                let gold =
                    sentence.tags.get(at - 1).zip(sentence.tags.get(at)).map(|(first, second)| first * count + second);
                lattice.pairs(at, &follows, |first, second, likely| {
                    let pair = first * count + second;
                    let gradient = likely - f32::from(gold == Some(pair));
                    if let Some(weight) = transitions.get_mut(pair).filter(|_| gradient.abs() > 1e-4) {
                        weight.step(gradient, options);
                    }
                });
            }
            transitions.iter().enumerate().for_each(|(pair, weight)| follows.set(pair, weight.value));
            for (at, (features, gold)) in kept.iter().zip(&sentence.tags).enumerate() {
                let likely = lattice.likely.get(at * count..(at + 1) * count).unwrap_or_default();
                for feature in features {
                    for (tag, weight) in with.get_mut(*feature as usize).into_iter().flatten() {
                        let tag = usize::from(*tag);
                        let gradient = likely.get(tag).copied().unwrap_or_default() - f32::from(tag == *gold);
                        if gradient.abs() > 1e-4 {
                            weight.step(gradient * scale, options);
                        }
                    }
                }
            }
        }
        if options.passes - pass <= later {
            with.iter_mut().flatten().for_each(|(_, weight)| weight.sum += weight.value);
            transitions.iter_mut().for_each(|weight| weight.sum += weight.value);
        }
    }
    let mean = |weight: &Weight| weight.sum / later as f32;
    let weights = features.into_iter().zip(with).map(|(feature, with)| {
        (
            feature,
            with.iter().map(|(tag, weight)| (*tag, mean(weight))).filter(|(_, value)| value.abs() >= LEAST).collect(),
        )
    });
    let weights: Vec<(u32, Vec<(u8, f32)>)> = weights.filter(|(_, with): &(u32, Vec<_>)| !with.is_empty()).collect();
    let transitions = transitions.iter().map(mean);
    Trained { transitions: transitions.collect(), tags: tags.clone(), weights, ..Trained::default() }
}

/// The gate: a logistic regression over tokens, and the least sum by which it loses no more than it may.
fn gate(sentences: &[TrainingSentence], options: &TrainingOptions) -> (Vec<(u32, f32)>, f32) {
    const HELD: usize = 8;
    let own = |held: bool| {
        let of = sentences.iter().enumerate().filter(move |(at, _)| !held || at % HELD != 0);
        logistic(of.map(|(_, sentence)| sentence), options)
    };
    let weights = own(true);
    let most = |sentence: &TrainingSentence| {
        let sum = |token: &[u32; 10]| token.iter().filter_map(|feature| weights.get(feature)).sum::<f32>();
        sentence.of_gate.iter().map(sum).fold(f32::MIN, f32::max)
    };
    let held = sentences.iter().step_by(HELD).filter(|sentence| sentence.tags.iter().any(|tag| tag != "O"));
    let mut sums: Vec<f32> = held.map(most).collect();
    sums.sort_unstable_by(f32::total_cmp);
    let least = sums.get((sums.len() as f32 * options.lost) as usize).copied().unwrap_or_default();
    let mut weights: Vec<(u32, f32)> = own(false).into_iter().collect();
    weights.sort_unstable_by_key(|(feature, _)| *feature);
    (weights, least)
}

fn logistic<'s>(sentences: impl Iterator<Item = &'s TrainingSentence>, options: &TrainingOptions) -> HashMap<u32, f32> {
    const PASSES: usize = 4;
    let mut tokens: Vec<(&[u32; 10], bool)> = sentences
        .flat_map(|sentence| sentence.of_gate.iter().zip(sentence.tags.iter().map(|tag| tag != "O")))
        .collect();
    let mut weights: HashMap<u32, Weight> = HashMap::new();
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    for _ in 0..PASSES {
        chance.shuffle(&mut tokens);
        for (features, marked) in &tokens {
            let sum: f32 = features.iter().filter_map(|feature| weights.get(feature)).map(|weight| weight.value).sum();
            let gradient = 1.0 / (1.0 + (-sum).exp()) - f32::from(*marked);
            for feature in *features {
                weights.entry(*feature).or_default().step(gradient, options);
            }
        }
    }
    weights.into_iter().map(|(feature, weight)| (feature, weight.value)).filter(|(_, value)| *value != 0.0).collect()
}
