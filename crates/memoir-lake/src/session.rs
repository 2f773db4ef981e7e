//! The query engine's sessions: bounded memory, spilling to the disk, and one object store for each table.

use std::sync::Arc;

use deltalake::datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use deltalake::datafusion::execution::runtime_env::RuntimeEnvBuilder;
use deltalake::datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::LakeError;

/// What sorts, joins and aggregates may hold before they spill.
const MEMORY: usize = 192 << 20;

/// Parts of a query that run side by side: more would cut the memory into slices too small to sort in.
const MOST_PARTITIONS: usize = 4;

/// How many of the greediest operators a message names when memory runs out.
const NAMED_CONSUMERS: std::num::NonZeroUsize =
    std::num::NonZeroUsize::new(3).expect("not zero: checked when compiled");

/// A session with nothing in it but the built-in functions, of which none reads files.
pub(crate) fn session(config: SessionConfig) -> Result<SessionContext, LakeError> {
    let partitions = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_PARTITIONS));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(MEMORY), NAMED_CONSUMERS)))
        .build_arc()
        .map_err(|error| LakeError::Sql(format!("the query engine did not start: {error}")))?;
    Ok(SessionContext::new_with_config_rt(config.with_target_partitions(partitions), runtime))
}
