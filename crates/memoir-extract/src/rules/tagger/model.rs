//! The file of a tagger: classes of words, and the weights of a linear-chain conditional random field.
//!
//! All numbers are little-endian. A head of 16 bytes; the number of words, their hashes in order, the class of each; the
//! number of classes, the middle and the coarse class of each; the number of tags and their names; a weight for each
//! pair of tags that follow one another; the number of features, their hashes in order, where the weights of each begin;
//! the number of weights, the tag of each, and the weights in thousandths. Then the gate: the least sum, the number of
//! features, their hashes in order, and their weights; all in thousandths.

/// What each file begins with.
const HEAD: &[u8; 16] = b"memoir tagger 1\n";
/// What the weights of features are counted in.
pub(super) const UNIT: f32 = 1e-3;

/// The classes of words: words that are used alike have one.
#[derive(Default)]
pub(super) struct Words {
    by_hash: Table<u16>,
    /// By the fine class.
    coarser: Vec<(u16, u16)>,
}

impl Words {
    /// The fine, the middle and the coarse class of a word by its hash; zeros where it is not known.
    pub fn classes(&self, word: u32) -> (u16, u16, u16) {
        let Some(fine) = self.by_hash.get(word) else { return (0, 0, 0) };
        let (middle, coarse) = self.coarser.get(usize::from(fine)).copied().unwrap_or_default();
        (fine + 1, middle + 1, coarse + 1)
    }

    /// A file of a tagger with these words.
    pub fn write(&self, trained: &Trained) -> Vec<u8> {
        let thousandths = |weight: f32| (weight / UNIT).round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i32;
        let mut file = HEAD.to_vec();
        let mut words: Vec<(u32, u16)> = self.by_hash.slots.iter().copied().filter(|(key, _)| *key != FREE).collect();
        words.sort_unstable();
        let u32s = |file: &mut Vec<u8>, numbers: &mut dyn Iterator<Item = u32>| {
            numbers.for_each(|number| file.extend(number.to_le_bytes()));
        };
        let u16s = |file: &mut Vec<u8>, numbers: &mut dyn Iterator<Item = u16>| {
            numbers.for_each(|number| file.extend(number.to_le_bytes()));
        };
        let count =
            |file: &mut Vec<u8>, count: usize| file.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        let weight = |weight: f32| i16::try_from(thousandths(weight)).unwrap_or_default().cast_unsigned();
        count(&mut file, words.len());
        u32s(&mut file, &mut words.iter().map(|(hash, _)| *hash));
        u16s(&mut file, &mut words.iter().map(|(_, class)| *class));
        count(&mut file, self.coarser.len());
        u16s(&mut file, &mut self.coarser.iter().map(|(middle, _)| *middle));
        u16s(&mut file, &mut self.coarser.iter().map(|(_, coarse)| *coarse));
        count(&mut file, trained.tags.len());
        for tag in &trained.tags {
            file.push(u8::try_from(tag.len()).unwrap_or(u8::MAX));
            file.extend(tag.bytes());
        }
        u32s(&mut file, &mut trained.transitions.iter().map(|weight| weight.to_bits()));
        let features = &trained.weights;
        count(&mut file, features.len());
        u32s(&mut file, &mut features.iter().map(|(hash, _)| *hash));
        let mut begins = 0;
        for (_, with) in features {
            count(&mut file, begins);
            begins += with.len();
        }
        count(&mut file, begins);
        file.extend(features.iter().flat_map(|(_, with)| with.iter().map(|(tag, _)| *tag)));
        u16s(&mut file, &mut features.iter().flat_map(|(_, with)| with.iter().map(|(_, value)| weight(*value))));
        file.extend(thousandths(trained.least).to_le_bytes());
        let of_gate: Vec<&(u32, f32)> = trained.gate.iter().filter(|(_, value)| thousandths(*value) != 0).collect();
        count(&mut file, of_gate.len());
        u32s(&mut file, &mut of_gate.iter().map(|(hash, _)| *hash));
        u16s(&mut file, &mut of_gate.iter().map(|(_, value)| weight(*value)));
        file
    }
}

/// What training found.
#[derive(Default)]
pub(super) struct Trained {
    pub tags: Vec<String>,
    /// From the first to the second, row by row.
    pub transitions: Vec<f32>,
    /// Of each feature, in the order of their hashes: the weights of tags.
    pub weights: Vec<(u32, Vec<(u8, f32)>)>,
    pub gate: Vec<(u32, f32)>,
    pub least: f32,
}

/// The weights of each feature for tags.
#[derive(Default)]
pub(super) struct Weights {
    /// Where the weights of a feature lie.
    features: Table<Place>,
    tags: Vec<u8>,
    /// In thousandths.
    weights: Vec<i16>,
    /// Rows with a weight for each tag, in thousandths.
    rows: Vec<i16>,
    /// How long a row is: so many tags, and zeros up to a multiple of eight.
    width: usize,
}

/// Where the weights of a feature lie: those for few tags with the tags beside them, those for many in a row.
#[derive(Clone, Copy)]
enum Place {
    Few { from: u32, to: u32 },
    Row { from: u32 },
}

impl Default for Place {
    fn default() -> Self {
        Self::Row { from: 0 }
    }
}

/// A feature with weights for at least so many tags has a row: that is added at once.
const MANY: usize = 6;

impl Weights {
    /// `begins` tells where the weights of each feature begin, and where the last ones end.
    fn new(hashes: Vec<u32>, begins: &[u32], of_tags: &[u8], all: &[i16], tags: usize) -> Self {
        let width = tags.next_multiple_of(8);
        let mut made = Self { width, ..Self::default() };
        let index = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let places = begins.windows(2).map(|ends| {
            let range = ends.first().map_or(0, |from| *from as usize)..ends.last().map_or(0, |to| *to as usize);
            let own_tags = of_tags.get(range.clone()).unwrap_or_default();
            let own = all.get(range).unwrap_or_default();
            if own.len() < MANY {
                let from = index(made.tags.len());
                made.tags.extend(own_tags);
                made.weights.extend(own);
                return Place::Few { from, to: index(made.tags.len()) };
            }
            let from = made.rows.len();
            made.rows.resize(from + width, 0);
            for (tag, weight) in own_tags.iter().zip(own) {
                if let Some(place) = made.rows.get_mut(from + usize::from(*tag)) {
                    *place = *weight;
                }
            }
            Place::Row { from: index(from) }
        });
        let places: Vec<Place> = places.collect();
        made.features = hashes.into_iter().zip(places).collect();
        made
    }

    /// How many weights a token has: one for each tag, and zeros.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Adds the weights of a feature to those of the tags, in thousandths.
    #[inline]
    pub fn add(&self, feature: u32, sums: &mut [i16]) {
        match self.features.get(feature) {
            None => {}
            Some(Place::Row { from }) => {
                let row = self.rows.get(from as usize..from as usize + self.width).unwrap_or_default();
                sums.iter_mut().zip(row).for_each(|(sum, weight)| *sum = sum.saturating_add(*weight));
            }
            Some(Place::Few { from, to }) => {
                let range = from as usize..to as usize;
                let (Some(tags), Some(weights)) = (self.tags.get(range.clone()), self.weights.get(range)) else {
                    return;
                };
                for (tag, weight) in tags.iter().zip(weights) {
                    if let Some(sum) = sums.get_mut(usize::from(*tag)) {
                        *sum = sum.saturating_add(*weight);
                    }
                }
            }
        }
    }
}

/// Tells the sentences that are worth a look: weights of features, and the sum from which on one is.
#[derive(Default)]
pub(super) struct Gate {
    weights: Table<i16>,
    pub least: i32,
}

impl Gate {
    /// In thousandths.
    #[inline]
    pub fn weight(&self, feature: u32) -> i32 {
        self.weights.get(feature).map_or(0, i32::from)
    }
}

/// What a file holds.
pub(super) struct Model {
    pub words: Words,
    pub tags: Vec<String>,
    /// The weights of tags that follow one another, from the first to the second, row by row.
    pub transitions: Vec<f32>,
    pub weights: Weights,
    pub gate: Gate,
}

impl Model {
    /// # Errors
    /// Says what is wrong with the file.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut file = Reader { rest: bytes };
        if file.take(HEAD.len())? != HEAD {
            return Err("it does not begin as a tagger does".to_owned());
        }
        let words = file.count()?;
        let hashes = file.u32s(words)?;
        let by_hash = hashes.into_iter().zip(file.u16s(words)?).collect();
        let classes = file.count()?;
        let coarser = file.u16s(classes)?.into_iter().zip(file.u16s(classes)?).collect();
        let tags = file.count()?;
        let names = (0..tags).map(|_| file.text()).collect::<Result<Vec<_>, _>>()?;
        let transitions = file.u32s(tags * tags)?.into_iter().map(f32::from_bits).collect();
        let features = file.count()?;
        let hashes = file.u32s(features)?;
        let mut begins = file.u32s(features)?;
        let count = file.count()?;
        begins.push(u32::try_from(count).unwrap_or(u32::MAX));
        let of_tags = file.take(count)?;
        let weights: Vec<i16> = file.u16s(count)?.into_iter().map(u16::cast_signed).collect();
        let weights = Weights::new(hashes, &begins, of_tags, &weights, tags);
        let least = file.u32s(1)?.first().copied().unwrap_or_default().cast_signed();
        let of_gate = file.count()?;
        let hashes = file.u32s(of_gate)?;
        let of_gate = hashes.into_iter().zip(file.u16s(of_gate)?.into_iter().map(u16::cast_signed)).collect();
        if !file.rest.is_empty() {
            return Err(format!("{} bytes follow its end", file.rest.len()));
        }
        let gate = Gate { weights: of_gate, least };
        Ok(Self { words: Words { by_hash, coarser }, tags: names, transitions, weights, gate })
    }
}

struct Reader<'f> {
    rest: &'f [u8],
}

impl<'f> Reader<'f> {
    fn take(&mut self, count: usize) -> Result<&'f [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn count(&mut self) -> Result<usize, String> {
        Ok(self.u32s(1)?.first().copied().unwrap_or_default() as usize)
    }

    fn u32s(&mut self, count: usize) -> Result<Vec<u32>, String> {
        let bytes = self.take(count.saturating_mul(4))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }

    fn u16s(&mut self, count: usize) -> Result<Vec<u16>, String> {
        let bytes = self.take(count.saturating_mul(2))?;
        Ok(bytes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect())
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.take(1)?.first().copied().unwrap_or_default();
        let bytes = self.take(usize::from(length))?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| format!("a tag's name: {error}"))
    }
}

/// A table by hashes: an array with room, in which a key lies where it says or soon after.
#[derive(Default)]
struct Table<T> {
    /// Key and value; the key [`FREE`] is a free place.
    slots: Vec<(u32, T)>,
}

/// The key of no entry.
const FREE: u32 = 0;

impl<T: Copy> Table<T> {
    #[inline]
    fn get(&self, key: u32) -> Option<T> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = key as usize & mask;
        loop {
            match self.slots.get(at)? {
                (FREE, _) => return None,
                (known, value) if *known == key => return Some(*value),
                _ => at = (at + 1) & mask,
            }
        }
    }
}

impl<T: Copy + Default> FromIterator<(u32, T)> for Table<T> {
    /// Of two values of one key the first counts; the key [`FREE`] has none.
    fn from_iter<I: IntoIterator<Item = (u32, T)>>(entries: I) -> Self {
        let entries: Vec<(u32, T)> = entries.into_iter().filter(|(key, _)| *key != FREE).collect();
        let mut slots = vec![(FREE, T::default()); (entries.len() * 3 / 2 + 1).next_power_of_two()];
        let mask = slots.len() - 1;
        for (key, value) in entries {
            let mut at = key as usize & mask;
            while let Some(slot) = slots.get_mut(at) {
                if slot.0 == FREE {
                    *slot = (key, value);
                }
                if slot.0 == key {
                    break;
                }
                at = (at + 1) & mask;
            }
        }
        Self { slots }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_finds_what_it_holds_and_nothing_else() {
        let entries = (0..1000u32).map(|n| (n * 4096 + n % 3 + 1, n));
        let table: Table<u32> = entries.clone().collect();
        for (key, value) in entries {
            assert_eq!(table.get(key), Some(value));
            assert_eq!(table.get(key + 7), None);
        }
        assert_eq!(Table::<u32>::default().get(1), None);
        assert_eq!([(1, 2), (1, 3)].into_iter().collect::<Table<u32>>().get(1), Some(2));
    }
}
