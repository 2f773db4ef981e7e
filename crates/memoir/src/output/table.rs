//! Rows as a table for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use memoir_core::Timestamp;

use super::rows::{Cell, Rows};

pub fn write(out: &mut impl Write, rows: &Rows, width: Option<u16>) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(rows.columns());
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    for cells in rows.iter() {
        table.add_row(cells.iter().map(table_cell));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "{}", if rows.len() == 1 { "1 row".to_owned() } else { format!("{} rows", rows.len()) })
}

fn table_cell(cell: &Cell) -> comfy_table::Cell {
    let text = match cell {
        Cell::Null => String::new(),
        Cell::Timestamp(time) => short_time(*time),
        Cell::List(items) => items.iter().filter_map(short_text).collect::<Vec<_>>().join(", "),
        _ => cell.to_text().unwrap_or_default(),
    };
    let right = matches!(cell, Cell::Int(_) | Cell::Float(_));
    comfy_table::Cell::new(printable(&text)).set_alignment(if right {
        CellAlignment::Right
    } else {
        CellAlignment::Left
    })
}

fn short_text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Timestamp(time) => Some(short_time(*time)),
        _ => cell.to_text(),
    }
}

/// RFC 3339 without the digits that are naught.
pub fn short_time(time: Timestamp) -> String {
    time.to_string().replace(".000000Z", "Z")
}

/// Text as a terminal may see it: what people wrote must not move the cursor or colour the screen.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || !c.is_control() { c } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rows: &Rows, width: Option<u16>) -> String {
        let mut out = Vec::new();
        write(&mut out, rows, width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_is_no_wider_than_the_terminal_and_as_wide_as_it_needs_elsewhere() {
        let mut rows = Rows::new(["user_id", "value"]);
        rows.push(["sam_patel".into(), Cell::Text("word ".repeat(60))]);
        assert!(written(&rows, Some(60)).lines().all(|line| line.chars().count() <= 60));
        assert!(written(&rows, None).lines().any(|line| line.chars().count() > 300));
    }

    #[test]
    fn times_on_the_second_are_short_and_the_rows_are_counted() {
        let mut rows = Rows::new(["at"]);
        rows.push([Timestamp::parse("2026-01-05T09:00:00Z").unwrap().into()]);
        rows.push([Timestamp::parse("2026-01-05T09:00:00.000001Z").unwrap().into()]);
        let text = written(&rows, None);
        assert!(text.contains(" 2026-01-05T09:00:00Z ") && text.contains("09:00:00.000001Z"), "{text}");
        assert!(text.ends_with("2 rows\n"), "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut rows = Rows::new(["value"]);
        rows.push(["a\u{1b}[31mred\u{7}".into()]);
        let text = written(&rows, None);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text}");
    }
}
