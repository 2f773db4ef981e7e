//! A rules file: TOML as people write it, compiled to what the engine runs. Its format is described at the head of the
//! English one, `config/rules/en.toml`.

use std::collections::BTreeMap;
use std::sync::Arc;

use memoir_core::profile::Kind;
use memoir_core::text::normalize_key;
use serde::Deserialize;

use super::claim::{Claim, Effect, Part, Tag};
use super::example::Example;
use super::guard::Guards;
use super::literals;
use super::pattern::{Pattern, group_names};
use super::rule::Rule;
use super::shape::{Overlong, Shape};
use crate::ExtractError;

/// The version of the format that this build reads.
const FORMAT: u32 = 1;
/// Words may be made of other words, so deep.
const VOCABULARY_DEPTH: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    format: u32,
    /// What stands between the elements of a list in words.
    #[serde(default = "english_conjunctions")]
    conjunctions: Vec<String>,
    /// What a word of this language is called in keys, which all languages share: "hund" is "dog".
    #[serde(default)]
    keys: BTreeMap<String, String>,
    /// What words mean that name no value, as keys: "car" is "owns_*".
    #[serde(default)]
    topics: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    vocabulary: BTreeMap<String, Words>,
    guards: GuardTexts,
    shapes: BTreeMap<String, ShapeTable>,
    #[serde(default)]
    rule: Vec<RuleTable>,
    #[serde(default)]
    tag: Vec<TagTable>,
}

/// A piece of a pattern, or a list of which any one matches.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Pattern(String),
    AnyOf(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardTexts {
    question: String,
    #[serde(default = "never")]
    inverted: String,
    supposed: String,
    #[serde(default = "never")]
    fancied: String,
    imagine: String,
    before: String,
    reported: String,
    jest: String,
    others: String,
    first_person: String,
    joins: String,
    pasted: String,
    scene: String,
    scene_end: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapeTable {
    /// The shape that this one is like, but for what it says itself.
    like: Option<String>,
    stop: Option<Vec<String>>,
    leading: Option<Vec<String>>,
    trailing: Option<Vec<String>>,
    refuse: Option<Vec<String>>,
    head_ends: Option<Vec<String>>,
    capitals: Option<bool>,
    max_words: Option<usize>,
    overlong: Option<Overlong>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    name: String,
    pattern: String,
    key: Option<String>,
    kind: Option<String>,
    value: Option<String>,
    #[serde(default = "usual_confidence")]
    confidence: f64,
    #[serde(default)]
    action: ActionWord,
    each: Option<String>,
    #[serde(default)]
    presupposed: bool,
    asked: Option<String>,
    #[serde(default)]
    yields_to: Vec<String>,
    #[serde(default)]
    matches: Vec<Vec<String>>,
    #[serde(default)]
    rejects: Vec<String>,
}

/// What is made of words to which the tagger gives a label.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagTable {
    label: String,
    /// The shape of the words.
    shape: String,
    key: String,
    kind: Option<String>,
    value: Option<String>,
    #[serde(default)]
    action: ActionWord,
    /// How likely the label must be.
    threshold: f32,
    /// Whether it counts also where a sentence has come to him or her.
    #[serde(default)]
    anyone: bool,
    #[serde(default = "usual_confidence")]
    confidence: f64,
    #[serde(default)]
    matches: Vec<Vec<String>>,
    #[serde(default)]
    rejects: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionWord {
    #[default]
    Given,
    Deleted,
    Corrected,
}

fn usual_confidence() -> f64 {
    0.8
}

fn english_conjunctions() -> Vec<String> {
    ["and", "or", "plus"].map(str::to_owned).to_vec()
}

/// A pattern that matches nothing.
fn never() -> String {
    r"[^\s\S]".to_owned()
}

pub(super) struct Compiled {
    pub rules: Vec<Rule>,
    pub tags: Vec<Tag>,
    pub guards: Guards,
    pub examples: Vec<Example>,
    /// Of the tags, numbered from 0.
    pub tag_examples: Vec<Example>,
}

/// Compiles the rules of a language; so many rules of other languages stand before them.
pub(super) fn compile(text: &str, name: &str, language: usize, rules_before: usize) -> Result<Compiled, ExtractError> {
    let file: RulesFile = toml::from_str(text)
        .map_err(|source| ExtractError::ParseRules { file: name.to_owned(), source: Box::new(source) })?;
    let whole = |problem: String| ExtractError::Rules { file: name.to_owned(), problem };
    if file.format != FORMAT {
        return Err(whole(format!("its format is {}, this build reads {FORMAT}", file.format)));
    }
    let vocabulary = Vocabulary(&file.vocabulary);
    let separators = separators(&file.conjunctions);
    let (keys, topics) = (Arc::new(file.keys), Arc::new(file.topics));
    let guards = compile_guards(&file.guards, &vocabulary).map_err(whole)?;
    let mut shapes: BTreeMap<&str, Arc<Shape>> = BTreeMap::new();
    for (shape, table) in &file.shapes {
        let compiled = compile_shape(table, &file.shapes, &vocabulary);
        let compiled = compiled.map_err(|problem| whole(format!("shape {shape:?}: {problem}")))?;
        shapes.insert(shape, Arc::new(compiled));
    }
    let own = Own { language, separators: &separators, keys: &keys, topics: &topics };
    let mut rules: Vec<Rule> = Vec::with_capacity(file.rule.len());
    let mut examples = Vec::new();
    for table in file.rule {
        let rule_name = table.name.clone();
        let wrong = |problem: String| ExtractError::Rule { file: name.to_owned(), rule: rule_name.clone(), problem };
        if rules.iter().any(|rule: &Rule| rule.claim.name == table.name) {
            return Err(wrong("another rule has this name".to_owned()));
        }
        let number = rules_before + rules.len();
        if table.matches.is_empty() {
            return Err(wrong("it has no example (matches = [[\"a sentence\", \"the value\"]])".to_owned()));
        }
        add_examples(&mut examples, number, &table.matches, &table.rejects).map_err(&wrong)?;
        let number_of = |name: &String| {
            let found = rules.iter().position(|rule| &rule.claim.name == name);
            let found = found.map(|position| rules_before + position);
            found.ok_or_else(|| format!("it yields to {name:?}, and no rule of that name stands before it"))
        };
        let yields_to = table.yields_to.iter().map(number_of).collect::<Result<_, _>>().map_err(&wrong)?;
        let compiled = compile_rule(table, &vocabulary, &shapes, &own).map_err(&wrong)?;
        rules.push(Rule { yields_to, ..compiled });
    }
    let (mut tags, mut tag_examples) = (Vec::<Tag>::with_capacity(file.tag.len()), Vec::new());
    for table in file.tag {
        let wrong = |problem: String| ExtractError::Rule { file: name.to_owned(), rule: table.label.clone(), problem };
        if tags.iter().any(|tag| tag.claim.name == table.label) {
            return Err(wrong("another tag has this label".to_owned()));
        }
        add_examples(&mut tag_examples, tags.len(), &table.matches, &table.rejects).map_err(&wrong)?;
        tags.push(compile_tag(&table, &shapes, &own).map_err(&wrong)?);
    }
    Ok(Compiled { rules, tags, guards, examples, tag_examples })
}

/// Adds the examples of a rule or a tag.
fn add_examples(
    examples: &mut Vec<Example>,
    rule: usize,
    matches: &[Vec<String>],
    rejects: &[String],
) -> Result<(), String> {
    for example in matches {
        let [text, expected @ ..] = example.as_slice() else { return Err("an example is empty".to_owned()) };
        if expected.is_empty() {
            return Err(format!("the example {text:?} does not say what it gives"));
        }
        examples.push(Example { rule, text: text.clone(), expected: expected.to_vec() });
    }
    examples.extend(rejects.iter().map(|text| Example { rule, text: text.clone(), expected: vec![] }));
    Ok(())
}

/// What the rules of a language have in common.
struct Own<'a> {
    language: usize,
    separators: &'a Arc<[String]>,
    keys: &'a Arc<BTreeMap<String, String>>,
    topics: &'a Arc<BTreeMap<String, Vec<String>>>,
}

/// What separates the elements of a list, the longest first.
fn separators(conjunctions: &[String]) -> Arc<[String]> {
    let mut separators: Vec<String> = [",", " & ", " / ", "/"].map(str::to_owned).to_vec();
    separators.extend(conjunctions.iter().flat_map(|word| [format!(", {word} "), format!(" {word} ")]));
    separators.sort_by_key(|separator| std::cmp::Reverse(separator.len()));
    separators.into()
}

struct Vocabulary<'a>(&'a BTreeMap<String, Words>);

impl Vocabulary<'_> {
    /// Puts what the words mean in the place of each `{{word}}`.
    fn expand(&self, pattern: &str) -> Result<String, String> {
        self.expand_to(pattern, 0)
    }

    fn expand_to(&self, pattern: &str, depth: usize) -> Result<String, String> {
        let mut expanded = String::with_capacity(pattern.len());
        let mut rest = pattern;
        while let Some((head, tail)) = rest.split_once("{{") {
            let Some((word, tail)) = tail.split_once("}}") else { return Err("{{ is not closed by }}".to_owned()) };
            let words = self.0.get(word).ok_or_else(|| format!("the vocabulary has no {word:?}"))?;
            if depth == VOCABULARY_DEPTH {
                return Err(format!("the vocabulary's {word:?} is made of itself"));
            }
            let meaning = match words {
                Words::Pattern(pattern) => pattern.clone(),
                Words::AnyOf(words) => words.join("|"),
            };
            expanded.push_str(head);
            expanded.push_str("(?:");
            expanded.push_str(&self.expand_to(&meaning, depth + 1)?);
            expanded.push(')');
            rest = tail;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn pattern(&self, pattern: &str) -> Result<Pattern, String> {
        Pattern::parse(self.expand(pattern)?).map(|(pattern, _)| pattern)
    }

    /// A pattern of any one of the words, between `head` and `tail`.
    fn any_of(&self, head: &str, words: &[String], tail: &str) -> Result<Option<Pattern>, String> {
        if words.is_empty() {
            return Ok(None);
        }
        self.pattern(&format!("{head}(?:{}){tail}", words.join("|"))).map(Some)
    }
}

fn compile_guards(texts: &GuardTexts, vocabulary: &Vocabulary<'_>) -> Result<Guards, String> {
    let pattern =
        |guard: &str, text: &str| vocabulary.pattern(text).map_err(|error| format!("guard {guard:?}: {error}"));
    let pasted = vocabulary.expand(&texts.pasted).and_then(Pattern::parse);
    let (pasted, plain) = pasted.map_err(|error| format!("guard \"pasted\": {error}"))?;
    Ok(Guards {
        question: pattern("question", &texts.question)?,
        inverted: pattern("inverted", &texts.inverted)?,
        supposed: pattern("supposed", &texts.supposed)?,
        fancied: pattern("fancied", &texts.fancied)?,
        imagine: pattern("imagine", &texts.imagine)?,
        before: pattern("before", &texts.before)?,
        reported: pattern("reported", &texts.reported)?,
        jest: pattern("jest", &texts.jest)?,
        others: pattern("others", &texts.others)?,
        first_person: pattern("first_person", &texts.first_person)?,
        joins: pattern("joins", &texts.joins)?,
        pasted_needs: literals::required(&plain),
        pasted,
        scene: pattern("scene", &texts.scene)?,
        scene_end: pattern("scene_end", &texts.scene_end)?,
    })
}

fn compile_shape(
    table: &ShapeTable,
    all: &BTreeMap<String, ShapeTable>,
    vocabulary: &Vocabulary<'_>,
) -> Result<Shape, String> {
    let line = line_of_likeness(table, all)?;
    let words = |of: fn(&ShapeTable) -> Option<&Vec<String>>| -> &[String] {
        line.iter().find_map(|table| of(table)).map_or(&[], Vec::as_slice)
    };
    Ok(Shape {
        stop: vocabulary.any_of(r"(?:\s|^)", words(|table| table.stop.as_ref()), r"(?:$|[^\w'])")?,
        leading: vocabulary.any_of("^", words(|table| table.leading.as_ref()), r"\s+")?,
        trailing: vocabulary.any_of(r"(?:[\s,]+|^)", words(|table| table.trailing.as_ref()), "$")?,
        refuse: vocabulary.any_of("^", words(|table| table.refuse.as_ref()), "$")?,
        head_ends: vocabulary.any_of(r"\s", words(|table| table.head_ends.as_ref()), r"\b")?,
        capitals: line.iter().find_map(|table| table.capitals).unwrap_or(false),
        max_words: line.iter().find_map(|table| table.max_words).unwrap_or(8),
        overlong: line.iter().find_map(|table| table.overlong).unwrap_or_default(),
    })
}

/// A shape, the one that it is like, and so on.
fn line_of_likeness<'t>(
    table: &'t ShapeTable,
    all: &'t BTreeMap<String, ShapeTable>,
) -> Result<Vec<&'t ShapeTable>, String> {
    let mut line = vec![table];
    let mut last = table;
    while let Some(like) = &last.like {
        last = all.get(like).ok_or_else(|| format!("there is no shape {like:?}"))?;
        if line.len() > all.len() {
            return Err("it is like itself".to_owned());
        }
        line.push(last);
    }
    Ok(line)
}

fn compile_rule(
    table: RuleTable,
    vocabulary: &Vocabulary<'_>,
    shapes: &BTreeMap<&str, Arc<Shape>>,
    own: &Own<'_>,
) -> Result<Rule, String> {
    let (pattern, plain) = Pattern::parse(vocabulary.expand(&table.pattern)?)?;
    let needs = literals::required(&plain);
    let mut groups = Vec::new();
    for group in group_names(&plain) {
        let shape =
            shapes.get(group.as_str()).ok_or_else(|| format!("the group {group:?} has no shape of its name"))?;
        groups.push((group, Arc::clone(shape)));
    }
    if let Some(each) = table.each.as_deref().filter(|each| !groups.iter().any(|(group, _)| group == each)) {
        return Err(format!("its pattern has no group {each:?}"));
    }
    let asked = table.asked.as_deref().map(|asked| vocabulary.pattern(asked)).transpose()?;
    let said = Said {
        name: table.name,
        key: table.key.as_deref(),
        kind: table.kind.as_deref(),
        value: table.value.as_deref(),
        action: table.action,
        confidence: table.confidence,
    };
    Ok(Rule {
        claim: compile_claim(said, groups, own)?,
        pattern,
        needs,
        each: table.each,
        presupposed: table.presupposed,
        asked,
        yields_to: Vec::new(),
        separators: Arc::clone(own.separators),
    })
}

fn compile_tag(table: &TagTable, shapes: &BTreeMap<&str, Arc<Shape>>, own: &Own<'_>) -> Result<Tag, String> {
    if !(0.0..=1.0).contains(&table.threshold) {
        return Err(format!("its threshold {} is not between 0 and 1", table.threshold));
    }
    let shape = shapes.get(table.shape.as_str()).ok_or_else(|| format!("there is no shape {:?}", table.shape))?;
    let said = Said {
        name: table.label.clone(),
        key: Some(&table.key),
        kind: table.kind.as_deref(),
        value: table.value.as_deref(),
        action: table.action,
        confidence: table.confidence,
    };
    let groups = vec![(table.shape.clone(), Arc::clone(shape))];
    Ok(Tag { claim: compile_claim(said, groups, own)?, threshold: table.threshold, anyone: table.anyone })
}

/// What a rule or a tag says, as it is written.
struct Said<'a> {
    name: String,
    key: Option<&'a str>,
    kind: Option<&'a str>,
    value: Option<&'a str>,
    action: ActionWord,
    confidence: f64,
}

fn compile_claim(said: Said<'_>, groups: Vec<(String, Arc<Shape>)>, own: &Own<'_>) -> Result<Claim, String> {
    let known = |name: &str| groups.iter().any(|(group, _)| group == name);
    let effect = match said.action {
        ActionWord::Given => {
            let kind = said.kind.ok_or("it has no kind")?;
            Effect::Given(kind.parse::<Kind>().map_err(|error| error.to_string())?)
        }
        ActionWord::Deleted => Effect::Deleted,
        ActionWord::Corrected => Effect::Corrected,
    };
    if said.value.is_none() && effect != Effect::Deleted {
        return Err("it has no value".to_owned());
    }
    let key = match (said.key, said.action) {
        (Some(key), ActionWord::Given | ActionWord::Deleted) => template(key, &known)?,
        (None, ActionWord::Corrected) => Vec::new(),
        (None, _) => return Err("it has no key".to_owned()),
        (Some(_), ActionWord::Corrected) => return Err("a correction has no key of its own".to_owned()),
    };
    if let [Part::Text(text)] = key.as_slice() {
        let plain = if effect == Effect::Deleted { text.trim_end_matches('*').trim_end_matches('_') } else { text };
        if !plain.is_empty() && normalize_key(plain).as_deref() != Some(plain) {
            return Err(format!("its key {text:?} is not lower snake_case"));
        }
    }
    let value = said.value.map(|value| template(value, &known)).transpose()?;
    if !(0.0..=1.0).contains(&said.confidence) {
        return Err(format!("its confidence {} is not between 0 and 1", said.confidence));
    }
    Ok(Claim {
        name: said.name,
        key,
        value,
        effect,
        confidence: said.confidence,
        shapes: groups,
        language: own.language,
        keys: Arc::clone(own.keys),
        topics: Arc::clone(own.topics),
    })
}

/// Reads `text {group} text {group:head}`.
fn template(text: &str, known: &dyn Fn(&str) -> bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('{') {
        let (inside, tail) = tail.split_once('}').ok_or_else(|| format!("{{ is not closed in {text:?}"))?;
        if !head.is_empty() {
            parts.push(Part::Text(head.to_owned()));
        }
        let (group, part) = match inside.split_once(':') {
            None => (inside, Part::Group(inside.to_owned())),
            Some((group, "head")) => (group, Part::Head(group.to_owned())),
            Some((_, other)) => return Err(format!("{other:?} is not known in {text:?} (known: head)")),
        };
        if !known(group) {
            return Err(format!("its pattern has no group {group:?}"));
        }
        parts.push(part);
        rest = tail;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}
