//! `memoir generate`: synthetic conversations, to the table or to a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use memoir_core::event::ConversationEvent;

use super::{blocking, open_warehouse};
use crate::append::{Appended, EventAppender};
use crate::cli::GenerateArguments;
use crate::config::Settings;
use crate::exit::{Exit, usage};
use crate::generate::{self, Load};
use crate::output;
use crate::progress::Progress;

pub async fn run(arguments: &GenerateArguments, settings: &Settings) -> anyhow::Result<Exit> {
    let load = match (arguments.users, arguments.events) {
        (Some(users), Some(events)) => Some(Load { users, events, seed: arguments.seed }),
        _ => None,
    };
    if let Some(load) = &load {
        // What cannot be generated is wrong usage, and is said before anything is written.
        load.events().map_err(|error| usage(error.to_string()))?;
    }
    match arguments.out.clone() {
        Some(path) => blocking(move || write_file(load, &path)).await?,
        None => {
            let warehouse = open_warehouse(settings)?;
            let done = blocking(move || {
                let progress = Progress::start("events", load.map(|load| load.events));
                let mut appender = EventAppender::open(&warehouse, &progress)?;
                for event in events(load)? {
                    appender.push(event)?;
                }
                Ok(appender.finish()?)
            })
            .await?;
            report(done)?;
        }
    }
    Ok(Exit::DONE)
}

/// The load's events, or the demo's.
fn events(load: Option<Load>) -> anyhow::Result<Box<dyn Iterator<Item = ConversationEvent>>> {
    Ok(match load {
        Some(load) => Box::new(load.events()?),
        None => Box::new(generate::demo_events()?.into_iter()),
    })
}

fn write_file(load: Option<Load>, path: &Path) -> anyhow::Result<()> {
    if path == Path::new("-") {
        generate::write_ndjson(events(load)?, &mut output::stdout())?;
        return Ok(());
    }
    let progress = Progress::start("events", load.map(|load| load.events));
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let counted = events(load)?.inspect(|_| progress.advance(1));
    let written = generate::write_ndjson(counted, &mut BufWriter::new(file))
        .with_context(|| format!("cannot write {}", path.display()))?;
    drop(progress);
    let mut out = output::stdout();
    writeln!(out, "Wrote {written} events to {}", path.display())?;
    out.flush()?;
    Ok(())
}

/// Says what became of the events.
pub fn report(done: Appended) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(
        out,
        "Appended {} events to conversation_events; {} were there already",
        done.appended, done.already_there
    )?;
    out.flush()?;
    Ok(())
}
