//! `memoir state`: looking into the state of a query while nothing runs, changing its number of shards, and making it fit
//! its tables again.

mod reconcile;

use std::io::Write;

use memoir_core::cell::KeyedState as _;
use memoir_core::profile::{ExtractionRequest, UserState};
use memoir_core::{ShardId, Timestamp};
use memoir_state::{Resources, ShardStore, StateError, StateHome};

use super::blocking;
use crate::cli::{StateArguments, StateCommand};
use crate::config::Configuration;
use crate::exit::{Exit, usage};
use crate::output::{self, Cell, Rows};
use crate::wiring;

/// Memory for blocks while looking; nothing is written.
const CACHE_BYTES: usize = 32 << 20;

pub async fn run(arguments: &StateArguments, configuration: &Configuration) -> anyhow::Result<Exit> {
    let settings = &configuration.settings;
    let (path, query) = (settings.state.path.clone(), settings.query.name.clone());
    let (look, format) = match &arguments.command {
        None => (Look::Shards, arguments.format.format),
        Some(StateCommand::Shards(arguments)) => (Look::Shards, arguments.format.format),
        Some(StateCommand::Users(arguments)) => (Look::Users { limit: arguments.limit }, arguments.format.format),
        Some(StateCommand::User(arguments)) => (Look::User(arguments.user.clone()), arguments.format.format),
        Some(StateCommand::Timers(arguments)) => (Look::Timers { limit: arguments.limit }, arguments.format.format),
        Some(StateCommand::Repartition(_)) => return repartition(configuration).await,
        Some(StateCommand::Reconcile(arguments)) => return reconcile::run(arguments, configuration).await,
    };
    let rows = blocking(move || {
        let home = StateHome::open(&path, &query)?;
        let stores = home.open_shards_read_only(&Resources::new(CACHE_BYTES, CACHE_BYTES))?;
        Ok(match look {
            Look::Shards => shards(&stores)?,
            Look::Users { limit } => users(&stores, limit)?,
            Look::User(user) => variables(&stores, &user)?,
            Look::Timers { limit } => timers(&stores, limit)?,
        })
    })
    .await?;
    output::print(&rows, format)?;
    Ok(Exit::DONE)
}

async fn repartition(configuration: &Configuration) -> anyhow::Result<Exit> {
    if !configuration.is_set("state.shards") {
        return Err(usage("say how many shards: --shards N, or state.shards"));
    }
    let settings = configuration.settings.clone();
    let (query, shards) = (settings.query.name.clone(), settings.state.shards);
    let before = blocking(move || {
        let mut home = StateHome::open(&settings.state.path, &settings.query.name)?;
        let before = home.manifest().shards;
        if before != shards {
            home.repartition(shards, &wiring::state_resources())?;
        }
        Ok(before)
    })
    .await?;
    let mut out = output::stdout();
    if before == shards {
        writeln!(out, "The state of {query} has {shards} shards already")?;
    } else {
        writeln!(out, "The state of {query} has {shards} shards now; it had {before}")?;
    }
    out.flush()?;
    Ok(Exit::DONE)
}

/// What to look at.
enum Look {
    Shards,
    Users { limit: usize },
    User(String),
    Timers { limit: usize },
}

fn shards(stores: &[ShardStore]) -> Result<Rows, StateError> {
    let mut rows =
        Rows::new(["shard", "epoch", "users", "timers", "pending", "outbox_bytes", "clock", "source", "offsets"]);
    for store in stores {
        let meta = store.meta()?;
        let mut users = 0_u64;
        store.visit_states::<UserState, StateError>(|_, _| {
            users += 1;
            Ok(true)
        })?;
        let mut outbox_bytes = 0;
        for table in &meta.attached {
            outbox_bytes += store.outbox_bytes(table)?;
        }
        let offsets = store.offsets(&meta.source)?.into_iter();
        let offsets: Vec<String> =
            offsets.map(|(partition, offset)| format!("{partition} {}", offset.position)).collect();
        rows.push([
            store.shard().0.into(),
            meta.epoch.0.into(),
            users.into(),
            all_timers(store, usize::MAX)?.len().into(),
            store.pending_numbers()?.len().into(),
            outbox_bytes.into(),
            meta.clock.into(),
            meta.source.into(),
            offsets.into(),
        ]);
    }
    Ok(rows)
}

fn users(stores: &[ShardStore], limit: usize) -> Result<Rows, StateError> {
    let mut found: Vec<(String, [Cell; 8])> = Vec::new();
    for store in stores {
        store.visit_states::<UserState, StateError>(|user, loaded| {
            let (state, timer) = (loaded.state, loaded.timer);
            let cells = [
                store.shard().0.into(),
                state.header.clock.into(),
                state.messages.len().into(),
                state.header.pending.into(),
                timer_cell(timer),
                state.facts.len().into(),
                state.header.emissions.into(),
                state.header.last_emission.into(),
            ];
            found.push((user.to_owned(), cells));
            Ok(true)
        })?;
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut rows =
        Rows::new(["user_id", "shard", "clock", "messages", "pending", "timer", "facts", "emissions", "last_emission"]);
    for (user, cells) in found.into_iter().take(limit) {
        rows.push(std::iter::once(user.into()).chain(cells));
    }
    Ok(rows)
}

/// Every entry of a user's variables, as JSON.
fn variables(stores: &[ShardStore], user: &str) -> Result<Rows, StateError> {
    let mut rows = Rows::new(["variable", "key", "value"]);
    let shards = u32::try_from(stores.len()).unwrap_or(u32::MAX);
    let shard = ShardId::of_key(user, shards);
    let Some(store) = stores.iter().find(|store| store.shard() == shard) else { return Ok(rows) };
    let mut loaded = store.reader().load::<UserState>(user)?;
    if !loaded.exists {
        tracing::warn!("there is no state of {user}");
    }
    for (id, name) in UserState::CELLS {
        let Some(cell) = loaded.state.cell(*id) else { continue };
        let entries = cell.inspect().map_err(|cause| StateError::Cell { shard, key: user.to_owned(), cause })?;
        for (key, value) in entries {
            rows.push([(*name).into(), key.into(), value.to_string().into()]);
        }
    }
    if let Some(due) = loaded.timer {
        rows.push(["timer".into(), Cell::Null, timer_cell(Some(due))]);
    }
    for (key, number) in store.pending_numbers()? {
        if key == user {
            let request: ExtractionRequest = store.pending(&key, number)?;
            let value = serde_json::to_string(&request).ok();
            rows.push(["pending".into(), number.to_string().into(), value.into()]);
        }
    }
    Ok(rows)
}

fn timers(stores: &[ShardStore], limit: usize) -> Result<Rows, StateError> {
    let mut found = Vec::new();
    for store in stores {
        // Each shard's first ones are enough to have the first of all.
        found.extend(all_timers(store, limit)?.into_iter().map(|(due, user)| (due, user, store.shard())));
    }
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut rows = Rows::new(["due", "user_id", "shard"]);
    for (due, user, shard) in found.into_iter().take(limit) {
        rows.push([timer_cell(Some(due)), user.into(), shard.0.into()]);
    }
    Ok(rows)
}

fn all_timers(store: &ShardStore, limit: usize) -> Result<Vec<(Timestamp, String)>, StateError> {
    store.timers(&(Timestamp::MIN, String::new()), Timestamp::MAX, limit)
}

/// A timer that never fires by itself is pending work that only a drain ends.
fn timer_cell(due: Option<Timestamp>) -> Cell {
    match due {
        Some(Timestamp::MAX) => "at a drain".into(),
        due => due.into(),
    }
}
