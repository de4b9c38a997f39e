//! Whether the rows that are here are the rows that were landed.
//!
//! Every row that is landed of a pull request has a digest: half of the MD5 of its fields, written one
//! after the other. Their sum is noted with the content. DuckDB computes the same from the tables, so
//! that any change to a row, by whatever hand or fault, is found without asking GitHub. MD5 is what both
//! sides have and what is cheap; nobody is kept out by it who means harm.

use std::io::Write as _;

use md5::{Digest as _, Md5};

use crate::land::{checks, content};
use crate::rows::{Kind, Shape};

/// Between two fields, in the place of one that is null, and between the texts of a list: control
/// characters that texts hardly have.
const BETWEEN: u8 = 31;
const NULL: u8 = 30;
const ITEM: u8 = 29;

/// Sums are kept modulo the largest `BIGINT`.
const MODULUS: u128 = i64::MAX as u128;

/// A field on its way into a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    Text(Option<&'a str>),
    /// A number, or a time in microseconds.
    Number(Option<i64>),
    Flag(Option<bool>),
    Texts(Option<&'a [&'a str]>),
    /// Of a kind that no digested table has.
    Other,
}

/// Digests of rows, summed up.
#[derive(Debug, Default)]
pub(crate) struct RowDigest {
    row: Vec<u8>,
    sum: u128,
}

impl RowDigest {
    pub(crate) fn begin(&mut self, table: &str) {
        self.row.clear();
        self.row.extend_from_slice(table.as_bytes());
    }

    pub(crate) fn field(&mut self, field: Field<'_>) {
        let row = &mut self.row;
        row.push(BETWEEN);
        match field {
            Field::Text(Some(text)) => row.extend_from_slice(text.as_bytes()),
            Field::Number(Some(number)) => {
                // Writing to memory does not fail.
                let _ = write!(row, "{number}");
            }
            Field::Flag(Some(flag)) => {
                row.extend_from_slice(if flag { b"true" } else { b"false" });
            }
            Field::Texts(Some(texts)) => {
                for (place, text) in texts.iter().enumerate() {
                    if place > 0 {
                        row.push(ITEM);
                    }
                    row.extend_from_slice(text.as_bytes());
                }
            }
            Field::Text(None)
            | Field::Number(None)
            | Field::Flag(None)
            | Field::Texts(None)
            | Field::Other => row.push(NULL),
        }
    }

    pub(crate) fn end(&mut self) {
        let digest: [u8; 16] = Md5::digest(&self.row).into();
        let [.., a, b, c, d, e, f, g, h] = digest;
        self.sum += u128::from(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }

    pub(crate) const fn take(&mut self) -> u128 {
        let sum = self.sum;
        self.sum = 0;
        sum
    }
}

/// A sum of digests as it is noted.
pub(crate) fn noted(sum: u128) -> i64 {
    i64::try_from(sum % MODULUS).unwrap_or(i64::MAX)
}

/// The expression that computes the digest of a row of this shape.
fn expression(shape: &Shape) -> String {
    let fields: Vec<String> = shape
        .columns
        .iter()
        .take(shape.digested)
        .map(|(name, kind)| {
            let text = match kind {
                Kind::Text => format!("\"{name}\""),
                Kind::Number | Kind::Flag | Kind::Numbers => format!("\"{name}\"::VARCHAR"),
                Kind::Time => format!("epoch_us(\"{name}\")::VARCHAR"),
                Kind::Texts => format!("array_to_string(\"{name}\", chr({ITEM}))"),
            };
            format!("coalesce({text}, chr({NULL}))")
        })
        .collect();
    format!(
        "md5_number_lower(concat_ws(chr({BETWEEN}), '{}', {}))",
        shape.table,
        fields.join(", ")
    )
}

/// The table of a list's rows, what is current in it, and what `collections` calls the list.
const LISTS: &[(&Shape, &str, &str)] = &[
    (&content::LABELS, "true", "labels"),
    (&content::ASSIGNEES, "true", "assignees"),
    (&content::REVIEW_REQUESTS, "true", "review_requests"),
    (&content::FILES, "true", "files"),
    (&content::COMMITS, "true", "commits"),
    (&content::REVIEWS, "true", "reviews"),
    (&content::REVIEW_THREADS, "true", "review_threads"),
    (&content::REVIEW_COMMENTS, "true", "review_comments"),
    (&content::COMMENTS, "true", "comments"),
    (&content::TIMELINE_ITEMS, "true", "timeline"),
    (&content::CLOSING_ISSUES, "true", "closing_issues"),
    (&checks::SHAPE, "superseded_at IS NULL", "checks"),
];

/// The temporary views that rules of rotation read, over the temporary table `checked`: the pull
/// requests whose turn it is. Who fills tables without landing can note the digests by the same views.
#[must_use]
pub fn views() -> String {
    let digests: Vec<String> = [
        (&content::CONTENTS, "true"),
        (&content::COLLECTIONS, "true"),
    ]
    .into_iter()
    .chain(LISTS.iter().map(|(shape, current, _)| (*shape, *current)))
    .map(|(shape, current)| {
        format!(
            "SELECT repository, number, {} AS digest
             FROM {} SEMI JOIN checked USING (repository, number) WHERE {current}",
            expression(shape),
            shape.table
        )
    })
    .collect();
    let counted = |among: &str| -> String {
        LISTS
            .iter()
            .map(|(shape, current, collection)| {
                format!(
                    "SELECT repository, number, '{collection}' AS collection, count(*) AS rows
                     FROM {} {among} {current} GROUP BY repository, number",
                    shape.table
                )
            })
            .collect::<Vec<_>>()
            .join("\nUNION ALL\n")
    };
    format!(
        "CREATE OR REPLACE TEMPORARY VIEW row_digests AS\n{};
         CREATE OR REPLACE TEMPORARY VIEW collection_rows AS\n{};
         CREATE OR REPLACE TEMPORARY VIEW collection_rows_in_range AS\n{};",
        digests.join("\nUNION ALL\n"),
        counted("SEMI JOIN checked USING (repository, number) WHERE"),
        counted("WHERE number BETWEEN getvariable('from_number') AND getvariable('to_number') AND")
    )
}
