//! Log lines on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};
use crate::progress::BesideBars;

/// Starts logging: Memoir's own crates at the level that is set, libraries only when they warn. To be called once.
///
/// The Delta library logs an error also where a table is only looked for; what it cannot do comes back as our own error.
pub fn start(settings: &LogSettings) {
    let filter = EnvFilter::new(format!("warn,deltalake_core=off,buoyant_kernel=off,memoir={}", settings.level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| BesideBars);
    // A second start is a test's doing; the first one stays.
    let _ = match settings.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
