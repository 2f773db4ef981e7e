//! What the tests share: a folder to work in, the binary under way, events, an endpoint, an independent reader.

mod compressed;
mod endpoint;
mod events;
mod process;
mod random;
mod reader;
mod simulator;
mod workspace;

pub use compressed::{gzip, zstd};
pub use endpoint::{Asked, Endpoint, Reply, TOKEN};
pub use events::{Event, lines, said, system_time_text};
pub use process::{Outcome, Running, eventually};
pub use random::Random;
pub use reader::read_independently;
pub use simulator::Simulator;
pub use workspace::{Workspace, has_extension, text};
