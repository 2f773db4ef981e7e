//! Tables and rows without a table format: a schema, and rows as compact bytes that need only the schema to be read.
//!
//! Rows cross three borders: from a processor into the outbox, from the outbox into a table, and from a table back to
//! an event. One encoding serves all of them, and whoever carries rows need not know what they mean.
//!
//! A row is its columns in order. A text is a length plus one (0 is null) as a LEB128 varint, then UTF-8. A list of
//! texts is its length plus one, then its texts. Numbers and timestamps are a byte (0 is null) and the value in little
//! endian.

use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    /// Microseconds in UTC.
    Timestamp,
    Double,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    TextList,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub column_type: ColumnType,
    pub comment: &'static str,
    /// Whether minimum and maximum may stand in the table's log. Never for what people said.
    pub statistics: bool,
}

impl Column {
    #[must_use]
    pub const fn new(name: &'static str, column_type: ColumnType, comment: &'static str) -> Self {
        Self { name, column_type, comment, statistics: false }
    }

    #[must_use]
    pub const fn with_statistics(mut self) -> Self {
        self.statistics = true;
        self
    }
}

/// A table that is only appended to.
#[derive(Debug, PartialEq, Eq)]
pub struct TableSchema {
    pub name: &'static str,
    pub comment: &'static str,
    pub columns: &'static [Column],
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored row is damaged at byte {at}: {reason}")]
pub struct RowError {
    pub at: usize,
    pub reason: &'static str,
}

/// Encoded rows of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowBuffer {
    pub rows: u64,
    pub bytes: Vec<u8>,
}

impl RowBuffer {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row that is encoded already.
    pub fn push(&mut self, row: &[u8]) {
        self.rows += 1;
        self.bytes.extend_from_slice(row);
    }

    /// Adds all rows of another buffer of the same table.
    pub fn append(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// Begins a row; all columns of its schema must follow, in order.
    pub fn row(&mut self) -> RowWriter<'_> {
        self.rows += 1;
        RowWriter { bytes: &mut self.bytes }
    }
}

/// What tells encoded rows, or parts of them, apart: two that differ have the same once in 2^64 rows.
#[must_use]
pub fn fingerprint(encoded: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(encoded)
}

/// Writes the columns of one row.
pub struct RowWriter<'a> {
    bytes: &'a mut Vec<u8>,
}

impl RowWriter<'_> {
    pub fn text<'t>(&mut self, value: impl Into<Option<&'t str>>) -> &mut Self {
        match value.into() {
            None => self.length(0),
            Some(text) => {
                self.length(text.len() as u64 + 1);
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
        self
    }

    pub fn texts<I: ExactSizeIterator<Item = T>, T: AsRef<str>>(&mut self, values: Option<I>) -> &mut Self {
        match values {
            None => self.length(0),
            Some(values) => {
                self.length(values.len() as u64 + 1);
                for value in values {
                    self.text(value.as_ref());
                }
            }
        }
        self
    }

    pub fn timestamp(&mut self, value: impl Into<Option<Timestamp>>) -> &mut Self {
        self.fixed(value.into().map(|value| value.as_micros().to_le_bytes()))
    }

    pub fn double(&mut self, value: impl Into<Option<f64>>) -> &mut Self {
        self.fixed(value.into().map(f64::to_le_bytes))
    }

    pub fn int(&mut self, value: impl Into<Option<i32>>) -> &mut Self {
        self.fixed(value.into().map(i32::to_le_bytes))
    }

    pub fn long(&mut self, value: impl Into<Option<i64>>) -> &mut Self {
        self.fixed(value.into().map(i64::to_le_bytes))
    }

    fn fixed<const N: usize>(&mut self, value: Option<[u8; N]>) -> &mut Self {
        self.bytes.push(u8::from(value.is_some()));
        if let Some(value) = value {
            self.bytes.extend_from_slice(&value);
        }
        self
    }

    fn length(&mut self, mut length: u64) {
        while length >= 0x80 {
            self.bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        self.bytes.push(length as u8);
    }
}

/// Reads rows that a [`RowBuffer`] holds, column by column.
#[derive(Clone, Debug)]
pub struct RowReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> RowReader<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all was read. Ask between rows.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// How many bytes were read. Between rows, reading can go on there with a new reader.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// # Errors
    /// When the bytes are damaged or end early; so do all methods below.
    pub fn text(&mut self) -> Result<Option<&'a str>, RowError> {
        let Some(length) = self.length()? else { return Ok(None) };
        let at = self.at;
        let text = std::str::from_utf8(self.take(length)?);
        text.map(Some).map_err(|_| RowError { at, reason: "text that is not UTF-8" })
    }

    pub fn texts(&mut self) -> Result<Option<Vec<&'a str>>, RowError> {
        let Some(length) = self.length()? else { return Ok(None) };
        let mut texts = Vec::with_capacity(length.min(self.bytes.len()));
        for _ in 0..length {
            texts.push(self.text()?.ok_or(RowError { at: self.at, reason: "a null in a list of texts" })?);
        }
        Ok(Some(texts))
    }

    pub fn timestamp(&mut self) -> Result<Option<Timestamp>, RowError> {
        Ok(self.long()?.map(Timestamp::from_micros))
    }

    pub fn double(&mut self) -> Result<Option<f64>, RowError> {
        Ok(self.fixed()?.map(f64::from_le_bytes))
    }

    pub fn int(&mut self) -> Result<Option<i32>, RowError> {
        Ok(self.fixed()?.map(i32::from_le_bytes))
    }

    pub fn long(&mut self) -> Result<Option<i64>, RowError> {
        Ok(self.fixed()?.map(i64::from_le_bytes))
    }

    /// Reads over a whole row of a table with these columns, and returns its bytes.
    pub fn row(&mut self, columns: &[Column]) -> Result<&'a [u8], RowError> {
        let from = self.at;
        for column in columns {
            self.skip(column.column_type)?;
        }
        // In bounds: reading came this far.
        Ok(self.bytes.get(from..self.at).unwrap_or_default())
    }

    /// Reads over a column.
    pub fn skip(&mut self, column_type: ColumnType) -> Result<(), RowError> {
        match column_type {
            ColumnType::Text => self.text().map(drop),
            ColumnType::Timestamp | ColumnType::Long => self.long().map(drop),
            ColumnType::Double => self.double().map(drop),
            ColumnType::Int => self.int().map(drop),
            ColumnType::TextList => self.texts().map(drop),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<Option<[u8; N]>, RowError> {
        match self.take(1)? {
            [0] => Ok(None),
            _ => {
                let at = self.at;
                self.take(N)?.try_into().map(Some).map_err(|_| RowError { at, reason: "a short number" })
            }
        }
    }

    fn length(&mut self) -> Result<Option<usize>, RowError> {
        let (at, mut length, mut shift) = (self.at, 0u64, 0u32);
        loop {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            if shift > 56 {
                return Err(RowError { at, reason: "a length of more than nine bytes" });
            }
            length |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let length = usize::try_from(length).map_err(|_| RowError { at, reason: "a length beyond this machine" })?;
        Ok(length.checked_sub(1))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RowError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(RowError { at: self.at, reason: "the row ends early" })?;
        self.at += length;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<String>, Option<i64>, Option<f64>, Option<i32>, Option<Vec<String>>);

    fn write(rows: &[Row]) -> RowBuffer {
        let mut buffer = RowBuffer::default();
        for (text, long, double, int, texts) in rows {
            let mut row = buffer.row();
            row.text(text.as_deref()).long(*long).double(*double).int(*int).texts(texts.as_ref().map(|t| t.iter()));
        }
        buffer
    }

    fn read(bytes: &[u8]) -> Result<Vec<Row>, RowError> {
        let (mut reader, mut rows) = (RowReader::new(bytes), Vec::new());
        while !reader.is_at_end() {
            rows.push((
                reader.text()?.map(str::to_owned),
                reader.long()?,
                reader.double()?,
                reader.int()?,
                reader.texts()?.map(|texts| texts.into_iter().map(str::to_owned).collect()),
            ));
        }
        Ok(rows)
    }

    proptest! {
        #[test]
        fn rows_read_back_as_written(rows in prop::collection::vec(
            (prop::option::of(".{0,200}"), any::<Option<i64>>(), prop::option::of(-1e9..1e9f64), any::<Option<i32>>(),
             prop::option::of(prop::collection::vec(".{0,8}", 0..4))), 0..8)) {
            let buffer = write(&rows);
            prop_assert_eq!(buffer.rows, rows.len() as u64);
            prop_assert_eq!(read(&buffer.bytes).unwrap(), rows);
        }

        #[test]
        fn damaged_rows_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }
    }
}
