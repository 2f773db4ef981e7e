//! What people and assistants say in a generated load: small talk, questions, and now and then a fact.
//!
//! A user keeps a [`Persona`]: a home, a job, a diet and so on, which are stated again and again in the same value until
//! the user corrects or withdraws one. Other people's facts and hypotheticals occur too, and so do suggestions of the
//! assistant; none of them is a fact about the user.

use super::random::{SplitMix64, mix};

/// Messages have at least and at most this many characters.
const LENGTHS: (usize, usize) = (40, 200);
/// Of a user's messages.
const FACT_PERCENT: u64 = 15;

/// Something about a person that can be stated, changed and withdrawn. `{value}` is what it is, `{old}` what it was.
struct Attribute {
    values: &'static [&'static str],
    states: &'static [&'static str],
    changes: &'static [&'static str],
    withdrawals: &'static [&'static str],
}

const ATTRIBUTES: [Attribute; 12] = [
    Attribute {
        values: &[
            "Brooklyn",
            "Queens",
            "Austin",
            "San Francisco",
            "Lisbon",
            "Nairobi",
            "Osaka",
            "Toronto",
            "Leeds",
            "Zürich",
            "São Paulo",
            "Kraków",
            "Malmö",
            "Bogotá",
            "Chennai",
            "Manila",
            "Cork",
            "Lagos",
            "Denver",
            "Montréal",
        ],
        states: &[
            "I live in {value}.",
            "I live in {value} with two flatmates.",
            "I'm based in {value}.",
            "I live in {value}, so keep that in mind.",
        ],
        changes: &[
            "I just moved to {value}.",
            "I moved to {value} last week.",
            "Correction: I live in {value}, not in {old}.",
            "Actually, I live in {value} now.",
        ],
        withdrawals: &["Please forget where I live.", "I don't live in {value} any more."],
    },
    Attribute {
        values: &[
            "a nurse",
            "a teacher",
            "a plumber",
            "a lawyer",
            "a baker",
            "a data engineer",
            "an electrician",
            "a translator",
            "an accountant",
            "a bus driver",
            "a florist",
            "a paramedic",
            "a product designer",
            "an archivist",
        ],
        states: &["I work as {value}.", "I'm {value} by trade.", "I work as {value} and I like it.", "I am {value}."],
        changes: &["I got a new job: I now work as {value}.", "I changed careers. I now work as {value}."],
        withdrawals: &["Please forget my job.", "I don't work as {value} any more."],
    },
    Attribute {
        values: &["vegan", "vegetarian", "pescatarian", "gluten-free", "lactose intolerant"],
        states: &["I'm {value}.", "I am {value}, so no surprises please.", "I'm {value}, by the way."],
        changes: &["I'm not {old} any more, I'm {value} now.", "Correction: I'm {value}, not {old}."],
        withdrawals: &["I'm not {value} any more.", "I am no longer {value}."],
    },
    Attribute {
        values: &[
            "named Rex",
            "named Luna",
            "named Beau",
            "named Pixel",
            "called Otto",
            "called Nala",
            "named Chilli",
            "called Søren",
            "named Mochi",
            "called Zoë",
        ],
        states: &["I have a dog {value}.", "I have a dog {value} who hates the postman."],
        changes: &["We got a new dog. I have a dog {value} now.", "Correction, I have a dog {value}."],
        withdrawals: &["Please forget my dog's name.", "I don't have a dog any more."],
    },
    Attribute {
        values: &["named Miso", "named Tiger", "called Figaro", "named Ash", "called Bärli", "named Pepper"],
        states: &["I have a cat {value}.", "I have a cat {value} and no clean sofa."],
        changes: &["The shelter called. I have a cat {value} now.", "Correction, I have a cat {value}."],
        withdrawals: &["I don't have a cat any more.", "Please forget my cat's name."],
    },
    Attribute {
        values: &["peanuts", "shellfish", "penicillin", "gluten", "pollen", "latex", "cashews", "wasp stings"],
        states: &["I'm allergic to {value}.", "I am allergic to {value}, please remember."],
        changes: &["Correction: I'm allergic to {value}, not to {old}."],
        withdrawals: &["I'm not allergic to {value} any more, says the doctor.", "Please forget my allergy."],
    },
    Attribute {
        values: &[
            "a greenhouse",
            "a chess engine",
            "a sailing boat",
            "a wedding planning app",
            "a treehouse",
            "a bread oven",
            "a weather station",
            "a podcast archive",
            "an electric guitar",
            "a budget tracker",
            "a pinball machine",
        ],
        states: &["I'm building {value}.", "I am building {value} in my spare time.", "I'm working on {value}."],
        changes: &["I gave up the old plan, now I'm building {value}.", "I finished it! Now I'm building {value}."],
        withdrawals: &["Forget about the project, I gave it up.", "I'm not building {value} any more."],
    },
    Attribute {
        values: &["50 dollars", "200 dollars", "1000 dollars", "300 euros", "80 pounds", "1,500 euros", "20,000 yen"],
        states: &["My budget is {value}.", "My budget is {value}, not a cent more."],
        changes: &["My budget is {value} now, not {old}.", "Correction: my budget is {value}."],
        withdrawals: &["Please forget my budget.", "Forget the budget, somebody else pays."],
    },
    Attribute {
        values: &["Spanish", "Polish", "Swahili", "Tagalog", "Arabic", "Portuguese", "Tamil", "Welsh", "Ukrainian"],
        states: &["I speak {value}.", "I speak {value} at home.", "I speak {value}, but not well."],
        changes: &["I'm learning {value} now.", "I started to learn {value}."],
        withdrawals: &["Please forget which languages I speak."],
    },
    Attribute {
        values: &["bullet points", "one paragraph", "short sentences", "plain English", "British English"],
        states: &["Please answer in {value}.", "Please always answer in {value}."],
        changes: &["From now on, please answer in {value}.", "I changed my mind, please answer in {value}."],
        withdrawals: &["Forget how I wanted the answers, any form is fine."],
    },
    Attribute {
        values: &["coffee", "green tea", "oat milk", "sparkling water", "maté", "cold brew"],
        states: &["I prefer {value}.", "I prefer {value} in the morning."],
        changes: &["I prefer {value} now.", "I changed my mind, I prefer {value} to {old}."],
        withdrawals: &["I don't care what I drink any more."],
    },
    Attribute {
        values: &["Python", "Rust", "Kotlin", "TypeScript", "Go", "R", "Julia", "Elixir"],
        states: &["I prefer {value} for scripts.", "My favourite language is {value}.", "I mostly write {value}."],
        changes: &["I switched from {old} to {value}.", "I don't write {old} any more, I use {value} now."],
        withdrawals: &["Please forget my favourite language."],
    },
];

/// The facts of one user, as values of [`ATTRIBUTES`]: drawn once, and the next value after each change.
pub struct Persona {
    seed: u64,
    versions: [u8; ATTRIBUTES.len()],
}

impl Persona {
    pub fn new(seed: u64) -> Self {
        Self { seed, versions: [0; ATTRIBUTES.len()] }
    }

    /// Writes a sentence that states, changes or withdraws a fact.
    fn speak(&mut self, random: &mut SplitMix64, out: &mut String) {
        let number = random.below(ATTRIBUTES.len() as u64) as usize;
        let (Some(attribute), Some(version)) = (ATTRIBUTES.get(number), self.versions.get_mut(number)) else {
            return;
        };
        let values = attribute.values.len() as u64;
        let first = mix(self.seed.wrapping_add(number as u64)) % values;
        let value = |version: u8| {
            let index = (first + u64::from(version)) % values;
            attribute.values.get(index as usize).copied().unwrap_or("")
        };
        let old = value(*version);
        let template = match random.below(100) {
            0..75 => random.pick(attribute.states),
            75..92 => {
                *version = version.wrapping_add(1);
                random.pick(attribute.changes)
            }
            _ => random.pick(attribute.withdrawals),
        };
        let value = value(*version);
        fill(template, out, |slot| if slot == "old" { old } else { value });
    }
}

/// A message of the user; one in [`FACT_PERCENT`] of a hundred holds a fact.
pub fn user_message(random: &mut SplitMix64, persona: &mut Persona) -> String {
    let mut text = String::with_capacity(LENGTHS.1);
    if random.percent(FACT_PERCENT) {
        if random.percent(30) {
            sentence(USER, random, &mut text);
            text.push(' ');
        }
        persona.speak(random, &mut text);
    } else {
        sentence(USER, random, &mut text);
    }
    lengthen(text, USER, random)
}

/// A message of the assistant.
pub fn assistant_message(random: &mut SplitMix64) -> String {
    let mut text = String::with_capacity(LENGTHS.1);
    sentence(ASSISTANT, random, &mut text);
    lengthen(text, ASSISTANT, random)
}

/// Adds a sentence where the text is too short, and often where there is room: sentences have at most 95 characters.
fn lengthen(mut text: String, templates: &[&'static str], random: &mut SplitMix64) -> String {
    while text.chars().count() < LENGTHS.0 || (text.chars().count() < 100 && random.percent(45)) {
        text.push(' ');
        sentence(templates, random, &mut text);
    }
    text
}

fn sentence(templates: &[&'static str], random: &mut SplitMix64, out: &mut String) {
    let template = random.pick(templates);
    let begin = out.len();
    fill(template, out, |slot| random.pick(words(slot)));
    // "my sister" may begin a sentence.
    if template.starts_with('{')
        && let Some(first) = out.get_mut(begin..=begin)
    {
        first.make_ascii_uppercase();
    }
}

/// Writes `template` with each `{slot}` replaced.
fn fill(template: &str, out: &mut String, mut replace: impl FnMut(&str) -> &'static str) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (slot, after) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(replace(slot));
        rest = after;
    }
    out.push_str(rest);
}

/// The words that may stand in a slot of small talk; none for an unknown name, which the tests exclude.
fn words(slot: &str) -> &'static [&'static str] {
    match slot {
        "thing" => &[
            "the garden",
            "a spreadsheet",
            "a rusty bike",
            "the kitchen tap",
            "a cover letter",
            "the wifi router",
            "a birthday cake",
            "an old laptop",
            "the sourdough",
            "a noisy fridge",
            "the tax form",
            "a piano piece",
            "the balcony",
            "a wool coat",
            "the coffee-table",
            "a camera lens",
            "the season finale",
            "a window seal",
            "the tomato plants",
            "a crossword",
        ],
        "dish" => &[
            "lentil soup",
            "ramen",
            "jollof rice",
            "a potato gratin",
            "pierogi",
            "crème brûlée",
            "dal",
            "fish tacos",
            "shakshuka",
            "a rhubarb crumble",
            "gnocchi",
            "kimchi stew",
            "apple strudel",
            "paella",
            "feijoada",
            "a green curry",
        ],
        "place" => &[
            "Oslo",
            "Bern",
            "Kyoto",
            "Quito",
            "Reykjavík",
            "Dakar",
            "Naples",
            "Perth",
            "Tallinn",
            "Málaga",
            "Hanoi",
            "Utrecht",
            "Córdoba",
            "Tromsø",
            "Accra",
            "Ghent",
        ],
        "person" => &[
            "my sister",
            "my friend Ana",
            "my neighbour",
            "a colleague",
            "my uncle",
            "my flatmate",
            "my boss",
            "my friend Jürgen",
            "my cousin",
            "the man next door",
            "my old teacher",
            "my friend Mei",
        ],
        "day" => &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "the weekend"],
        "number" => &["two", "three", "four", "five", "six", "ten", "twelve", "twenty", "a hundred"],
        "verb" => &["fix", "clean", "describe", "plan", "draw", "explain", "sell", "photograph", "repair", "improve"],
        "mood" => &["tired", "curious", "hungry", "rushed", "surprised", "stuck", "bored", "cheerful"],
        "topic" => &[
            "tides",
            "compound interest",
            "bees",
            "the rules of cricket",
            "old maps",
            "volcanoes",
            "knitting patterns",
            "jazz",
            "black holes",
            "train timetables",
            "fermentation",
            "the Bauhaus",
            "verb endings",
            "roof insulation",
            "naïve art",
        ],
        _ => &[],
    }
}

const USER: &[&str] = &[
    "Can you help me {verb} {thing} before {day}?",
    "What is the quickest way to {verb} {thing}?",
    "I have {number} minutes, what can you tell me about {topic}?",
    "Do you know a good recipe for {dish}?",
    "How long does {dish} keep in the fridge?",
    "Why does everybody talk about {topic} these days?",
    "Explain {topic} to me as if I were {number} years old.",
    "That did not work at all, do you have another idea?",
    "Thanks, that was exactly what I was looking for!",
    "Hmm, I'm not sure about that, can you say it again?",
    "I tried it with {thing} and it went better than expected.",
    "What would you do with {thing} if you were me?",
    "It has been raining here all week and I feel {mood}.",
    "Write me {number} lines about {topic}, nothing fancy.",
    "Is it true that {topic} can be learned in {number} days?",
    "Tell me something surprising about {topic}.",
    "How far is it from {place} to {place} by train?",
    "What should one see in {place} in {number} days?",
    "If I lived in {place}, how much would {thing} cost me?",
    "If I worked as a pilot, could I sleep until {day}?",
    "My mind is somewhere else today, sorry, I feel {mood}.",
    "{person} lives in {place} and swears by {dish}.",
    "{person} is vegetarian, so what do I do about {dish}?",
    "{person} works as a dentist and knows a lot about {topic}.",
    "{person} says that too much is made of {topic}, do you agree?",
    "Should {person} be worried about {thing}?",
    "Remind me what we said about {thing}, please.",
    "What's the weather usually like in {place} in spring?",
    "OK, {number} questions then: when, where, and how much?",
    "haha that made my day 😄 tell me more about {topic}",
    "hm ok, and what about {thing} then?",
    "so {dish} for {number} people, how much do i need?",
    "Can you make that shorter? It's for {person}.",
    "Where would I find a spare part for {thing}?",
    "Is {dish} better the next day, or is that a myth?",
    "I read an article about {topic} on the train.",
    "The film last night was about {topic}, of all things.",
    "Qu’est-ce que c’est, {topic}? Just the short version.",
    "Could you translate “see you on {day}” for {person}?",
    "Which one would you choose, {dish} or {dish}?",
    "Good morning! Ready for {number} questions about {topic}?",
    "Never mind, I solved it while I was writing to you.",
    "That sounds expensive, is there a cheaper way?",
    "Would {thing} survive a winter outside?",
    "Let's talk about {topic} on {day} instead.",
    "I feel {mood} today, give me something easy to read.",
];

const ASSISTANT: &[&str] = &[
    "Sure, let's look at {thing} step by step.",
    "Good question. Most people begin with {topic} and go on from there.",
    "For {dish} you need about {number} ingredients and half an hour.",
    "You could try it with {thing} first, that is the cheapest way.",
    "If you like {dish}, you might also enjoy {dish}.",
    "Here are {number} ideas, from the easiest to the most ambitious.",
    "That depends on how much time you have before {day}.",
    "In short: yes, but check {thing} before you begin.",
    "It is a common mistake, and easy to {verb}.",
    "You might want to move to {place} for that, only half joking.",
    "Have you thought about a dog? People who write about {topic} often have one.",
    "A vegan version of {dish} works well with coconut milk.",
    "You're welcome! Tell me how it goes with {thing}.",
    "From {place} to {place} it takes about {number} hours.",
    "I would leave it until {day} and look at it again with fresh eyes.",
    "The short version: with {topic}, it's all a matter of patience.",
    "Let me put it differently, with an example about {topic}.",
    "Spring in {place} is mild, with the odd cold night.",
    "You could work as a guide in {place} with what you know about {topic}.",
    "There are {number} good books about {topic}; shall I list them?",
    "Start small, write down what changed, and stop when it is good enough.",
    "That's great to hear! What would you like to do next?",
    "It keeps for {number} days if it is covered and cold.",
    "I can't promise that, but {number} out of ten times it works.",
    "Perhaps an old hand could help you. Ask around before you {verb} anything.",
    "Voilà: {number} lines about {topic}, as you wished.",
    "Understood. I'll keep the next answer to {number} lines.",
    "A budget of 100 dollars would be plenty for {thing}.",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(count: usize) -> Vec<String> {
        let mut random = SplitMix64::new(7, 7);
        let mut persona = Persona::new(3);
        (0..count).map(|_| user_message(&mut random, &mut persona)).collect()
    }

    fn slots(template: &str) -> Vec<&str> {
        template.split('{').skip(1).map(|part| part.split_once('}').expect("a slot ends").0).collect()
    }

    #[test]
    fn every_message_has_forty_to_two_hundred_characters() {
        let mut random = SplitMix64::new(1, 1);
        let answers = (0..50_000).map(|_| assistant_message(&mut random));
        for text in messages(100_000).into_iter().chain(answers) {
            assert!((LENGTHS.0..=LENGTHS.1).contains(&text.chars().count()), "{}: {text}", text.chars().count());
            assert!(!text.contains(['{', '}', '\n']), "{text}");
        }
    }

    #[test]
    fn every_slot_has_words_and_every_attribute_two_values() {
        for template in USER.iter().chain(ASSISTANT) {
            assert!(slots(template).iter().all(|slot| words(slot).len() > 1), "{template}");
        }
        for attribute in &ATTRIBUTES {
            assert!(attribute.values.len() > 1);
            for template in attribute.states.iter().chain(attribute.changes).chain(attribute.withdrawals) {
                assert!(slots(template).iter().all(|slot| ["value", "old"].contains(slot)), "{template}");
            }
        }
    }

    #[test]
    fn a_tenth_to_a_fifth_of_a_users_messages_hold_a_fact() {
        let facts: Vec<&str> = ATTRIBUTES
            .iter()
            .flat_map(|attribute| attribute.states.iter().chain(attribute.changes).chain(attribute.withdrawals))
            .map(|template| template.split('{').next().unwrap_or(template))
            .collect();
        let holding = messages(20_000).iter().filter(|text| facts.iter().any(|fact| text.contains(fact))).count();
        assert!((2000..=4000).contains(&holding), "{holding}");
    }

    #[test]
    fn a_persona_keeps_its_value_until_it_changes_it() {
        let (mut random, mut persona) = (SplitMix64::new(5, 5), Persona::new(5));
        let mut homes = Vec::new();
        for _ in 0..20_000 {
            let mut text = String::new();
            persona.speak(&mut random, &mut text);
            if let Some(home) = text.strip_prefix("I live in ") {
                homes.push((
                    home.split([',', '.']).next().unwrap_or("").replace(" with two flatmates", ""),
                    persona.versions[0],
                ));
            }
        }
        assert!(homes.len() > 100);
        for pair in homes.windows(2) {
            assert_eq!(pair[0].0 == pair[1].0, pair[0].1 == pair[1].1, "{pair:?}");
        }
    }

    #[test]
    fn texts_vary_and_some_are_not_ascii() {
        let made = messages(10_000);
        let distinct: std::collections::HashSet<_> = made.iter().collect();
        assert!(distinct.len() > 6000, "{}", distinct.len());
        assert!(made.iter().filter(|text| !text.is_ascii()).count() > 300);
    }
}
