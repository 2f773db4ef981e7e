//! Rows as one JSON array of objects, a line an object.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::rows::{Cell, Rows};

pub fn write(out: &mut impl Write, rows: &Rows) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "[]");
    }
    for (index, cells) in rows.iter().enumerate() {
        out.write_all(if index == 0 { b"[\n  " } else { b",\n  " })?;
        serde_json::to_writer(&mut *out, &Object { columns: rows.columns(), cells })?;
    }
    writeln!(out, "\n]")
}

/// A value as compact JSON.
pub fn to_string(cell: &Cell) -> String {
    // A cell has string keys only and no maps: there is nothing that JSON could not hold.
    serde_json::to_string(cell).unwrap_or_default()
}

/// A row with its columns' names as keys, in their order.
struct Object<'a> {
    columns: &'a [String],
    cells: &'a [Cell],
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, cell) in self.columns.iter().zip(self.cells) {
            map.serialize_entry(column, cell)?;
        }
        map.end()
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Int(number) => serializer.serialize_i64(*number),
            // What is not finite becomes null, as JSON has no word for it.
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Timestamp(time) => serializer.collect_str(time),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use memoir_core::Timestamp;

    use super::*;

    fn written(rows: &Rows) -> String {
        let mut out = Vec::new();
        write(&mut out, rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_rows_are_an_empty_array() {
        assert_eq!(written(&Rows::new(["a"])), "[]\n");
    }

    #[test]
    fn rows_are_one_array_with_columns_in_their_order() {
        let mut rows = Rows::new(["z", "a", "at", "ids", "none", "n"]);
        let at = Timestamp::parse("2026-01-05T09:00:00.5Z").unwrap();
        rows.push(["say \"hi\"\n".into(), 7i64.into(), at.into(), vec!["e1", "e2"].into(), Cell::Null, 0.5.into()]);
        rows.push([Cell::Text("é".into()), true.into()]);
        assert_eq!(
            written(&rows),
            "[\n  {\"z\":\"say \\\"hi\\\"\\n\",\"a\":7,\"at\":\"2026-01-05T09:00:00.500000Z\",\"ids\":[\"e1\",\"e2\"],\"none\":null,\"n\":0.5},\
             \n  {\"z\":\"é\",\"a\":true,\"at\":null,\"ids\":null,\"none\":null,\"n\":null}\n]\n"
        );
        let parsed: serde_json::Value = serde_json::from_str(&written(&rows)).unwrap();
        assert_eq!(parsed.as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_number_that_is_not_finite_is_null() {
        assert_eq!(to_string(&Cell::Float(f64::NAN)), "null");
    }
}
