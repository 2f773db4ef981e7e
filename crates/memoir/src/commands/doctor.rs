//! `memoir doctor`: looks at everything that a run needs, and says what to do where it is not there.

use std::path::Path;

use memoir_core::profile::{ExtractionCall, ExtractionRequest, ExtractionStatus, Message, Trigger, WindowMessage};
use memoir_core::{Clock, SystemClock};
use memoir_extract::Extractor;
use memoir_state::{StateError, StateHome};

use super::setup::TABLES;
use super::{blocking, open_warehouse};
use crate::cli::DoctorArguments;
use crate::config::{Settings, SourceKind};
use crate::exit::Exit;
use crate::extractor;
use crate::output::{self, Rows};

/// What was found at one thing.
enum Finding {
    Good(String),
    /// A run does without, or makes it itself.
    Note(String, String),
    /// A run would fail. What was found, and what to do.
    Bad(String, String),
}

pub async fn run(arguments: &DoctorArguments, settings: &Settings) -> anyhow::Result<Exit> {
    let mut checks = Vec::new();
    warehouse(settings, &mut checks).await;
    let state_settings = settings.clone();
    checks.push(("state".to_owned(), blocking(move || Ok(state(&state_settings))).await?));
    let source_settings = settings.clone();
    checks.push(("source".to_owned(), blocking(move || Ok(source(&source_settings))).await?));
    checks.push(("extractor".to_owned(), endpoint(settings).await));

    let mut rows = Rows::new(["check", "status", "found", "remedy"]);
    let mut exit = Exit::DONE;
    for (check, finding) in checks {
        let (status, found, remedy) = match finding {
            Finding::Good(found) => ("ok", found, None),
            Finding::Note(found, remedy) => ("note", found, Some(remedy)),
            Finding::Bad(found, remedy) => {
                exit = Exit::FAILED;
                ("failed", found, Some(remedy))
            }
        };
        rows.push([check.into(), status.into(), found.into(), remedy.into()]);
    }
    output::print(&rows, arguments.format.format)?;
    Ok(exit)
}

async fn warehouse(settings: &Settings, checks: &mut Vec<(String, Finding)>) {
    let warehouse = match open_warehouse(settings) {
        Ok(warehouse) => warehouse,
        Err(error) => {
            checks.push(("warehouse".to_owned(), Finding::Bad(error.to_string(), "set warehouse.uri".to_owned())));
            return;
        }
    };
    if let Some(folder) = warehouse.table_folder("") {
        checks.push(("warehouse".to_owned(), writable(&folder, "warehouse.uri")));
    }
    for schema in TABLES {
        let finding = match warehouse.has_table(schema.name).await {
            Ok(true) => Finding::Good(warehouse.table_path(schema.name)),
            Ok(false) => Finding::Note(
                format!("no table at {}", warehouse.table_path(schema.name)),
                "`memoir setup` creates it, a run does too".to_owned(),
            ),
            Err(error) => Finding::Bad(error.to_string(), "see warehouse.uri".to_owned()),
        };
        checks.push((format!("table {}", schema.name), finding));
    }
}

/// Whether files can be made in a folder, or in the nearest one above that exists.
fn writable(folder: &Path, key: &str) -> Finding {
    let Some(there) = folder.ancestors().find(|folder| folder.exists()) else {
        return Finding::Bad(format!("{}: no such place", folder.display()), format!("set {key}"));
    };
    let probe = there.join(format!(".memoir-doctor-{}", std::process::id()));
    match std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) => Finding::Good(format!("{} can be written", there.display())),
        Err(error) => Finding::Bad(
            format!("{} cannot be written: {error}", there.display()),
            format!("give this user the right to, or set {key}"),
        ),
    }
}

fn state(settings: &Settings) -> Finding {
    let (path, query) = (&settings.state.path, &settings.query.name);
    if !StateHome::exists(path, query) {
        return match writable(path, "state.path") {
            Finding::Good(found) => {
                Finding::Note(format!("no state of {query} yet; {found}"), "a run creates it".to_owned())
            }
            finding => finding,
        };
    }
    match StateHome::open(path, query) {
        Ok(home) => match writable(home.path(), "state.path") {
            Finding::Good(found) => Finding::Good(format!("{} shards; {found}", home.manifest().shards)),
            finding => finding,
        },
        Err(error @ StateError::Locked { .. }) => {
            Finding::Note(error.to_string(), "that is right while a run is under way".to_owned())
        }
        Err(error) => Finding::Bad(error.to_string(), "see state.path and query.name".to_owned()),
    }
}

fn source(settings: &Settings) -> Finding {
    match settings.source.kind {
        SourceKind::Delta => Finding::Good("the conversation_events table".to_owned()),
        SourceKind::Files => files(settings.source.path.as_deref()),
        SourceKind::Kafka => Finding::Bad(
            "source.kind = kafka is not in this version".to_owned(),
            "read files, or a Delta table that Kafka is written to".to_owned(),
        ),
    }
}

fn files(path: Option<&str>) -> Finding {
    match path {
        None => Finding::Bad("source.path is not set".to_owned(), "set it to a file, folder, glob or -".to_owned()),
        Some("-") => Finding::Good("standard input".to_owned()),
        Some(path) if path.contains(['*', '?', '[', '{']) => Finding::Good(format!("the glob {path}")),
        Some(path) if Path::new(path).exists() => Finding::Good(path.to_owned()),
        Some(path) => Finding::Bad(format!("{path}: no such file or folder"), "set source.path".to_owned()),
    }
}

/// Asks the extractor one small question: nothing less shows that address, token, endpoint and answers are right.
async fn endpoint(settings: &Settings) -> Finding {
    let extractor = match extractor::open(settings) {
        Ok(extractor) => extractor,
        Err(error) => return Finding::Bad(error.to_string(), "see the extractor.* keys".to_owned()),
    };
    match &extractor {
        Extractor::Heuristic(_) => return Finding::Good("the rules".to_owned()),
        Extractor::Unavailable { why, .. } => {
            let remedy =
                "for a model set DATABRICKS_HOST, DATABRICKS_TOKEN (or an OAuth client) and extractor.endpoint"
                    .to_owned();
            return Finding::Note(format!("the rules; {why}"), remedy);
        }
        Extractor::Model(_) => {}
    }
    let answer = extractor.answer(&question(&SystemClock), &SystemClock).await;
    match answer.status {
        ExtractionStatus::Ok | ExtractionStatus::Repaired => {
            Finding::Good(format!("the model answered in {} ms", answer.latency_ms))
        }
        _ => Finding::Bad(
            answer.error.unwrap_or_else(|| "the model did not answer".to_owned()),
            "see databricks.host, databricks.token and extractor.endpoint; a run would fall back to the rules"
                .to_owned(),
        ),
    }
}

fn question(clock: &dyn Clock) -> ExtractionCall {
    let message = Message {
        event_id: "doctor".to_owned(),
        ts: clock.now(),
        at: clock.now(),
        conversation_id: "doctor".to_owned(),
        role: memoir_core::profile::USER_ROLE.to_owned(),
        content: "I live in Lisbon.".to_owned(),
    };
    ExtractionCall {
        request: ExtractionRequest {
            number: 1,
            trigger: Trigger::Threshold,
            emission_ts: clock.now(),
            fresh_from: 0,
            window: vec![WindowMessage { seq: 0, message }],
        },
        emission_id: "doctor".to_owned(),
        facts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let finding = writable(&folder.path().join("a/b/c"), "state.path");
        assert!(matches!(finding, Finding::Good(_)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn kafka_is_not_available_whatever_listens_at_its_brokers() {
        let mut settings = Settings::default();
        settings.source.kind = SourceKind::Kafka;
        let Finding::Bad(found, _) = source(&settings) else { panic!("it is said to be there") };
        assert!(found.contains("not in this version"), "{found}");
    }

    #[test]
    fn a_source_path_must_be_there() {
        assert!(matches!(files(None), Finding::Bad(..)));
        assert!(matches!(files(Some("/no/such/place")), Finding::Bad(..)));
        assert!(matches!(files(Some("-")), Finding::Good(_)));
    }
}
