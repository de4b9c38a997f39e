//! Digests of tables: two databases that hold the same rows, in whatever order, have the same.

use serde::{Deserialize, Serialize};

use crate::error::DatabaseError;
use crate::origin::{self, Origin};
use crate::reader::Reader;

/// What a table holds, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDigest {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// 32 hexadecimal digits: the sums of two hashes of every row. They are DuckDB's, and can be
    /// compared between databases that were read by the same release.
    pub digest: String,
    /// Columns that have no part in it, as they tell of the landing and not of what was landed.
    pub without: Vec<String>,
}

impl Reader {
    /// The digests of all tables that a replay makes, in the order of their names. What is the mirror's
    /// own (findings, positions) has none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn digests(&self) -> Result<Vec<TableDigest>, DatabaseError> {
        let tables = self.texts(
            "SELECT table_name FROM duckdb_tables()
             WHERE NOT internal AND NOT temporary AND database_name = current_database()
             ORDER BY table_name",
            "",
        )?;
        let compared = |table: &String| match origin::of(table) {
            Origin::Answers | Origin::Messages => true,
            Origin::Mirror => false,
        };
        // All of one moment.
        let transaction = self.connection.unchecked_transaction()?;
        let digests = tables
            .iter()
            .filter(|table| compared(table))
            .map(|table| self.digest(table))
            .collect();
        transaction.rollback()?;
        digests
    }

    fn digest(&self, table: &str) -> Result<TableDigest, DatabaseError> {
        let without = origin::landing_columns(table);
        // By name: a column that a later version added at the end may stand elsewhere in a new file.
        let columns = self.texts(
            "SELECT format('\"{}\"', column_name) FROM duckdb_columns()
             WHERE table_name = ? AND database_name = current_database() ORDER BY column_name",
            table,
        )?;
        let quoted: Vec<String> = without
            .iter()
            .map(|column| format!("\"{column}\""))
            .collect();
        let columns: Vec<String> = columns
            .into_iter()
            .filter(|c| !quoted.contains(c))
            .collect();
        let columns = columns.join(", ");
        // A sum, unlike an exclusive or, notices a row that is there twice.
        let (rows, digest) = self.connection.query_row(
            &format!(
                "SELECT count(*), printf('%016x%016x',
                     (coalesce(sum(hash({columns})), 0) % 18446744073709551616)::UBIGINT,
                     (coalesce(sum(hash('second', {columns})), 0) % 18446744073709551616)::UBIGINT)
                 FROM \"{table}\""
            ),
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)),
        )?;
        Ok(TableDigest {
            table: table.to_owned(),
            rows: u64::try_from(rows).unwrap_or(0),
            digest,
            without: without.iter().map(|column| (*column).to_owned()).collect(),
        })
    }

    /// The first column, which is text, of a query with one parameter or none.
    fn texts(&self, sql: &str, parameter: &str) -> Result<Vec<String>, DatabaseError> {
        let mut statement = self.connection.prepare(sql)?;
        let parameters: &[&str] = if parameter.is_empty() {
            &[]
        } else {
            &[parameter]
        };
        let rows = statement.query_map(duckdb::params_from_iter(parameters), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Database;

    fn digest_of(rows: &str) -> TableDigest {
        let database = Database::in_memory().unwrap();
        let sql =
            format!("INSERT INTO labels (repository, number, position, name, id, color) {rows}");
        database.connection.execute_batch(&sql).unwrap();
        let digests = database.reader().unwrap().digests().unwrap();
        digests.into_iter().find(|d| d.table == "labels").unwrap()
    }

    #[test]
    fn the_order_of_rows_does_not_count_and_everything_else_does() {
        let rows = [
            "VALUES ('o/r', 1, 0, 'a', 'i', ''), ('o/r', 2, 0, 'b', 'j', '')",
            "VALUES ('o/r', 2, 0, 'b', 'j', ''), ('o/r', 1, 0, 'a', 'i', '')",
            "VALUES ('o/r', 1, 0, 'a', 'i', ''), ('o/r', 2, 0, 'b', 'i', '')",
            "VALUES ('o/r', 1, 0, 'a', 'i', ''), ('o/r', 2, 0, 'b', 'j', ''), ('o/r', 2, 0, 'b', 'j', '')",
            "VALUES ('o/r', 1, 0, 'ab', '', ''), ('o/r', 2, 0, 'b', 'j', '')",
            "SELECT 'o/r', 1, 0, 'a', 'i', '' FROM range(0)",
        ];
        let digests = rows.map(digest_of);
        assert_eq!(digests[0], digests[1]);
        let different: std::collections::BTreeSet<&str> =
            digests.iter().map(|d| d.digest.as_str()).collect();
        assert_eq!(different.len(), 5, "{digests:?}");
        assert_eq!(
            (digests[0].rows, digests[3].rows, digests[5].rows),
            (2, 3, 0)
        );
        assert_eq!(digests[0].digest.len(), 32);
    }

    #[test]
    fn the_time_of_landing_does_not_count() {
        let landed = |at: &str, actor: &str| {
            let database = Database::in_memory().unwrap();
            let sql = format!(
                "INSERT INTO events VALUES ('id', 'o/r', 1, 'closed', '2026-01-01', '2026-01-01',
                     '{at}', '{actor}', 'v', '{{}}', NULL)"
            );
            database.connection.execute_batch(&sql).unwrap();
            let digests = database.reader().unwrap().digests().unwrap();
            digests.into_iter().find(|d| d.table == "events").unwrap()
        };
        assert_eq!(landed("2026-01-01", "a"), landed("2026-02-02", "a"));
        assert_ne!(landed("2026-01-01", "a"), landed("2026-01-01", "b"));
    }
}
