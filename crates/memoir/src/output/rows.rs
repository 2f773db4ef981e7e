//! Rows as commands make them, whatever format they are written in.

use memoir_core::Timestamp;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Timestamp(Timestamp),
    List(Vec<Cell>),
}

impl Cell {
    /// The value as plain text: what a table and CSV show. None is no value.
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Null => return None,
            Self::Text(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Timestamp(time) => time.to_string(),
            // JSON, so that it can be read back whatever the items hold.
            Self::List(_) => super::json::to_string(self),
        })
    }
}

impl Cell {
    /// The text; empty where this is no text.
    pub fn as_text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    pub fn as_time(&self) -> Option<Timestamp> {
        match self {
            Self::Timestamp(time) => Some(*time),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The texts of a list; none where this is no list.
    pub fn as_texts(&self) -> impl Iterator<Item = &str> {
        let items: &[Self] = match self {
            Self::List(items) => items,
            _ => &[],
        };
        items.iter().map(Self::as_text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Cell {
    /// A number past `i64` becomes text: JSON readers would round it.
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Self::Text(number.to_string()), Self::Int)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Timestamp> for Cell {
    fn from(time: Timestamp) -> Self {
        Self::Timestamp(time)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Cell>> From<Vec<T>> for Cell {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

/// A table of values: every row has as many cells as there are columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Rows {
    pub fn new<C: Into<String>>(columns: impl IntoIterator<Item = C>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Appends a row. Cells that are missing are [`Cell::Null`]; those beyond the last column are left out.
    pub fn push(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = cells.into_iter().take(self.columns.len()).collect();
        row.resize(self.columns.len(), Cell::Null);
        self.rows.push(row);
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    pub fn iter(&self) -> impl Iterator<Item = &[Cell]> {
        self.rows.iter().map(Vec::as_slice)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, with their cells by the names of the columns.
    pub fn named(&self) -> impl Iterator<Item = NamedRow<'_>> {
        self.rows.iter().map(|cells| NamedRow { columns: &self.columns, cells })
    }

    /// Those rows that `keep` says yes to.
    pub fn filtered(mut self, keep: impl Fn(NamedRow<'_>) -> bool) -> Self {
        let columns = &self.columns;
        self.rows.retain(|cells| keep(NamedRow { columns, cells }));
        self
    }

    /// The same rows with these columns only, in this order. A column that is not there is empty.
    pub fn select(&self, columns: &[&str]) -> Self {
        let mut selected = Self::new(columns.iter().copied());
        for row in self.named() {
            selected.push(columns.iter().map(|column| row.get(column).clone()));
        }
        selected
    }
}

/// A row whose cells are asked for by the names of their columns.
#[derive(Clone, Copy, Debug)]
pub struct NamedRow<'a> {
    columns: &'a [String],
    cells: &'a [Cell],
}

impl<'a> NamedRow<'a> {
    /// The cell; [`Cell::Null`] where there is no such column.
    pub fn get(&self, column: &str) -> &'a Cell {
        let index = self.columns.iter().position(|name| name == column);
        index.and_then(|index| self.cells.get(index)).unwrap_or(&Cell::Null)
    }

    pub fn text(&self, column: &str) -> &'a str {
        self.get(column).as_text()
    }
}
