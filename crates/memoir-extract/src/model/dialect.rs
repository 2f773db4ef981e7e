//! Which parameters an endpoint takes. Nobody can be asked beforehand: the first request has all, and a 400 that names
//! one takes it back. What was found out is kept for the process.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

/// How the answer's form is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    JsonSchema,
    JsonObject,
    /// By the prompt alone.
    Plain,
}

/// The parameters of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub format: Format,
    /// `max_completion_tokens` in place of `max_tokens`: OpenAI's newer models take no other.
    pub max_completion_tokens: bool,
    /// Reasoning models take none.
    pub temperature: bool,
}

/// A parameter that a request was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    ResponseFormat,
    MaxTokens,
    Temperature,
}

impl Dialect {
    const FIRST: Self = Self { format: Format::JsonSchema, max_completion_tokens: false, temperature: true };

    /// The dialect without a parameter; `None` where it was not in it.
    fn without(self, parameter: Parameter) -> Option<Self> {
        match parameter {
            Parameter::ResponseFormat => {
                let format = match self.format {
                    Format::JsonSchema => Format::JsonObject,
                    Format::JsonObject => Format::Plain,
                    Format::Plain => return None,
                };
                Some(Self { format, ..self })
            }
            Parameter::MaxTokens => {
                (!self.max_completion_tokens).then_some(Self { max_completion_tokens: true, ..self })
            }
            Parameter::Temperature => self.temperature.then_some(Self { temperature: false, ..self }),
        }
    }
}

/// What is known of an endpoint's dialect.
#[derive(Debug)]
pub(super) struct KnownDialect(Mutex<Dialect>);

impl KnownDialect {
    pub fn new() -> Self {
        Self(Mutex::new(Dialect::FIRST))
    }

    pub fn get(&self) -> Dialect {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request in the dialect `used` was refused for `parameter`. Says whether another form is worth a try.
    pub fn refused(&self, used: Dialect, parameter: Parameter) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != used {
            // Somebody else was refused meanwhile, and has drawn the consequence.
            return true;
        }
        match used.without(parameter) {
            Some(next) => {
                tracing::info!(?parameter, dialect = ?next, "the endpoint does not take a parameter; it is asked without");
                *known = next;
                true
            }
            None => false,
        }
    }
}

/// The parameter that an error of a request speaks of, if it says that it is not taken.
pub(super) fn refused_parameter(status: u16, message: &str) -> Option<Parameter> {
    if !matches!(status, 400 | 422) {
        return None;
    }
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["max_completion_tokens"]) {
        return Some(Parameter::MaxTokens);
    }
    if says(&["response_format", "response format", "json_schema", "json_object", "structured output", "json schema"]) {
        return Some(Parameter::ResponseFormat);
    }
    let is_refusal = says(&[
        "unsupported",
        "not support",
        "unrecognized",
        "unknown",
        "unexpected",
        "not permitted",
        "not allowed",
        "invalid parameter",
        "extra fields",
        "extra inputs",
    ]);
    match () {
        () if is_refusal && says(&["temperature"]) => Some(Parameter::Temperature),
        () if is_refusal && says(&["parameter", "field", "argument", "inputs"]) => Some(Parameter::ResponseFormat),
        () => None,
    }
}

impl Format {
    /// What stands under `response_format`.
    pub fn value(self) -> Option<Value> {
        match self {
            Self::JsonSchema => Some(json!({
                "type": "json_schema",
                "json_schema": {"name": "facts", "strict": true, "schema": schema()},
            })),
            Self::JsonObject => Some(json!({"type": "json_object"})),
            Self::Plain => None,
        }
    }
}

/// The form of an answer. In a strict schema everything is required and nothing may be added.
fn schema() -> Value {
    let text = json!({"type": "string"});
    let object = |properties: Value| {
        let required: Vec<&String> = properties.as_object().into_iter().flat_map(|all| all.keys()).collect();
        json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
    };
    let evidence = object(json!({"message": text, "quote": text}));
    let fact = object(json!({
        "key": text,
        "kind": {"type": "string", "enum": ["identity", "preference", "project", "constraint"]},
        "value": text,
        "confidence": {"type": "number"},
        "action": {"type": "string", "enum": ["new", "updated", "unchanged", "deleted"]},
        "evidence": {"type": "array", "items": evidence},
        "reason": text,
    }));
    object(json!({"facts": {"type": "array", "items": fact}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_name_a_parameter_are_told_from_others() {
        let of = |message| refused_parameter(400, message);
        for message in [
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            "json_schema is not enabled for this endpoint",
            "BAD_REQUEST: Unsupported parameter",
            "{\"loc\":[\"body\",\"x\"],\"msg\":\"Extra inputs are not permitted\"}",
        ] {
            assert_eq!(of(message), Some(Parameter::ResponseFormat), "{message}");
        }
        let renamed = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        assert_eq!(of(renamed), Some(Parameter::MaxTokens));
        let fixed = "Unsupported value: 'temperature' does not support 0 with this model.";
        assert_eq!(of(fixed), Some(Parameter::Temperature));
        for message in ["the prompt is too long", "maximum context length is 8192 tokens", ""] {
            assert_eq!(of(message), None, "{message}");
        }
        assert_eq!(refused_parameter(500, "response_format"), None);
    }

    #[test]
    fn a_format_steps_down_once_however_many_requests_were_refused_at_once() {
        let known = KnownDialect::new();
        let first = known.get();
        assert!(known.refused(first, Parameter::ResponseFormat));
        assert!(known.refused(first, Parameter::ResponseFormat), "sent before the first was refused");
        assert_eq!(known.get().format, Format::JsonObject);
        assert!(known.refused(known.get(), Parameter::ResponseFormat));
        assert_eq!(known.get().format, Format::Plain);
        assert!(!known.refused(known.get(), Parameter::ResponseFormat), "there is nothing left to take back");
        assert!(known.refused(known.get(), Parameter::Temperature));
        assert!(known.refused(known.get(), Parameter::MaxTokens));
        let bare = Dialect { format: Format::Plain, max_completion_tokens: true, temperature: false };
        assert_eq!(known.get(), bare);
        assert!(known.refused(first, Parameter::ResponseFormat));
        assert_eq!(known.get(), bare, "who comes late takes nothing of it back");
    }

    #[test]
    fn the_schema_is_strict_in_every_object() {
        fn check(value: &Value) {
            if let Some(object) = value.as_object() {
                if object.get("type") == Some(&json!("object")) {
                    assert_eq!(object["additionalProperties"], false);
                    let properties = object["properties"].as_object().unwrap();
                    assert_eq!(object["required"].as_array().unwrap().len(), properties.len());
                }
                object.values().for_each(check);
            }
        }
        check(&schema());
        assert_eq!(schema()["properties"]["facts"]["items"]["required"].as_array().unwrap().len(), 7);
    }
}
