//! The script of the endpoint simulator: what it does with which request.
//!
//! A TOML file. First comes the `[[sequence]]`, step by step; then, while a `[[storm]]` blows, what it says; else one of
//! the `[[chance]]`s by its percentage; else an answer. The same seed throws the same dice in the same order of requests.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use crate::generate::SplitMix64;

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Facts by the rules.
    Answer,
    Error {
        status: u16,
    },
    /// Status 429, with `Retry-After` where there is one.
    Throttle {
        retry_after: Option<Duration>,
        as_date: bool,
    },
    /// An answer that begins late.
    Slow {
        wait: Duration,
    },
    /// Never a byte.
    Hang,
    /// A connection that ends in the middle of the answer.
    Cut,
    /// An answer whose JSON breaks off.
    Half,
    /// An answer without JSON.
    Malformed,
    /// Facts that nobody told.
    Lie,
    /// A page of a gateway in place of a completion.
    Page,
}

impl Act {
    /// The word that scripts and counters use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Error { .. } => "error",
            Self::Throttle { .. } => "throttle",
            Self::Slow { .. } => "slow",
            Self::Hang => "hang",
            Self::Cut => "cut",
            Self::Half => "half",
            Self::Malformed => "malformed",
            Self::Lie => "lie",
            Self::Page => "page",
        }
    }
}

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    seed: u64,
    /// Before each answer begins.
    pub latency_ms: u64,
    /// Types of `response_format` that are taken; others are refused with a 400. Not given: all.
    pub formats: Option<Vec<String>>,
    /// Whether contents are lists of parts, as reasoning models give them.
    pub parts: bool,
    /// Texts that no request may hold; those that do are counted.
    pub forbidden: Vec<String>,
    pub auth: Auth,
    sequence: Vec<Step>,
    storm: Vec<Step>,
    chance: Vec<Step>,
}

/// Who may ask. Nothing given: everybody.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Taken as bearer token and as `api-key`.
    pub token: Option<String>,
    /// A client that `/oidc/v1/token` gives tokens to.
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    pub token_lifetime_s: Option<u64>,
    /// A token of the client is refused after so many requests, though it has not ended.
    pub token_requests: Option<u64>,
}

/// One entry of the three lists. Which fields an entry may have depends on its list and its act.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    r#do: String,
    status: Option<u16>,
    retry_after_ms: Option<u64>,
    #[serde(default)]
    as_date: bool,
    wait_ms: Option<u64>,
    /// In a sequence: so many requests in a row.
    times: Option<u64>,
    /// Of a storm: it comes back after so many requests …
    every: Option<u64>,
    /// … and lasts for so many.
    lasts: Option<u64>,
    /// Of a chance.
    percent: Option<f64>,
}

impl Step {
    fn act(&self) -> Result<Act, String> {
        let status = self.status.unwrap_or(500);
        if !(400..=599).contains(&status) {
            return Err(format!("status = {status}: expected one from 400 to 599"));
        }
        Ok(match self.r#do.as_str() {
            "answer" => Act::Answer,
            "error" => Act::Error { status },
            "throttle" => {
                Act::Throttle { retry_after: self.retry_after_ms.map(Duration::from_millis), as_date: self.as_date }
            }
            "slow" => Act::Slow { wait: Duration::from_millis(self.wait_ms.unwrap_or(1000)) },
            "hang" => Act::Hang,
            "cut" => Act::Cut,
            "half" => Act::Half,
            "malformed" => Act::Malformed,
            "lie" => Act::Lie,
            "page" => Act::Page,
            other => {
                return Err(format!(
                    "do = {other:?}: expected answer, error, throttle, slow, hang, cut, half, malformed, lie or page"
                ));
            }
        })
    }
}

/// Parts of a million.
const WHOLE: u64 = 1_000_000;

/// The acts, in the order in which requests come.
#[derive(Debug)]
pub struct Acts {
    /// What is left of the sequence.
    sequence: VecDeque<(Act, u64)>,
    storms: Vec<(Act, u64, u64)>,
    /// With the upper end of each one's part of a million.
    chances: Vec<(Act, u64)>,
    random: SplitMix64,
    /// Requests since the sequence ended.
    number: u64,
}

impl Script {
    /// # Errors
    /// What is wrong with the text, as a sentence without its file's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let script: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        script.acts()?;
        Ok(script)
    }

    /// # Errors
    /// When an entry lacks something, or has something that its list has no use for.
    pub fn acts(&self) -> Result<Acts, String> {
        let only = |list: &str, step: &Step, times: bool, storm: bool, percent: bool| {
            let wrong = (!times && step.times.is_some())
                || (!storm && (step.every.is_some() || step.lasts.is_some()))
                || (!percent && step.percent.is_some());
            if wrong {
                Err(format!(
                    "[[{list}]]: `times` is for sequences, `every` and `lasts` for storms, `percent` for chances"
                ))
            } else {
                Ok(())
            }
        };
        let mut sequence = VecDeque::new();
        for step in &self.sequence {
            only("sequence", step, true, false, false)?;
            sequence.push_back((step.act()?, step.times.unwrap_or(1)));
        }
        let mut storms = Vec::new();
        for step in &self.storm {
            only("storm", step, false, true, false)?;
            match (step.every, step.lasts) {
                (Some(every), Some(lasts)) if every > 0 => storms.push((step.act()?, every, lasts)),
                _ => return Err("[[storm]]: it needs `every`, above 0, and `lasts`".to_owned()),
            }
        }
        let (mut chances, mut upper) = (Vec::new(), 0);
        for step in &self.chance {
            only("chance", step, false, false, true)?;
            let percent = step.percent.filter(|percent| (0.0..=100.0).contains(percent));
            let Some(percent) = percent else { return Err("[[chance]]: it needs `percent`, from 0 to 100".to_owned()) };
            upper += (percent * 1e4) as u64;
            chances.push((step.act()?, upper));
        }
        if upper > WHOLE {
            return Err("[[chance]]: together they are more than 100 percent".to_owned());
        }
        Ok(Acts { sequence, storms, chances, random: SplitMix64::new(self.seed, 0), number: 0 })
    }
}

impl Acts {
    /// What is done with the next request.
    pub fn next(&mut self) -> Act {
        while let Some((act, times)) = self.sequence.front_mut() {
            if *times > 0 {
                *times -= 1;
                return act.clone();
            }
            self.sequence.pop_front();
        }
        let number = self.number;
        self.number += 1;
        // Thrown for every request, so that storms do not change what comes after them.
        let dice = self.random.below(WHOLE);
        let storm = self.storms.iter().find(|(_, every, lasts)| number % every < *lasts).map(|(act, ..)| act);
        let chance = || self.chances.iter().find(|(_, upper)| dice < *upper).map(|(act, _)| act);
        storm.or_else(chance).cloned().unwrap_or(Act::Answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, count: usize) -> Vec<&'static str> {
        let mut acts = Script::parse(text).unwrap().acts().unwrap();
        (0..count).map(|_| acts.next().name()).collect()
    }

    #[test]
    fn the_sequence_comes_first_then_storms_then_answers() {
        let text = "[[sequence]]\ndo = \"cut\"\ntimes = 2\n[[sequence]]\ndo = \"half\"\n\
            [[storm]]\ndo = \"throttle\"\nevery = 4\nlasts = 2\n";
        let expected =
            ["cut", "cut", "half", "throttle", "throttle", "answer", "answer", "throttle", "throttle", "answer"];
        assert_eq!(names(text, 10), expected);
        assert_eq!(names("", 2), ["answer", "answer"]);
    }

    #[test]
    fn chances_come_as_often_as_they_say_and_the_same_with_the_same_seed() {
        let text = |seed| {
            format!(
                "seed = {seed}\n[[chance]]\ndo = \"error\"\npercent = 30.0\n[[chance]]\ndo = \"lie\"\npercent = 5\n"
            )
        };
        let drawn = names(&text(1), 20_000);
        let share = |name| drawn.iter().filter(|act| **act == name).count();
        assert!((5700..6300).contains(&share("error")) && (850..1150).contains(&share("lie")));
        assert_eq!(drawn, names(&text(1), 20_000));
        assert_ne!(drawn, names(&text(2), 20_000));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, told) in [
            ("[[sequence]]\ndo = \"dance\"\n", "dance"),
            ("[[chance]]\ndo = \"cut\"\n", "percent"),
            ("[[chance]]\ndo = \"cut\"\npercent = 60\n[[chance]]\ndo = \"lie\"\npercent = 60\n", "100 percent"),
            ("[[storm]]\ndo = \"cut\"\nevery = 0\nlasts = 1\n", "every"),
            ("[[sequence]]\ndo = \"cut\"\npercent = 1\n", "chances"),
            ("[[sequence]]\ndo = \"error\"\nstatus = 200\n", "200"),
            ("latency = 5\n", "latency"),
        ] {
            let error = Script::parse(text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
