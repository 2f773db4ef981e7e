//! `memoir state reconcile`: state and tables are made to fit each other again.

use memoir_core::profile::ProfileProcessor;
use memoir_engine::{EngineOptions, Reconcile, Reconciled, reconcile};
use memoir_lake::{DeltaSink, Warehouse};
use memoir_state::{Manifest, StateHome};
use tracing::info;

use crate::cli::ReconcileArguments;
use crate::commands::run::{check_shards, create_tables};
use crate::commands::{blocking, open_warehouse};
use crate::config::{Configuration, Settings};
use crate::exit::Exit;
use crate::output::{self, Rows};
use crate::wiring;

pub async fn run(arguments: &ReconcileArguments, configuration: &Configuration) -> anyhow::Result<Exit> {
    let settings = configuration.settings.clone();
    let asked = configuration.is_set("state.shards").then_some(settings.state.shards);
    let job = Job {
        processor: ProfileProcessor::new(wiring::profile_config(&settings)?),
        options: wiring::engine_options(&settings)?,
        warehouse: open_warehouse(&settings)?,
        new: wiring::new_manifest(&settings)?,
        asked,
        settings,
    };
    let dry_run = arguments.dry_run;
    if !dry_run {
        create_tables(&job.warehouse, &job.processor, job.options.archive).await?;
    }
    let reconciled = blocking(move || if dry_run { job.look() } else { job.reconcile() }).await?;
    output::print(&rows(&reconciled), arguments.format.format)?;
    if dry_run {
        info!(pending_answered = reconciled.applied, "a dry run: nothing was changed");
    } else {
        info!(
            pending_answered = reconciled.applied,
            "done: `memoir run` goes on, and takes from the tables what they hold"
        );
    }
    Ok(Exit::DONE)
}

struct Job {
    processor: ProfileProcessor,
    options: EngineOptions,
    warehouse: Warehouse,
    /// What a new state is to be.
    new: Manifest,
    /// The number of shards that the state must have, where that was said.
    asked: Option<u32>,
    settings: Settings,
}

impl Job {
    fn reconcile(self) -> anyhow::Result<Reconciled> {
        let mut home = StateHome::open_or_create(&self.settings.state.path, self.new.clone())?;
        let manifest = home.manifest().clone();
        check_shards(self.asked, manifest.shards)?;
        let stores = home.open_shards(&wiring::state_resources())?;
        let sink = DeltaSink::new(self.warehouse);
        Ok(reconcile(Reconcile {
            processor: &self.processor,
            sink: &sink,
            scan: &sink,
            manifest: &manifest,
            home: Some(&mut home),
            stores: &stores,
            options: &self.options,
            random: self.new.state_id,
        })?)
    }

    /// Finds out what would be done.
    fn look(self) -> anyhow::Result<Reconciled> {
        let (path, query) = (&self.settings.state.path, &self.settings.query.name);
        let home = StateHome::exists(path, query).then(|| StateHome::open(path, query)).transpose()?;
        let manifest = home.as_ref().map_or(&self.new, StateHome::manifest);
        check_shards(self.asked, manifest.shards)?;
        let stores = match &home {
            Some(home) => home.open_shards_read_only(&wiring::state_resources())?,
            None => Vec::new(),
        };
        let sink = DeltaSink::new(self.warehouse);
        Ok(reconcile(Reconcile {
            processor: &self.processor,
            sink: &sink,
            scan: &sink,
            manifest,
            home: None,
            stores: &stores,
            options: &self.options,
            random: self.new.state_id,
        })?)
    }
}

fn rows(reconciled: &Reconciled) -> Rows {
    let mut rows = Rows::new(["table", "found", "held", "outbox_dropped", "outbox_kept", "attached", "epochs_raised"]);
    for table in &reconciled.tables {
        rows.push([
            table.table.into(),
            table.finding.as_str().into(),
            table.held.into(),
            table.dropped.into(),
            table.kept.into(),
            table.attached.into(),
            table.raised.into(),
        ]);
    }
    rows
}
