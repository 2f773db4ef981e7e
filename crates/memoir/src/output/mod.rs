//! What goes to standard output: rows as a table, JSON or CSV. Everything else goes to standard error.

mod arrow;
mod csv;
mod json;
mod rows;
mod table;

use std::io::{self, BufWriter, IsTerminal, Write};

pub use rows::{Cell, NamedRow, Rows};
pub use table::{printable, short_time};

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people, as wide as the terminal.
    #[default]
    Table,
    /// One array of objects.
    Json,
    /// A header and a line a row.
    Csv,
}

/// Standard output, buffered. It must be flushed at the end, which is where a full disk or a reader that went away
/// shows.
pub fn stdout() -> BufWriter<io::Stdout> {
    BufWriter::new(io::stdout())
}

/// Writes rows to standard output. A table is fitted to the terminal; elsewhere its lines are as long as they need.
pub fn print(rows: &Rows, format: Format) -> io::Result<()> {
    let mut out = stdout();
    write(&mut out, rows, format, terminal_width())?;
    out.flush()
}

/// Writes rows. `width` bounds a table's lines, in characters.
pub fn write(out: &mut impl Write, rows: &Rows, format: Format, width: Option<u16>) -> io::Result<()> {
    match format {
        Format::Table => table::write(out, rows, width),
        Format::Json => json::write(out, rows),
        Format::Csv => csv::write(out, rows),
    }
}

/// The width of the terminal that standard output is; None where it is none.
fn terminal_width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(terminal_size::Width(width), _)| width)
}
