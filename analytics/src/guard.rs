//! Which SQL of other people may run: one query that reads the database and nothing else.
//!
//! DuckDB parses the text, and the tree is looked through: everything that names a table must name one
//! of the database (a name may also be a file, which DuckDB would read), and table functions are those
//! listed here (others read files, or run texts as SQL). A read-only transaction then stands behind it.

use std::collections::BTreeSet;

use duckdb::Connection;
use serde_json::Value as Json;

/// Table functions that read neither files nor memory, run no SQL from a text, and change nothing.
const TABLE_FUNCTIONS: &[&str] = &[
    "duckdb_columns",
    "duckdb_databases",
    "duckdb_functions",
    "duckdb_keywords",
    "duckdb_memory",
    "duckdb_settings",
    "duckdb_tables",
    "duckdb_types",
    "duckdb_views",
    "generate_series",
    "icu_calendar_names",
    "json_each",
    "json_tree",
    "pg_timezone_names",
    "pragma_database_size",
    "pragma_storage_info",
    "pragma_table_info",
    "pragma_version",
    "range",
    "repeat",
    "repeat_row",
    "summary",
    "unnest",
];

/// Functions that have effects, or only waste time.
const REFUSED_FUNCTIONS: &[&str] = &[
    "currval",
    "getenv",
    "nextval",
    "setseed",
    "sleep_ms",
    "write_log",
];

/// Why a query is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// DuckDB does not understand it.
    #[error("{0}")]
    Syntax(String),
    /// It is no query, or several.
    #[error(
        "only one query at a time, and one that reads: SELECT, WITH, FROM, VALUES, PIVOT with IN, \
         DESCRIBE, SHOW, SUMMARIZE or EXPLAIN"
    )]
    NoQuery,
    /// It reads a table that the database does not have.
    #[error("there is no table {0}; SHOW TABLES lists them")]
    Table(String),
    /// It calls a function that does more than read the database.
    #[error("the function {0} may not be used here")]
    Function(String),
    /// It is nested so deeply that it cannot be looked through.
    #[error("nested too deeply")]
    Depth,
}

/// A query that may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// It can stand in parentheses after `FROM`.
    Rows(String),
    /// It cannot, and its answer is small.
    Explain(String),
}

/// Whether the text is a query that may run.
pub(crate) fn check(connection: &Connection, sql: &str) -> Result<Query, Refusal> {
    let (explain, sql) = split_explain(sql);
    let tree = parse(connection, sql)?;
    let mut found = Found::default();
    found.walk(&tree);
    found.check(connection)?;
    // What ends a statement cannot stand in parentheses. A comment may hide it: then DuckDB's own
    // wording of the query is taken.
    let bare = sql.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
    let bare = match parse(connection, &format!("FROM (\n{bare}\n)")) {
        Ok(_) => bare.to_owned(),
        Err(_) => reworded(connection, sql)?,
    };
    Ok(match explain {
        Some(explain) => Query::Explain(format!("{explain} {bare}")),
        None => Query::Rows(bare),
    })
}

/// Splits off `EXPLAIN` or `EXPLAIN ANALYZE`.
fn split_explain(sql: &str) -> (Option<&'static str>, &str) {
    fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
        let text = text.trim_start();
        let rest = text.get(word.len()..)?;
        let head = text.get(..word.len())?;
        (head.eq_ignore_ascii_case(word) && rest.starts_with(|c: char| c.is_whitespace()))
            .then_some(rest)
    }
    match word(sql, "EXPLAIN") {
        None => (None, sql),
        Some(rest) => match word(rest, "ANALYZE") {
            None => (Some("EXPLAIN"), rest),
            Some(rest) => (Some("EXPLAIN ANALYZE"), rest),
        },
    }
}

/// The tree of a text that is one query.
fn parse(connection: &Connection, sql: &str) -> Result<Json, Refusal> {
    let text: String = connection
        .query_row("SELECT json_serialize_sql(?::VARCHAR)", [sql], |row| {
            row.get(0)
        })
        .map_err(|error| Refusal::Syntax(error.to_string()))?;
    let tree: Json = serde_json::from_str(&text).map_err(|_| Refusal::Depth)?;
    if tree["error"] != Json::Bool(false) {
        return Err(match (&tree["error_type"], &tree["error_message"]) {
            (Json::String(kind), Json::String(message)) if kind == "parser" => {
                Refusal::Syntax(message.clone())
            }
            _ => Refusal::NoQuery,
        });
    }
    match tree["statements"].as_array().map(Vec::as_slice) {
        Some([_]) => Ok(tree),
        Some(_) | None => Err(Refusal::NoQuery),
    }
}

fn reworded(connection: &Connection, sql: &str) -> Result<String, Refusal> {
    let sql: String = connection
        .query_row(
            "SELECT json_deserialize_sql(json_serialize_sql(?::VARCHAR))",
            [sql],
            |row| row.get(0),
        )
        .map_err(|error| Refusal::Syntax(error.to_string()))?;
    parse(connection, &format!("FROM (\n{sql}\n)"))?;
    Ok(sql)
}

/// What a query names.
#[derive(Default)]
struct Found {
    /// `(catalog, schema, table)`, lower-case.
    tables: BTreeSet<(String, String, String)>,
    /// Names that the query itself defines, lower-case.
    defined: BTreeSet<String>,
    table_functions: BTreeSet<String>,
    functions: BTreeSet<String>,
}

impl Found {
    fn walk(&mut self, node: &Json) {
        match node {
            Json::Array(nodes) => nodes.iter().for_each(|node| self.walk(node)),
            Json::Object(fields) => {
                let text = |name: &str| {
                    let value = fields.get(name).and_then(Json::as_str);
                    value.unwrap_or_default().to_lowercase()
                };
                match fields.get("type").and_then(Json::as_str) {
                    Some("BASE_TABLE") => {
                        self.tables.insert((
                            text("catalog_name"),
                            text("schema_name"),
                            text("table_name"),
                        ));
                    }
                    Some("TABLE_FUNCTION") => {
                        let name = fields["function"]["function_name"].as_str();
                        self.table_functions
                            .insert(name.unwrap_or_default().to_lowercase());
                    }
                    Some(_) | None => {}
                }
                if fields.get("class").and_then(Json::as_str) == Some("FUNCTION") {
                    self.functions.insert(text("function_name"));
                }
                if let Some(Json::Array(entries)) =
                    fields.get("cte_map").and_then(|map| map.get("map"))
                {
                    let names = entries.iter().filter_map(|entry| entry["key"].as_str());
                    self.defined.extend(names.map(str::to_lowercase));
                }
                fields.values().for_each(|node| self.walk(node));
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }

    fn check(&self, connection: &Connection) -> Result<(), Refusal> {
        for function in &self.table_functions {
            if !TABLE_FUNCTIONS.contains(&function.as_str()) {
                return Err(Refusal::Function(function.clone()));
            }
        }
        for function in &self.functions {
            if REFUSED_FUNCTIONS.contains(&function.as_str()) {
                return Err(Refusal::Function(function.clone()));
            }
        }
        for (catalog, schema, table) in &self.tables {
            // A name that the query defines in one place may be a file's in another; a file's name
            // has an ending.
            let plain = table.chars().all(|c| c.is_alphanumeric() || c == '_');
            let defined = catalog.is_empty() && schema.is_empty() && self.defined.contains(table);
            if plain && (defined || exists(connection, catalog, schema, table)?) {
                continue;
            }
            let name = [catalog, schema, table].map(String::as_str);
            let parts: Vec<&str> = name.into_iter().filter(|part| !part.is_empty()).collect();
            return Err(Refusal::Table(parts.join(".")));
        }
        Ok(())
    }
}

fn exists(
    connection: &Connection,
    catalog: &str,
    schema: &str,
    table: &str,
) -> Result<bool, Refusal> {
    connection
        .query_row(
            "SELECT count(*) > 0 FROM (
                 SELECT database_name, schema_name, table_name FROM duckdb_tables()
                 UNION ALL
                 SELECT database_name, schema_name, view_name FROM duckdb_views()
             )
             WHERE $1 IN ('', lower(database_name)) AND $2 IN ('', lower(schema_name))
               AND lower(table_name) = $3",
            [catalog, schema, table],
            |row| row.get(0),
        )
        .map_err(|error| Refusal::Syntax(error.to_string()))
}
