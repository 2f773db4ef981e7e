//! `memoir eval`: runs an exam through the engine and says how good what is remembered is.
//!
//! The conversations become events, a run over them gives tables, and the current facts in these are scored: all that
//! stands between a message and a fact takes part. The run has a folder of its own, in event time and with a drain, so
//! that with the rules the figures are the same each time.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use memoir_core::profile::ExtractionStatus;
use memoir_lake::Warehouse;
use tracing::{info, warn};

use super::run::execute;
use super::{blocking, open_warehouse};
use crate::cli::EvalArguments;
use crate::config::{ClockChoice, OnBadRecord, Settings, SourceKind, Start, Trigger};
use crate::eval::{self, Exam, Remembered};
use crate::exit::{Exit, usage};
use crate::generate;
use crate::output::{self, Cell, Rows};

pub async fn run(arguments: &EvalArguments, settings: &Settings) -> anyhow::Result<Exit> {
    let exam = Exam::read(&arguments.exam).map_err(|error| usage(error.to_string()))?;
    let place = match &arguments.keep {
        Some(folder) => Place::kept(folder)?,
        None => Place::temporary()?,
    };
    let settings = place.settings(settings)?;
    let events = place.path.join(EVENTS);
    let exam = blocking(move || {
        let mut file = File::create(&events).with_context(|| format!("cannot create {}", events.display()))?;
        generate::write_ndjson(exam.events(), &mut file)?;
        Ok(exam)
    })
    .await?;
    let exit = execute(&settings, None).await?;
    if exit != Exit::DONE {
        // A signal ended the run: figures of a part of it would be taken for those of the whole.
        return Ok(exit);
    }
    let warehouse = open_warehouse(&settings)?;
    say_who_answered(&warehouse).await?;
    let remembered = remembered(&warehouse).await?;
    let scored = eval::score(&exam, &remembered);
    let mut out = output::stdout();
    eval::write(&mut out, &scored, arguments.format, arguments.errors)?;
    out.flush()?;
    Ok(Exit::DONE)
}

/// What is current in the end, of all users.
async fn remembered(warehouse: &Warehouse) -> anyhow::Result<Vec<Remembered>> {
    let facts = warehouse.all_current_facts(None).await?;
    let facts = Rows::from_batches(&facts.schema, &facts.batches)?;
    facts
        .named()
        .map(|row| {
            Ok(Remembered {
                user_id: row.text("user_id").to_owned(),
                key: row.text("key").to_owned(),
                kind: row.text("kind").parse()?,
                value: row.text("value").to_owned(),
            })
        })
        .collect()
}

/// Logs who gave the answers, and warns where the rules stepped in for a model: the figures are theirs, then.
async fn say_who_answered(warehouse: &Warehouse) -> anyhow::Result<()> {
    let sql = "SELECT extractor, model, status, count(*) AS extractions FROM profile_memory_extractions \
               GROUP BY extractor, model, status ORDER BY extractor, model, status";
    let answers = warehouse.query(sql).await?;
    let mut replaced = 0;
    for row in Rows::from_batches(&answers.schema, &answers.batches)?.named() {
        let (extractor, model, status) = (row.text("extractor"), row.text("model"), row.text("status"));
        let Cell::Int(extractions) = *row.get("extractions") else { continue };
        info!(extractor, model, status, extractions, "answered");
        if matches!(status.parse()?, ExtractionStatus::Unavailable | ExtractionStatus::Failed) {
            replaced += extractions;
        }
    }
    if replaced > 0 {
        warn!(
            "{replaced} extractions were answered by the rules because the model did not: their figures are in these"
        );
    }
    Ok(())
}

const EVENTS: &str = "events.ndjson";

/// The folder that a run has for itself: the exam's events, the tables and the state.
struct Place {
    path: PathBuf,
    is_temporary: bool,
}

impl Place {
    fn temporary() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("memoir-eval-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&path).with_context(|| format!("cannot create the folder {}", path.display()))?;
        Ok(Self { path, is_temporary: true })
    }

    /// A folder of the caller's, which must be new or empty: an older state would go on where it stopped.
    fn kept(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot create the folder {}", path.display());
        fs::create_dir_all(path).with_context(failed)?;
        if fs::read_dir(path).with_context(failed)?.next().is_some() {
            return Err(usage(format!("--keep {}: the folder is not empty; name a new one", path.display())));
        }
        Ok(Self { path: path.to_owned(), is_temporary: false })
    }

    /// The settings in force, for a run over the exam alone.
    fn settings(&self, in_force: &Settings) -> anyhow::Result<Settings> {
        let text = |name: &str| {
            let path = self.path.join(name);
            path.to_str().map(str::to_owned).with_context(|| format!("{} is no Unicode text", path.display()))
        };
        let mut settings = in_force.clone();
        settings.warehouse.uri = text("warehouse")?;
        settings.state.path = self.path.join("state");
        settings.state.checkpoint_uri = None;
        settings.source.kind = SourceKind::Files;
        settings.source.path = Some(text(EVENTS)?);
        settings.source.start = Start::Earliest;
        settings.source.archive = false;
        // A message that does not come through would be missed without a word.
        settings.source.on_bad_record = OnBadRecord::Fail;
        // The events' times are fixed, and no clock is to matter.
        settings.processor.max_ahead = Duration::MAX;
        settings.processor.clock = ClockChoice::EventTime;
        settings.processor.drain = true;
        settings.engine.trigger = Trigger::AvailableNow;
        Ok(settings)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            warn!("cannot remove the temporary folder {}: {error}", self.path.display());
        }
    }
}
