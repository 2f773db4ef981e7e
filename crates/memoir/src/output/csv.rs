//! Rows as CSV (RFC 4180) with a header. No value is an empty field; a list is JSON within its field.

use std::io::{self, Write};

use super::rows::{Cell, Rows};

pub fn write(out: &mut impl Write, rows: &Rows) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(rows.columns()).map_err(io_error)?;
    for cells in rows.iter() {
        let fields = cells.iter().map(|cell| Cell::to_text(cell).unwrap_or_default());
        writer.write_record(fields).map_err(io_error)?;
    }
    writer.flush()
}

/// The error beneath: a reader that went away is to be known as such.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_quotes_and_line_breaks_are_quoted() {
        let mut rows = Rows::new(["a", "b,c", "d"]);
        rows.push(["say \"hi\"".into(), "one\ntwo".into(), vec!["x", "y"].into()]);
        rows.push([Cell::Null, Cell::Text(String::new()), 1i64.into()]);
        let mut out = Vec::new();
        write(&mut out, &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a,\"b,c\",d\n\"say \"\"hi\"\"\",\"one\ntwo\",\"[\"\"x\"\",\"\"y\"\"]\"\n,,1\n"
        );
    }
}
