//! What the tagger looks at: features of a sentence, and of each of its tokens, as hashes.

use super::tokens::{Shape, Token, hash};

/// Stands where a sentence has no token.
const NOTHING: u32 = 0;

/// Where a sentence stands.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::rules) struct Context {
    /// Whether it is the message's first.
    pub first: bool,
    /// Whether it is the message's first, and the assistant said something just before.
    pub answers: bool,
    /// The first two words of the sentence before it in its message.
    pub before: [u32; 2],
    /// Whether the user wrote something before in the conversation.
    pub later: bool,
}

/// The words of a message, in order.
pub(in crate::rules) type MessageWords = Vec<u32>;

/// The words that were used before in a conversation, by message.
#[derive(Clone, Debug, Default)]
pub(in crate::rules) struct Said<'r> {
    pub by_user: Vec<&'r MessageWords>,
    pub by_assistant: Vec<&'r MessageWords>,
    /// The words of the question that the assistant asked just before.
    pub asked: MessageWords,
}

impl Said<'_> {
    /// 1 for a word that the user used before, 2 for one that only the assistant did.
    fn whose(&self, word: u32) -> u32 {
        let among = |messages: &[&MessageWords]| messages.iter().any(|words| words.binary_search(&word).is_ok());
        if among(&self.by_user) { 1 } else { 2 * u32::from(among(&self.by_assistant)) }
    }
}

/// A feature: which sort, and the values that make it up.
#[inline]
fn feature(sort: u32, [one, two, three]: [u32; 3]) -> u32 {
    const MIX: u64 = 0xff51_afd7_ed55_8ccd;
    let pair = u64::from(one) | u64::from(two) << 32;
    let third = u64::from(three) | u64::from(sort) << 32;
    let mixed = (pair ^ third.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(MIX);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(MIX) >> 32;
    // Zero is no feature.
    u32::try_from(mixed).unwrap_or_default().max(1)
}

/// The words that features ask for, by their hashes.
struct Known {
    first_person: Vec<u32>,
    third_person: Vec<u32>,
    supposing: Vec<u32>,
    second_person: Vec<u32>,
    marks: Vec<u32>,
    joins: Vec<u32>,
    he_or_she: Vec<u32>,
    possessive: Vec<u32>,
    question_mark: u32,
    slash: u32,
    /// Frequent small words of English, and of the languages that are mixed with it.
    english: Vec<u32>,
    foreign: Vec<u32>,
}

impl Known {
    fn new() -> Self {
        let of = |words: &str| words.split(' ').map(|word| hash(word.bytes())).collect();
        Self {
            first_person: of("i im ive id ill my mine me we weve were our us myself"),
            third_person: of("he she they hes shes theyre his her their him them someone somebody people everyone who"),
            supposing: of("if would could wish imagine suppose pretend hypothetically unless might maybe"),
            second_person: of("you your youre u ur yours"),
            marks: of(", ; : . ! ? ( ) - / ... …"),
            joins: of("and but so because cause cos cuz since though although while"),
            he_or_she: of("he she hes shes"),
            possessive: of("his her their your whose"),
            question_mark: hash("?".bytes()),
            slash: hash("/".bytes()),
            english: of(
                "the i im ive my is are was and to a an of for it its with on at that this have not dont do can how what you but so",
            ),
            foreign: of(
                "ich und nicht der das ist mit auf ein eine einen mein meine meinen habe bin wir kein keine für zu wie was es \
                 el la los las que soy tengo mi es una un para con por en del como no yo me al lo \
                 je suis et le les une des pour avec dans pas jai mon ma eu tenho minha meu uma não em com sono ho il di che",
            ),
        }
    }

    fn is_person(&self, word: u32) -> bool {
        [&self.first_person, &self.second_person, &self.third_person].iter().any(|words| words.contains(&word))
    }
}

/// Writes features of a sentence and of its tokens.
pub(super) struct Features {
    known: Known,
}

impl Features {
    pub fn new() -> Self {
        Self { known: Known::new() }
    }

    /// Whether what follows a token is rather about him or her than about the user; `None` where the token does not tell.
    pub fn is_of_another(&self, token: &Token, next: Option<&Token>) -> Option<bool> {
        // "she/her" is what the user goes by.
        let among_pronouns = next.is_some_and(|next| next.word == self.known.slash);
        if self.known.he_or_she.contains(&token.word) && !among_pronouns {
            return Some(true);
        }
        self.known.first_person.contains(&token.word).then_some(false)
    }

    /// Whether a token says that what follows is somebody else's.
    pub fn is_of_others(&self, token: &Token) -> bool {
        self.known.possessive.contains(&token.word)
    }

    /// Whether a sentence is in another language, as far as its small words tell.
    pub fn is_foreign(&self, tokens: &[Token]) -> bool {
        let count = |words: &[u32]| tokens.iter().filter(|token| words.contains(&token.word)).count();
        count(&self.known.foreign) > count(&self.known.english)
    }

    /// What the gate looks at of each token.
    pub fn of_gate(&self, tokens: &[Token], context: &Context, mut found: impl FnMut(&[u32; 10])) {
        let asks = self.asks(tokens);
        let first = tokens.first().map_or(NOTHING, |token| token.word);
        let (mut before, mut two_before, mut person) = (NOTHING, NOTHING, NOTHING);
        let answers = u32::from(context.answers);
        for (at, token) in tokens.iter().enumerate() {
            let class = u32::from(token.middle);
            let after = tokens.get(at + 1).map_or(NOTHING, |token| token.word);
            found(&[
                feature(201, [token.word, 0, 0]),
                feature(202, [before, token.word, 0]),
                feature(203, [token.word, after, 0]),
                feature(204, [before, class, 0]),
                feature(205, [two_before, before, 0]),
                feature(206, [u32::from(token.fine), 0, 0]),
                feature(207, [two_before, before, class]),
                feature(208, [asks, class, first]),
                feature(209, [person, class, asks]),
                feature(210, [answers, class, u32::try_from(tokens.len().min(8)).unwrap_or_default()]),
            ]);
            (two_before, before) = (before, token.word);
            if self.known.is_person(token.word) {
                person = token.word;
            }
        }
    }

    /// What holds for the whole sentence.
    pub fn of_sentence(&self, tokens: &[Token], context: &Context, said: &Said<'_>, found: &mut Vec<u32>) {
        let asked: &[u32] = if context.answers { &said.asked } else { &[] };
        found.clear();
        let known = &self.known;
        let word = |at: usize| tokens.get(at).map_or(NOTHING, |token| token.word);
        let has = |words: &[u32]| u32::from(tokens.iter().any(|token| words.contains(&token.word)));
        let asks = self.asks(tokens);
        let length = u32::try_from(tokens.len().div_ceil(4).min(6)).unwrap_or_default();
        let mut add = |sort, values| found.push(feature(sort, values));
        add(1, [asks, 0, 0]);
        add(2, [word(0), 0, 0]);
        add(3, [word(0), word(1), 0]);
        add(4, [has(&known.first_person), asks, 0]);
        add(5, [has(&known.third_person), has(&known.first_person), 0]);
        add(6, [has(&known.supposing), asks, 0]);
        add(7, [has(&known.second_person), asks, 0]);
        add(8, [length, 0, 0]);
        add(9, [u32::from(context.first), u32::from(context.answers), length]);
        add(12, [context.before[0], 0, 0]);
        add(13, [context.before[0], context.before[1], 0]);
        add(14, [u32::from(context.later), has(&known.first_person), asks]);
        add(15, [u32::from(context.later), word(0), 0]);
        for asked in asked {
            add(10, [*asked, 0, 0]);
        }
        if tokens.len() <= 4 {
            for asked in asked {
                add(11, [*asked, length, 0]);
            }
        }
    }

    fn asks(&self, tokens: &[Token]) -> u32 {
        u32::from(tokens.iter().rev().take(3).any(|token| token.word == self.known.question_mark))
    }

    /// What holds for each token that is wanted; `found` gets the features of one after the other.
    pub fn of_tokens(
        &self,
        tokens: &[Token],
        said: &Said<'_>,
        wanted: impl Fn(usize) -> bool,
        mut found: impl FnMut(usize, &[u32]),
    ) {
        let asks = self.asks(tokens);
        let mut features = Vec::with_capacity(96);
        let mut clause = Clause::default();
        for (at, token) in tokens.iter().enumerate() {
            clause.enter(&self.known, tokens, at);
            if wanted(at) {
                features.clear();
                Self::of_token(tokens, at, [asks, said.whose(token.word)], &clause, &mut features);
                found(at, &features);
            }
            clause.leave(&self.known, token);
        }
    }

    fn of_token(tokens: &[Token], at: usize, [asks, whose]: [u32; 2], clause: &Clause, found: &mut Vec<u32>) {
        let near = |by: isize| at.checked_add_signed(by).and_then(|at| tokens.get(at));
        let w = |by| near(by).map_or(NOTHING, |token| token.word);
        let fine = |by| near(by).map_or(u32::MAX, |token| u32::from(token.fine));
        let mid = |by| near(by).map_or(u32::MAX, |token| u32::from(token.middle));
        let big = |by| near(by).map_or(u32::MAX, |token| u32::from(token.coarse));
        let shape = |by| near(by).map_or(9, |token| shape_number(token.shape));
        let mut sort = 20;
        let mut add = |values| {
            sort += 1;
            found.push(feature(sort, values));
        };
        // The words around.
        for by in -3..=2 {
            add([w(by), 0, 0]);
        }
        add([w(-1), w(0), 0]);
        add([w(0), w(1), 0]);
        add([w(-2), w(-1), 0]);
        add([w(1), w(2), 0]);
        add([w(-3), w(-2), w(-1)]);
        add([w(-2), w(-1), w(0)]);
        add([w(-1), w(0), w(1)]);
        // Their classes.
        for by in -1..=1 {
            add([fine(by), 0, 0]);
            add([mid(by), 0, 0]);
            add([big(by), 0, 0]);
        }
        add([mid(-2), 0, 0]);
        add([mid(2), 0, 0]);
        add([mid(-1), mid(0), 0]);
        add([mid(0), mid(1), 0]);
        add([big(-1), big(0), big(1)]);
        add([w(-1), fine(0), 0]);
        add([w(-1), mid(0), 0]);
        add([w(-2), w(-1), big(0)]);
        add([w(-2), w(-1), mid(0)]);
        add([w(-2), mid(-1), mid(0)]);
        add([mid(0), w(1), 0]);
        add([w(-1), mid(0), mid(1)]);
        // How they are written.
        let here = tokens.get(at);
        add([shape(0), 0, 0]);
        add([shape(-1), shape(0), shape(1)]);
        add([shape(0), w(-1), 0]);
        add([shape(0), w(-1), w(-2)]);
        add([shape(0), w(1), 0]);
        add([here.map_or(NOTHING, |token| token.prefix), 0, 0]);
        add([here.map_or(NOTHING, |token| token.suffix), 0, 0]);
        add([here.map_or(NOTHING, |token| token.ending), 0, 0]);
        // The clause so far.
        let [person, verb, object] = clause.subject;
        add([person, verb, 0]);
        add([person, verb, object]);
        add([person, verb, mid(0)]);
        add([verb, big(0), 0]);
        add([verb, w(-1), mid(0)]);
        add([clause.first, 0, 0]);
        add([clause.first, clause.second, 0]);
        add([clause.first, big(0), 0]);
        add([u32::from(clause.of_others), person, 0]);
        add([clause.preposition, mid(0), 0]);
        add([clause.preposition, fine(0), 0]);
        add([asks, w(0), 0]);
        add([asks, mid(0), 0]);
        // Whom it is about, and who said it before.
        add([clause.person, mid(0), 0]);
        add([clause.person, person, verb]);
        add([whose, mid(0), 0]);
        add([whose, w(1), 0]);
        add([whose, verb, 0]);
    }
}

fn shape_number(shape: Shape) -> u32 {
    match shape {
        Shape::Small => 1,
        Shape::Capital => 2,
        Shape::AllCapitals => 3,
        Shape::Digits => 4,
        Shape::Mixed => 5,
        Shape::Mark => 6,
    }
}

/// What stands in the clause before a token.
#[derive(Default)]
struct Clause {
    /// The last word of the first person, and the two words after it; not beyond the token itself.
    subject: [u32; 3],
    filled: usize,
    first: u32,
    second: u32,
    length: usize,
    /// The last word of the sentence that stands for a person.
    person: u32,
    /// Whether somebody else was named in it.
    of_others: bool,
    /// The last small word ("in", "at", "for", "with") before the token.
    preposition: u32,
}

impl Clause {
    fn enter(&mut self, known: &Known, tokens: &[Token], at: usize) {
        let Some(token) = tokens.get(at) else { return };
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        let begins =
            before.is_none_or(|before| known.marks.contains(&before.word) || known.joins.contains(&before.word));
        if begins {
            (self.first, self.second, self.length, self.of_others) = (token.word, NOTHING, 0, false);
            self.preposition = NOTHING;
        }
    }

    fn leave(&mut self, known: &Known, token: &Token) {
        self.length += 1;
        if self.length == 2 {
            self.second = token.word;
        }
        if known.first_person.contains(&token.word) {
            self.subject = [token.word, NOTHING, NOTHING];
            self.filled = 1;
        } else if let Some(place) = self.subject.get_mut(self.filled).filter(|_| self.filled > 0) {
            *place = token.word;
            self.filled += 1;
        }
        self.of_others |= known.third_person.contains(&token.word);
        if known.is_person(token.word) {
            self.person = token.word;
        }
        if token.end - token.start <= 4 && token.shape == Shape::Small {
            self.preposition = token.word;
        }
    }
}
