//! The figures of an exam, and one line for each thing that is wrong.
//!
//! | figure | meaning |
//! | --- | --- |
//! | precision | mean over the remembered facts: 1 if it matches a wanted one of its kind, 1/2 if only one of another kind |
//! | recall | share of the wanted facts that a remembered one matches, of whatever kind |
//! | junk | share of the remembered facts that match nothing |
//! | violations | how many forbidden texts occur in a value of their user, each counted once |
//! | exact | share of the conversations with everything found, nothing wrong and no violation |
//!
//! One remembered fact may match several wanted ones, and the other way round. Precision and junk go by the kind that is
//! remembered, recall by the one that is wanted. A share of nothing is none.

use std::collections::{HashMap, HashSet};

use memoir_core::profile::Kind;
use serde::Serialize;

use super::comparison::{Folded, Wanted};
use super::exam::{Exam, Item};

/// A current fact of a user.
#[derive(Clone, Debug)]
pub struct Remembered {
    pub user_id: String,
    pub key: String,
    pub kind: Kind,
    pub value: String,
}

/// What an exam comes to.
#[derive(Debug)]
pub struct Scored {
    pub report: Report,
    /// In the order of the exam.
    pub errors: Vec<String>,
}

/// One thing for each kind of fact.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ByKind<T> {
    pub identity: T,
    pub preference: T,
    pub project: T,
    pub constraint: T,
}

impl<T> ByKind<T> {
    pub fn of(&self, kind: Kind) -> &T {
        match kind {
            Kind::Identity => &self.identity,
            Kind::Preference => &self.preference,
            Kind::Project => &self.project,
            Kind::Constraint => &self.constraint,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Identity => &mut self.identity,
            Kind::Preference => &mut self.preference,
            Kind::Project => &mut self.project,
            Kind::Constraint => &mut self.constraint,
        }
    }
}

/// The figures by kind and in total; shares are rounded to four digits.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub kinds: ByKind<Figures>,
    pub total: Total,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// Facts that were wanted.
    pub gold: u32,
    /// Facts that are remembered.
    pub predicted: u32,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub junk: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Total {
    #[serde(flatten)]
    pub figures: Figures,
    pub violations: u32,
    /// Conversations.
    pub items: u32,
    pub exact: Option<f64>,
}

/// Compares what is remembered with what should be. Facts of users that are not in the exam do not count.
pub fn score(exam: &Exam, remembered: &[Remembered]) -> Scored {
    let mut of_users: HashMap<&str, Vec<&Remembered>> = HashMap::new();
    for fact in remembered {
        of_users.entry(&fact.user_id).or_default().push(fact);
    }
    let mut tally = Tally::default();
    let mut errors = Vec::new();
    for item in &exam.items {
        let mine = of_users.get(item.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let slips = tally.take(item, mine);
        errors.extend(slips.into_iter().map(|slip| format!("{} {:<15} {slip}", item.id, item.theme)));
    }
    Scored { report: tally.report(), errors }
}

/// What is counted on the way.
#[derive(Default)]
struct Tally {
    kinds: ByKind<Count>,
    total: Count,
    violations: u32,
    items: u32,
    exact: u32,
}

#[derive(Clone, Copy, Default)]
struct Count {
    gold: u32,
    predicted: u32,
    /// In halves.
    credit: u32,
    found: u32,
    junk: u32,
}

const FULL_CREDIT: u32 = 2;
const HALF_CREDIT: u32 = 1;

impl Tally {
    /// Counts one conversation, and says what is wrong with it.
    fn take(&mut self, item: &Item, mine: &[&Remembered]) -> Vec<String> {
        let wanted: Vec<Wanted> = item.facts.iter().map(Wanted::new).collect();
        let values: Vec<Folded> = mine.iter().map(|fact| Folded::new(&fact.value)).collect();
        let mut slips = Vec::new();
        let mut found = HashSet::new();
        for (fact, value) in mine.iter().zip(&values) {
            let hits: Vec<usize> =
                (0..).zip(&wanted).filter(|(_, wanted)| wanted.is_matched_by(value)).map(|(index, _)| index).collect();
            let is_of_its_kind = |gold: &usize| item.facts.get(*gold).is_some_and(|gold| gold.kind == fact.kind);
            let credit = match hits.as_slice() {
                [] => 0,
                hits if hits.iter().any(is_of_its_kind) => FULL_CREDIT,
                _ => HALF_CREDIT,
            };
            for count in [self.kinds.of_mut(fact.kind), &mut self.total] {
                count.predicted += 1;
                count.credit += credit;
                count.junk += u32::from(hits.is_empty());
            }
            if credit < FULL_CREDIT {
                let slip = if hits.is_empty() { "junk" } else { "kind" };
                slips.push(format!("{slip}     {} {} = {}", fact.kind, fact.key, quoted(&fact.value)));
            }
            found.extend(hits);
        }
        for (index, gold) in item.facts.iter().enumerate() {
            let is_found = found.contains(&index);
            for count in [self.kinds.of_mut(gold.kind), &mut self.total] {
                count.gold += 1;
                count.found += u32::from(is_found);
            }
            if !is_found {
                slips.push(format!("missed   {} {} = {}", gold.kind, gold.about, gold.values.join(" | ")));
            }
        }
        for text in &item.forbidden {
            let forbidden = Folded::new(text);
            if values.iter().any(|value| forbidden.occurs_in(value)) {
                self.violations += 1;
                slips.push(format!("violated {}", quoted(text)));
            }
        }
        self.items += 1;
        self.exact += u32::from(slips.is_empty());
        slips
    }

    fn report(&self) -> Report {
        let mut kinds = ByKind::default();
        for kind in Kind::ALL {
            *kinds.of_mut(*kind) = self.kinds.of(*kind).figures();
        }
        let total = Total {
            figures: self.total.figures(),
            violations: self.violations,
            items: self.items,
            exact: share(f64::from(self.exact), self.items),
        };
        Report { kinds, total }
    }
}

impl Count {
    fn figures(&self) -> Figures {
        Figures {
            gold: self.gold,
            predicted: self.predicted,
            precision: share(f64::from(self.credit) / f64::from(FULL_CREDIT), self.predicted),
            recall: share(f64::from(self.found), self.gold),
            junk: share(f64::from(self.junk), self.predicted),
        }
    }
}

/// A share to four digits, half to even; None is a share of nothing.
fn share(part: f64, whole: u32) -> Option<f64> {
    if whole == 0 {
        return None;
    }
    // By way of the decimal digits, as these are rounded exactly and a multiplication would not be. They are a number.
    format!("{:.4}", part / f64::from(whole)).parse().ok()
}

/// The text in quotes, as Python writes it: in double ones only where it holds single ones alone, with what does not
/// show as escapes.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if c == quote => quoted.extend(['\\', c]),
            ' ' | '!'..='~' => quoted.push(c),
            _ if shows(c) => quoted.push(c),
            _ => quoted.push_str(&match u32::from(c) {
                code @ 0..=0xff => format!("\\x{code:02x}"),
                code @ 0x100..=0xffff => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    quoted.push(quote);
    quoted
}

/// Whether a character is one that shows: no control, format or private character, and no blank beyond the plain one.
/// Characters that Unicode has not given out yet are taken for ones that do.
fn shows(c: char) -> bool {
    !(c.is_control()
        || c.is_whitespace()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}'
            | '\u{f0000}'..))
}

#[cfg(test)]
mod tests {
    use super::super::exam::GoldFact;
    use super::*;

    fn gold(kind: Kind, about: &str, values: &[&str]) -> GoldFact {
        GoldFact { kind, about: about.to_owned(), values: values.iter().map(|value| (*value).to_owned()).collect() }
    }

    fn item(id: &str, theme: &str, facts: Vec<GoldFact>, forbidden: &[&str]) -> Item {
        let forbidden = forbidden.iter().map(|text| (*text).to_owned()).collect();
        Item { id: id.to_owned(), theme: theme.to_owned(), turns: Vec::new(), facts, forbidden }
    }

    fn remembered(user: &str, key: &str, kind: Kind, value: &str) -> Remembered {
        Remembered { user_id: user.to_owned(), key: key.to_owned(), kind, value: value.to_owned() }
    }

    fn exam(items: Vec<Item>) -> Exam {
        Exam { items }
    }

    #[test]
    fn figures_and_errors_are_those_of_the_published_comparison() {
        use Kind::{Constraint, Identity, Preference, Project};
        let exam = exam(vec![
            item(
                "m-1",
                "identity",
                vec![
                    gold(Identity, "name", &["zoë"]),
                    gold(Identity, "job", &["baker", "bakery"]),
                    gold(Identity, "location", &["ghent"]),
                ],
                &["antwerp"],
            ),
            item("m-2", "preference", vec![gold(Preference, "diet", &["vegan"])], &["it's", "steak"]),
            item("m-3", "nothing", vec![], &["pin 1234"]),
            item("m-4", "a theme longer than most", vec![gold(Constraint, "budget", &["5000", "5k"])], &[]),
            item(
                "m-5",
                "project",
                vec![gold(Project, "trip", &["lisbon"]), gold(Project, "goal", &["half marathon"])],
                &[],
            ),
            item("m-6", "nothing", vec![], &[]),
        ]);
        let facts = [
            remembered("m-1", "name", Identity, "Zoe"),
            remembered("m-1", "work", Preference, "Baker in Ghent"),
            remembered("m-1", "home", Identity, "Antwerp"),
            remembered("m-2", "diet", Preference, "Vegan"),
            remembered("m-2", "note", Constraint, "it\u{2019}s \"no\" steak\n"),
            remembered("m-3", "secret", Identity, "the pin-12345"),
            remembered("m-4", "budget", Constraint, "5,000 euros"),
            remembered("m-5", "goal", Project, "marathon"),
            remembered("nobody", "name", Identity, "Zoe"),
        ];
        let scored = score(&exam, &facts);
        assert_eq!(
            scored.errors,
            [
                "m-1 identity        kind     preference work = 'Baker in Ghent'",
                "m-1 identity        junk     identity home = 'Antwerp'",
                "m-1 identity        violated 'antwerp'",
                "m-2 preference      junk     constraint note = 'it’s \"no\" steak\\n'",
                "m-2 preference      violated \"it's\"",
                "m-2 preference      violated 'steak'",
                "m-3 nothing         junk     identity secret = 'the pin-12345'",
                "m-5 project         missed   project trip = lisbon",
            ]
        );
        let report = serde_json::to_value(scored.report).unwrap();
        assert_eq!(
            report,
            serde_json::json!({
                "identity": {"gold": 3, "predicted": 3, "precision": 0.3333, "recall": 1.0, "junk": 0.6667},
                "preference": {"gold": 1, "predicted": 2, "precision": 0.75, "recall": 1.0, "junk": 0.0},
                "project": {"gold": 2, "predicted": 1, "precision": 1.0, "recall": 0.5, "junk": 0.0},
                "constraint": {"gold": 1, "predicted": 2, "precision": 0.5, "recall": 1.0, "junk": 0.5},
                "total": {"gold": 7, "predicted": 8, "precision": 0.5625, "recall": 0.8571, "junk": 0.375,
                          "violations": 3, "items": 6, "exact": 0.3333},
            })
        );
    }

    #[test]
    fn a_share_of_nothing_is_none_and_remembering_nothing_is_exact_only_where_nothing_was_wanted() {
        let exam = exam(vec![
            item("n-1", "t", vec![gold(Kind::Identity, "name", &["ada"])], &["bob"]),
            item("n-2", "t", vec![], &[]),
        ]);
        let total = score(&exam, &[]).report.total;
        assert_eq!((total.figures.precision, total.figures.recall, total.figures.junk), (None, Some(0.0), None));
        assert_eq!((total.violations, total.items, total.exact), (0, 2, Some(0.5)));
    }

    #[test]
    fn a_fact_of_the_right_kind_among_its_matches_counts_in_full() {
        let wanted = vec![gold(Kind::Project, "trip", &["lisbon"]), gold(Kind::Identity, "home", &["lisbon"])];
        let exam = exam(vec![item("k-1", "t", wanted, &[])]);
        let scored = score(&exam, &[remembered("k-1", "location", Kind::Identity, "Lisbon")]);
        assert!(scored.errors.is_empty(), "{:?}", scored.errors);
        assert_eq!(scored.report.total.figures.precision, Some(1.0));
        assert_eq!(scored.report.kinds.of(Kind::Project).recall, Some(1.0));
        assert_eq!(scored.report.kinds.of(Kind::Project).precision, None);
    }

    #[test]
    fn shares_are_rounded_as_decimal_digits() {
        for (part, whole, rounded) in
            [(1.0, 3, 0.3333), (2.0, 3, 0.6667), (1.0, 32, 0.0312), (3.0, 32, 0.0938), (0.5, 16, 0.0312), (7.0, 7, 1.0)]
        {
            assert_eq!(share(part, whole), Some(rounded), "{part} of {whole}");
        }
        assert_eq!(share(0.0, 0), None);
    }

    #[test]
    fn values_are_quoted_as_python_does_it() {
        for (text, expected) in [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("it's \"so\"", "'it\\'s \"so\"'"),
            ("a\\b\n\t\u{7}", "'a\\\\b\\n\\t\\x07'"),
            ("caf\u{e9} \u{a0}\u{200b}\u{1f600}\u{e0001}", "'café \\xa0\\u200b\u{1f600}\\U000e0001'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
