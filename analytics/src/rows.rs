//! Rows on their way into a table, column by column: an Arrow record batch, which DuckDB appends
//! ten times faster than it runs `INSERT`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Int64Builder, LargeStringBuilder, ListBuilder, RecordBatch,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use duckdb::Connection;
use jiff::Timestamp;

use crate::error::DatabaseError;
use crate::integrity::{Field, RowDigest};

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `VARCHAR`, or `JSON`.
    Text,
    /// `BIGINT`.
    Number,
    /// `BOOLEAN`.
    Flag,
    /// `TIMESTAMP WITH TIME ZONE`.
    Time,
    /// `VARCHAR[]`.
    Texts,
    /// `BIGINT[]`.
    Numbers,
}

impl Kind {
    /// The type in DuckDB's words.
    pub(crate) const fn sql(self) -> &'static str {
        match self {
            Self::Text => "VARCHAR",
            Self::Number => "BIGINT",
            Self::Flag => "BOOLEAN",
            Self::Time => "TIMESTAMP WITH TIME ZONE",
            Self::Texts => "VARCHAR[]",
            Self::Numbers => "BIGINT[]",
        }
    }
}

/// A table's columns, in the table's order. A test compares every shape with the catalog.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [(&'static str, Kind)],
    temporary: bool,
    /// How many of the columns, from the first on, have a part in the digest of the rows.
    pub(crate) digested: usize,
}

impl Shape {
    pub(crate) const fn new(table: &'static str, columns: &'static [(&'static str, Kind)]) -> Self {
        Self {
            table,
            columns,
            temporary: false,
            digested: 0,
        }
    }

    /// The same with a digest over the first so many columns, see [`crate::integrity`].
    pub(crate) const fn digested(self, columns: usize) -> Self {
        Self {
            digested: columns,
            ..self
        }
    }

    /// Of a table that lives with the connection.
    pub(crate) const fn temporary(
        table: &'static str,
        columns: &'static [(&'static str, Kind)],
    ) -> Self {
        Self {
            table,
            columns,
            temporary: true,
            digested: 0,
        }
    }
}

enum Column {
    Text(LargeStringBuilder),
    Number(Int64Builder),
    Flag(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Texts(ListBuilder<LargeStringBuilder>),
    Numbers(ListBuilder<Int64Builder>),
}

/// Rows for one table. Values are pushed in the order of the columns, row after row.
pub(crate) struct Rows {
    shape: &'static Shape,
    columns: Vec<Column>,
    next: usize,
    rows: usize,
    misfit: Option<String>,
    digest: RowDigest,
}

/// A count as DuckDB's `BIGINT`; GitHub's counts are far below its end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time as the database keeps it.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

impl Rows {
    pub(crate) fn new(shape: &'static Shape) -> Self {
        let columns = shape
            .columns
            .iter()
            .map(|(_, kind)| match kind {
                Kind::Text => Column::Text(LargeStringBuilder::new()),
                Kind::Number => Column::Number(Int64Builder::new()),
                Kind::Flag => Column::Flag(BooleanBuilder::new()),
                Kind::Time => Column::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
                Kind::Texts => Column::Texts(ListBuilder::new(LargeStringBuilder::new())),
                Kind::Numbers => Column::Numbers(ListBuilder::new(Int64Builder::new())),
            })
            .collect();
        Self {
            shape,
            columns,
            next: 0,
            rows: 0,
            misfit: None,
            digest: RowDigest::default(),
        }
    }

    /// Complete rows.
    pub(crate) const fn len(&self) -> usize {
        self.rows
    }

    /// The sum of the digests of the rows since it was last taken.
    pub(crate) const fn take_digest(&mut self) -> u128 {
        self.digest.take()
    }

    fn push(&mut self, field: Field<'_>, value: impl FnOnce(&mut Column) -> bool) {
        if self.next < self.shape.digested {
            if self.next == 0 {
                self.digest.begin(self.shape.table);
            }
            self.digest.field(field);
            if self.next + 1 == self.shape.digested {
                self.digest.end();
            }
        }
        if !self.columns.get_mut(self.next).is_some_and(value) && self.misfit.is_none() {
            let column = self.shape.columns.get(self.next).map(|(name, _)| *name);
            self.misfit = Some(format!("column {column:?} has another type"));
        }
        self.next += 1;
        if self.next == self.columns.len() {
            self.next = 0;
            self.rows += 1;
        }
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.maybe_text(Some(value));
    }

    pub(crate) fn maybe_text(&mut self, value: Option<&str>) {
        self.push(Field::Text(value), |column| match column {
            Column::Text(builder) => {
                builder.append_option(value);
                true
            }
            Column::Number(_)
            | Column::Flag(_)
            | Column::Time(_)
            | Column::Texts(_)
            | Column::Numbers(_) => false,
        });
    }

    pub(crate) fn number(&mut self, value: u64) {
        self.signed(Some(signed(value)));
    }

    pub(crate) fn maybe_number(&mut self, value: Option<u64>) {
        self.signed(value.map(signed));
    }

    pub(crate) fn signed(&mut self, value: Option<i64>) {
        self.push(Field::Number(value), |column| match column {
            Column::Number(builder) => {
                builder.append_option(value);
                true
            }
            Column::Text(_)
            | Column::Flag(_)
            | Column::Time(_)
            | Column::Texts(_)
            | Column::Numbers(_) => false,
        });
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.maybe_flag(Some(value));
    }

    pub(crate) fn maybe_flag(&mut self, value: Option<bool>) {
        self.push(Field::Flag(value), |column| match column {
            Column::Flag(builder) => {
                builder.append_option(value);
                true
            }
            Column::Text(_)
            | Column::Number(_)
            | Column::Time(_)
            | Column::Texts(_)
            | Column::Numbers(_) => false,
        });
    }

    pub(crate) fn time(&mut self, value: Timestamp) {
        self.micros(Some(micros(value)));
    }

    pub(crate) fn maybe_time(&mut self, value: Option<Timestamp>) {
        self.micros(value.map(micros));
    }

    /// A time that is already in the database's form.
    pub(crate) fn micros(&mut self, value: Option<i64>) {
        self.push(Field::Number(value), |column| match column {
            Column::Time(builder) => {
                builder.append_option(value);
                true
            }
            Column::Text(_)
            | Column::Number(_)
            | Column::Flag(_)
            | Column::Texts(_)
            | Column::Numbers(_) => false,
        });
    }

    pub(crate) fn maybe_texts<'a>(&mut self, values: Option<impl IntoIterator<Item = &'a str>>) {
        let values: Option<Vec<&str>> = values.map(|values| values.into_iter().collect());
        self.push(Field::Texts(values.as_deref()), |column| match column {
            Column::Texts(builder) => {
                for value in values.iter().flatten() {
                    builder.values().append_value(value);
                }
                builder.append(values.is_some());
                true
            }
            Column::Text(_)
            | Column::Number(_)
            | Column::Flag(_)
            | Column::Time(_)
            | Column::Numbers(_) => false,
        });
    }

    pub(crate) fn numbers(&mut self, values: impl IntoIterator<Item = u64>) {
        self.push(Field::Other, |column| match column {
            Column::Numbers(builder) => {
                for value in values {
                    builder.values().append_value(signed(value));
                }
                builder.append(true);
                true
            }
            Column::Text(_)
            | Column::Number(_)
            | Column::Flag(_)
            | Column::Time(_)
            | Column::Texts(_) => false,
        });
    }

    /// Makes a temporary table of these rows, in place of the one of that name. Deleting the rows of an
    /// earlier use instead would never give their memory back, and scans would slow down with it.
    pub(crate) fn stage(self, connection: &Connection) -> Result<(), DatabaseError> {
        let columns: Vec<String> = self
            .shape
            .columns
            .iter()
            .map(|(name, kind)| format!("{name} {}", kind.sql()))
            .collect();
        connection.execute_batch(&format!(
            "CREATE OR REPLACE TEMPORARY TABLE {} ({})",
            self.shape.table,
            columns.join(", ")
        ))?;
        self.append(connection)
    }

    /// Appends the rows to the table, in the connection's transaction.
    pub(crate) fn append(self, connection: &Connection) -> Result<(), DatabaseError> {
        let table = self.shape.table;
        if self.rows == 0 && self.next == 0 {
            return Ok(());
        }
        if let Some(detail) = self.misfit {
            return Err(DatabaseError::Rows { table, detail });
        }
        let batch = batch(self.shape, self.columns).map_err(|error| DatabaseError::Rows {
            table,
            detail: error.to_string(),
        })?;
        let mut appender = if self.shape.temporary {
            connection.appender_to_catalog_and_db(table, "temp", "main")?
        } else {
            connection.appender(table)?
        };
        appender.append_record_batch(batch)?;
        // Dropped without this, an appender swallows its errors.
        appender.flush()?;
        Ok(())
    }
}

fn batch(shape: &Shape, columns: Vec<Column>) -> Result<RecordBatch, arrow::error::ArrowError> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for ((name, _), column) in shape.columns.iter().zip(columns) {
        let (kind, array): (DataType, ArrayRef) = match column {
            Column::Text(mut builder) => (DataType::LargeUtf8, Arc::new(builder.finish())),
            Column::Number(mut builder) => (DataType::Int64, Arc::new(builder.finish())),
            Column::Flag(mut builder) => (DataType::Boolean, Arc::new(builder.finish())),
            Column::Time(mut builder) => (
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                Arc::new(builder.finish()),
            ),
            Column::Texts(mut builder) => {
                let array = builder.finish();
                (
                    DataType::List(Arc::new(arrow::datatypes::Field::new(
                        "item",
                        DataType::LargeUtf8,
                        true,
                    ))),
                    Arc::new(array),
                )
            }
            Column::Numbers(mut builder) => {
                let array = builder.finish();
                (
                    DataType::List(Arc::new(arrow::datatypes::Field::new(
                        "item",
                        DataType::Int64,
                        true,
                    ))),
                    Arc::new(array),
                )
            }
        };
        fields.push(arrow::datatypes::Field::new(*name, kind, true));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}
