//! The front that the engine asks: one of two extractors, as the configuration and the environment have it.

use std::sync::Arc;

use memoir_core::Clock;
use memoir_core::profile::{ExtractionAnswer, ExtractionCall, ExtractionStatus, ExtractorKind};

use crate::model::ModelExtractor;
use crate::settings::model_settings;
use crate::{ExtractError, ExtractorChoice, ExtractorSettings, Rules};

/// Who answers extractions. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Extractor {
    /// The rules, because they were asked for.
    Heuristic(Arc<Rules>),
    /// The rules, because there is no model to ask.
    Unavailable {
        rules: Arc<Rules>,
        /// What is missing.
        why: String,
    },
    /// A model, with the rules as its fallback.
    Model(Arc<ModelExtractor>),
}

impl Extractor {
    /// # Errors
    /// When a file of rules, instructions or profiles cannot be used, a URL is none, or a model is demanded and cannot
    /// be asked: wrong configuration in each case.
    pub fn new(settings: ExtractorSettings) -> Result<Self, ExtractError> {
        let rules = match &settings.rules {
            Some(path) => Rules::load_path(path)?,
            None => Rules::built_in()?,
        };
        let rules = Arc::new(rules);
        if settings.kind == ExtractorChoice::Heuristic {
            return Ok(Self::Heuristic(rules));
        }
        match model_settings(&settings)? {
            Ok(model) => ModelExtractor::new(model, rules).map(|model| Self::Model(Arc::new(model))),
            Err(missing) if settings.kind == ExtractorChoice::Model => Err(ExtractError::NoModel { missing }),
            Err(missing) => Ok(Self::Unavailable { rules, why: format!("no model to ask: there is no {missing}") }),
        }
    }

    /// Who answers without a request; `None` where the model must be asked.
    #[must_use]
    pub fn at_once(&self) -> Option<AtOnce> {
        match self {
            Self::Heuristic(rules) => {
                Some(AtOnce { rules: Arc::clone(rules), status: ExtractionStatus::Ok, why: None })
            }
            Self::Unavailable { rules, why } => {
                Some(AtOnce { rules: Arc::clone(rules), status: ExtractionStatus::Unavailable, why: Some(why.clone()) })
            }
            Self::Model(_) => None,
        }
    }

    /// The answer where no request is needed for it; `None` where the model must be asked.
    #[must_use]
    pub fn answer_now(&self, call: &ExtractionCall, clock: &dyn Clock) -> Option<ExtractionAnswer> {
        self.at_once().map(|rules| rules.answer(call, clock))
    }

    /// The answer, whatever it takes. Never fails: what a model does not answer the rules do.
    pub async fn answer(&self, call: &ExtractionCall, clock: &dyn Clock) -> ExtractionAnswer {
        match self {
            Self::Heuristic(rules) => by_rules(rules, call, clock, ExtractionStatus::Ok, None),
            Self::Unavailable { rules, why } => {
                by_rules(rules, call, clock, ExtractionStatus::Unavailable, Some(why.clone()))
            }
            Self::Model(model) => model.answer(call, clock).await,
        }
    }
}

/// The rules, for whatever reason they are asked.
#[derive(Clone, Debug)]
pub struct AtOnce {
    rules: Arc<Rules>,
    status: ExtractionStatus,
    why: Option<String>,
}

impl AtOnce {
    #[must_use]
    pub fn answer(&self, call: &ExtractionCall, clock: &dyn Clock) -> ExtractionAnswer {
        by_rules(&self.rules, call, clock, self.status, self.why.clone())
    }
}

fn by_rules(
    rules: &Rules,
    call: &ExtractionCall,
    clock: &dyn Clock,
    status: ExtractionStatus,
    error: Option<String>,
) -> ExtractionAnswer {
    ExtractionAnswer {
        extractor: ExtractorKind::Heuristic,
        model: None,
        status,
        facts: rules.extract(call),
        answered_at: clock.now(),
        attempts: 0,
        latency_ms: 0,
        prompt_tokens: None,
        completion_tokens: None,
        error,
        prompt_version: None,
    }
}

#[cfg(test)]
mod tests {
    use memoir_core::{ManualClock, Timestamp};

    use super::*;
    use crate::Token;
    use crate::rules::call_of;

    fn settings(kind: ExtractorChoice) -> ExtractorSettings {
        ExtractorSettings { kind, ..ExtractorSettings::default() }
    }

    #[test]
    fn auto_without_host_token_or_endpoint_is_unavailable_and_says_what_is_missing() {
        let clock = ManualClock::at(Timestamp::from_micros(7));
        let whole = ExtractorSettings {
            host: Some("adb-1.example.net".to_owned()),
            token: Token::new("dapi1"),
            endpoint: Some("chat".to_owned()),
            ..settings(ExtractorChoice::Auto)
        };
        for (without, missing) in [
            (ExtractorSettings { host: None, ..whole.clone() }, "databricks.host"),
            (ExtractorSettings { token: None, ..whole.clone() }, "databricks.token"),
            (ExtractorSettings { endpoint: Some(" ".to_owned()), ..whole.clone() }, "extractor.endpoint"),
        ] {
            let extractor = Extractor::new(without.clone()).unwrap();
            let answer = extractor.answer_now(&call_of(&["I live in Leeds."]), &clock).unwrap();
            assert_eq!(answer.status, ExtractionStatus::Unavailable);
            assert_eq!(answer.answered_at, Timestamp::from_micros(7));
            assert_eq!(answer.facts.first().map(|fact| fact.value.as_str()), Some("Leeds"));
            assert!(answer.error.is_some_and(|error| error.contains(missing)), "{missing}");
            let demanded = ExtractorSettings { kind: ExtractorChoice::Model, ..without };
            assert!(
                matches!(Extractor::new(demanded), Err(ExtractError::NoModel { missing: named }) if named.contains(missing))
            );
        }
        assert!(matches!(Extractor::new(whole), Ok(Extractor::Model(_))));
    }

    #[test]
    fn a_local_server_needs_no_token() {
        let local = ExtractorSettings {
            base_url: Some("http://127.0.0.1:8080/v1/".to_owned()),
            endpoint: Some("small".to_owned()),
            ..settings(ExtractorChoice::Model)
        };
        assert!(matches!(Extractor::new(local.clone()), Ok(Extractor::Model(_))));
        let wrong = ExtractorSettings { base_url: Some("ftp://x".to_owned()), ..local };
        assert!(matches!(Extractor::new(wrong), Err(ExtractError::Url { .. })));
    }

    #[test]
    fn the_heuristic_extractor_answers_at_once_and_without_a_status() {
        let clock = ManualClock::default();
        let extractor = Extractor::new(settings(ExtractorChoice::Heuristic)).unwrap();
        let answer = extractor.answer_now(&call_of(&["what time is it?"]), &clock).unwrap();
        assert_eq!((answer.status, answer.facts.len(), answer.attempts), (ExtractionStatus::Ok, 0, 0));
        assert_eq!((answer.extractor, answer.model, answer.error), (ExtractorKind::Heuristic, None, None));
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let settings = ExtractorSettings { token: Token::new(" dapi123 "), ..settings(ExtractorChoice::Auto) };
        assert!(!format!("{settings:?}").contains("dapi123"));
    }
}
