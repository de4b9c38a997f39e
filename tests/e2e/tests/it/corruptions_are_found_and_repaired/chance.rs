//! Corruptions by chance: of any row of any table that holds what GitHub says, and of any column of it. Which
//! tables and columns there are the database tells, so that one that is added is corrupted, too.

use std::collections::{BTreeMap, BTreeSet};

use duckdb::Connection;

const ALTERED: &str = "rows_altered";
const MISCOUNTED: &str = "rows_miscounted";
const CONTENTS: &str = "pull_request_contents";
const OBSERVATIONS: &str = "pull_request_observations";

/// Tables about pull requests that do not hold what GitHub says of them now: notes, history, and what was
/// seen, found or set aside.
const NOT_GITHUBS: [&str; 8] = [
    "events",
    "findings",
    "inventory",
    OBSERVATIONS,
    "quarantine",
    "verification_differences",
    "verifications",
    "version_log",
];

/// Columns that hold nothing of it either. A row under another number is one that is dropped.
const NOT_A_FIELD: [(&str, &str); 4] = [
    ("", "repository"),
    ("", "number"),
    (CONTENTS, "fetch_version"),
    ("check_runs", "landed_at"),
];

/// Fields that on GitHub change without `updatedAt`: CI, what belongs to accounts, labels, issues and branches,
/// edits of what was said, and what becomes of threads.
const SILENT: [(&str, &[&str]); 10] = [
    (
        "check_runs",
        &[
            "head_ref_oid",
            "id",
            "kind",
            "name",
            "status",
            "conclusion",
            "started_at",
            "completed_at",
            "url",
            "description",
            "superseded_at",
        ],
    ),
    (
        CONTENTS,
        &[
            "author",
            "author_kind",
            "auto_merge_enabled_by",
            "base_ref_oid",
            "check_run_counts",
            "checks_state",
            "checks_total",
            "contexts_digest",
            "head_repository",
            "maintainer_can_modify",
            "merged_by",
            "milestone_title",
            "status_context_counts",
            "url",
        ],
    ),
    ("closing_issues", &["title", "url"]),
    ("comments", &["author", "body", "updated_at"]),
    ("commits", &["author_login"]),
    ("labels", &["color", "name"]),
    ("review_comments", &["author", "body", "updated_at"]),
    (
        "review_threads",
        &["is_outdated", "is_resolved", "line", "resolved_by"],
    ),
    ("reviews", &["author", "body", "updated_at"]),
    (
        "timeline_items",
        &["actor", "label", "milestone", "subject"],
    ),
];

/// What was done to a pull request.
#[derive(Debug)]
pub(super) struct Corruption {
    /// In SQL.
    pub(super) sql: String,
    /// The column, where a field was changed.
    pub(super) field: Option<String>,
    /// Whether GitHub changes that without moving `updatedAt`.
    pub(super) is_silent: bool,
    /// The rules of which one has to speak.
    pub(super) rules: Vec<&'static str>,
    /// Whether it is of the mirror's own, so that GitHub cannot tell: under which version a row is, and how often
    /// one of the history is there.
    pub(super) is_own: bool,
}

impl Corruption {
    /// One that is no change of a field.
    fn of_rows(sql: String, rules: &[&'static str]) -> Self {
        Self {
            sql,
            field: None,
            is_silent: false,
            rules: rules.to_vec(),
            is_own: false,
        }
    }

    fn of_its_own(self) -> Self {
        Self {
            is_own: true,
            ..self
        }
    }
}

/// Numbers by chance, the same for the same seed: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn flip(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }
}

/// A column that holds what GitHub says.
struct Field {
    table: String,
    column: String,
    data_type: String,
    is_nullable: bool,
}

impl Field {
    fn is_silent(&self) -> bool {
        let of_table = |(table, _): &&(&str, &[&str])| *table == self.table;
        let silent = SILENT.iter().find(of_table);
        silent.is_some_and(|(_, columns)| columns.contains(&self.column.as_str()))
    }

    /// The rules that rightly name another value in it.
    fn rules(&self) -> Vec<&'static str> {
        let more: &[&str] = match (self.table.as_str(), self.column.as_str()) {
            (CONTENTS, "version") => &["inconsistent"],
            (CONTENTS, "updated_at") => &["inconsistent", "stale"],
            (CONTENTS, "head_ref_oid") => &["head_differs", "ci_old_head"],
            (CONTENTS, "state") => &["open_but_closed", "closed_but_open"],
            (CONTENTS, "is_draft" | "review_decision" | "label_names" | "changed_files") => {
                &["stale"]
            }
            (CONTENTS, column) if column.starts_with("total_") => &["stale"],
            (
                CONTENTS,
                "checks_state"
                | "checks_total"
                | "check_run_counts"
                | "status_context_counts"
                | "contexts_digest",
            ) => &["ci_differs"],
            ("check_runs", "head_ref_oid") => &["ci_old_head"],
            ("check_runs", "superseded_at") | ("collections", _) => &[MISCOUNTED],
            _ => &[],
        };
        [&[ALTERED][..], more].concat()
    }

    /// GitHub is not asked for it: the mirror notes it with the content.
    fn is_own(&self) -> bool {
        self.table == CONTENTS && ["version", "rows_digest"].contains(&self.column.as_str())
    }

    /// SQL for another value of its type than the one that stands there.
    fn another(&self, random: &mut Random) -> String {
        let column = format!("\"{}\"", self.column);
        if self.is_nullable && random.below(5) == 0 {
            return "NULL".to_owned();
        }
        let some = 1 + random.below(100_000);
        match self.data_type.as_str() {
            "VARCHAR" => format!("coalesce({column}, '') || '{some}'"),
            "BIGINT" => format!("coalesce({column}, 0) + {some}"),
            "BOOLEAN" => format!("NOT coalesce({column}, false)"),
            "TIMESTAMP WITH TIME ZONE" => {
                let sign = if random.flip() { '+' } else { '-' };
                format!(
                    "coalesce({column}, TIMESTAMPTZ '2020-02-02 00:00:00Z') {sign} INTERVAL {some} SECOND"
                )
            }
            "VARCHAR[]" if random.flip() => format!("{column}[2:]"),
            "VARCHAR[]" => format!("list_append(coalesce({column}, []), '{some}')"),
            other => panic!("{}.{} is a {other}", self.table, self.column),
        }
    }
}

/// What is current in a table.
fn current(table: &str) -> &'static str {
    if table == "check_runs" {
        " AND superseded_at IS NULL"
    } else {
        ""
    }
}

/// A mirror's database, and the chance by which it is corrupted.
pub(super) struct Chance<'c> {
    connection: &'c Connection,
    random: Random,
    silent: Vec<Field>,
    loud: Vec<Field>,
    /// Tables that hold what GitHub says, and those of them that hold lists.
    tables: Vec<String>,
    lists: Vec<String>,
    /// Of each of them, the pull requests that have current rows in it.
    numbers: BTreeMap<String, Vec<u64>>,
    victims: BTreeSet<u64>,
}

/// The pull requests that have current rows in a table.
fn numbers_in(connection: &Connection, table: &str) -> Vec<u64> {
    let sql = format!(
        "SELECT DISTINCT number FROM {table} WHERE true{} ORDER BY number",
        current(table)
    );
    let mut statement = connection.prepare(&sql).unwrap();
    let numbers = statement.query_map([], |row| row.get(0)).unwrap();
    numbers.map(Result::unwrap).collect()
}

impl<'c> Chance<'c> {
    pub(super) fn new(connection: &'c Connection, seed: u64) -> Self {
        let mut statement = connection
            .prepare(
                "WITH about_pull_requests AS (
                     SELECT table_name FROM information_schema.columns
                     JOIN information_schema.tables USING (table_catalog, table_schema, table_name)
                     WHERE table_type = 'BASE TABLE' AND table_schema = 'main'
                       AND column_name IN ('repository', 'number')
                     GROUP BY table_name HAVING count(*) = 2
                 )
                 SELECT table_name, column_name, data_type, is_nullable = 'YES'
                 FROM information_schema.columns SEMI JOIN about_pull_requests USING (table_name)
                 WHERE table_schema = 'main' ORDER BY table_name, ordinal_position",
            )
            .unwrap();
        let fields = statement
            .query_map([], |row| {
                Ok(Field {
                    table: row.get(0)?,
                    column: row.get(1)?,
                    data_type: row.get(2)?,
                    is_nullable: row.get(3)?,
                })
            })
            .unwrap();
        let is_githubs = |field: &Field| {
            let is_none = |(table, column): &(&str, &str)| {
                (table.is_empty() || *table == field.table) && *column == field.column
            };
            !NOT_GITHUBS.contains(&field.table.as_str()) && !NOT_A_FIELD.iter().any(is_none)
        };
        let mut fields: Vec<Field> = fields.map(Result::unwrap).filter(is_githubs).collect();
        let numbers: BTreeMap<String, Vec<u64>> = fields
            .iter()
            .map(|field| (field.table.clone(), numbers_in(connection, &field.table)))
            .filter(|(_, numbers)| !numbers.is_empty())
            .collect();
        fields.retain(|field| numbers.contains_key(&field.table));
        let tables: Vec<String> = numbers.keys().cloned().collect();
        let is_list = |table: &&String| *table != CONTENTS && *table != "collections";
        let lists = tables.iter().filter(is_list).cloned().collect();
        let (silent, loud) = fields.into_iter().partition(Field::is_silent);
        Self {
            connection,
            random: Random(seed),
            silent,
            loud,
            tables,
            lists,
            numbers,
            victims: BTreeSet::new(),
        }
    }

    /// How many columns there are to corrupt.
    pub(super) fn fields(&self) -> usize {
        self.silent.len() + self.loud.len()
    }

    /// Corrupts a pull request that is as it was in one way: in a silent field, or in any other way.
    pub(super) fn corrupt(&mut self, is_silent: bool) -> (u64, Corruption) {
        let done = (0..1_000).find_map(|_| {
            let (number, way) = if is_silent || self.random.flip() {
                self.field(is_silent)?
            } else {
                let number = self.victim(CONTENTS)?;
                (number, self.rows(number)?)
            };
            (self.run(&way.sql) > 0).then_some((number, way))
        });
        let (number, way) = done.expect("something is left to corrupt");
        self.victims.insert(number);
        (number, way)
    }

    /// One that has rows in a table and was not corrupted yet.
    fn victim(&mut self, table: &str) -> Option<u64> {
        let numbers = self.numbers.get(table)?.iter().copied();
        let left: Vec<u64> = numbers.filter(|n| !self.victims.contains(n)).collect();
        (!left.is_empty()).then(|| *self.random.pick(&left))
    }

    /// Rows that the statements change.
    fn run(&self, sql: &str) -> usize {
        let statements = sql.split(';');
        statements
            .map(|sql| {
                let changed = self.connection.execute(sql, []);
                changed.unwrap_or_else(|error| panic!("{sql}: {error}"))
            })
            .sum()
    }

    /// The current rows that a table has of a pull request, in order.
    fn rows_of(&self, table: &str, number: u64) -> Vec<i64> {
        let sql = format!(
            "SELECT rowid FROM {table} WHERE number = {number}{} ORDER BY rowid",
            current(table)
        );
        let mut statement = self.connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// SQL for what stands in a column of another row, if something else does.
    fn of_another_row(&self, field: &Field, row: i64, chance: usize) -> Option<String> {
        let (table, column) = (&field.table, &field.column);
        let sql = format!(
            "SELECT rowid FROM {table}
             WHERE \"{column}\" <> (SELECT coalesce(\"{column}\", '') FROM {table} WHERE rowid = {row})
             ORDER BY hash(rowid, {chance}) LIMIT 1"
        );
        let mut statement = self.connection.prepare(&sql).unwrap();
        let mut other = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        let other = other.next()?.unwrap();
        Some(format!(
            "(SELECT \"{column}\" FROM {table} WHERE rowid = {other})"
        ))
    }

    /// One of them.
    fn row_of(&mut self, table: &str, number: u64) -> Option<i64> {
        let rows = self.rows_of(table, number);
        (!rows.is_empty()).then(|| *self.random.pick(&rows))
    }

    /// Another value in a field.
    fn field(&mut self, is_silent: bool) -> Option<(u64, Corruption)> {
        let fields = if is_silent { &self.silent } else { &self.loud };
        let place = self.random.below(fields.len());
        let table = fields[place].table.clone();
        let number = self.victim(&table)?;
        let row = self.row_of(&table, number)?;
        let field = if is_silent {
            &self.silent[place]
        } else {
            &self.loud[place]
        };
        let column = &field.column;
        let mut another = field.another(&mut self.random);
        let chance = self.random.below(100_000);
        // Half of the texts are such as stand elsewhere.
        if field.data_type == "VARCHAR" && self.random.flip() {
            another = self.of_another_row(field, row, chance).unwrap_or(another);
        }
        let way = Corruption {
            sql: format!(
                "UPDATE {table} SET \"{column}\" = {another}
                 WHERE rowid = {row} AND \"{column}\" IS DISTINCT FROM {another}"
            ),
            field: Some(format!("{table}.{column}")),
            is_silent,
            rules: field.rules(),
            is_own: field.is_own(),
        };
        Some((number, way))
    }

    /// What happens to whole rows, or to several at once.
    fn rows(&mut self, number: u64) -> Option<Corruption> {
        match self.random.below(8) {
            0 => self.dropped(number),
            1 => Some(self.removed(number)),
            2 => self.truncated(number),
            3 => self.repeated(number),
            4 => Some(Corruption::of_rows(
                format!("DELETE FROM {OBSERVATIONS} WHERE number = {number}"),
                &["missing", "inconsistent"],
            )),
            5 => {
                let sql = format!(
                    "UPDATE {OBSERVATIONS} SET version = 'another' WHERE number = {number}"
                );
                Some(Corruption::of_rows(sql, &["inconsistent"]).of_its_own())
            }
            6 => Some(Corruption::of_rows(
                format!(
                    "UPDATE check_runs SET head_ref_oid = repeat('e', 40) WHERE number = {number}{}",
                    current("check_runs")
                ),
                &["ci_old_head", ALTERED],
            )),
            _ => {
                let state = self.random.pick(&["OPEN", "CLOSED", "MERGED"]);
                Some(Corruption::of_rows(
                    format!(
                        "UPDATE {CONTENTS} SET state = '{state}' WHERE number = {number} AND state <> '{state}'"
                    ),
                    &["open_but_closed", "closed_but_open", ALTERED],
                ))
            }
        }
    }

    fn dropped(&mut self, number: u64) -> Option<Corruption> {
        let table = self.random.pick(&self.tables).clone();
        let row = self.row_of(&table, number)?;
        let rules: &[&str] = match table.as_str() {
            CONTENTS => &["inconsistent"],
            "collections" => &[MISCOUNTED, ALTERED],
            _ => &[MISCOUNTED],
        };
        let sql = format!("DELETE FROM {table} WHERE rowid = {row}");
        Some(Corruption::of_rows(sql, rules))
    }

    /// The pull request, with its lists or without.
    fn removed(&mut self, number: u64) -> Corruption {
        let mut tables = vec![OBSERVATIONS, CONTENTS];
        if self.random.flip() {
            tables.extend(self.tables.iter().map(String::as_str));
        }
        let deleted = tables
            .iter()
            .map(|table| format!("DELETE FROM {table} WHERE number = {number}"));
        let sql = deleted.collect::<Vec<_>>().join(";");
        Corruption::of_rows(sql, &["missing", "orphaned"])
    }

    /// A list ends too early; perhaps what is noted of it is made to fit.
    fn truncated(&mut self, number: u64) -> Option<Corruption> {
        let table = self.random.pick(&self.lists).clone();
        let rows = self.rows_of(&table, number);
        let kept = self.random.below(rows.len().max(1));
        let first = rows.get(kept)?;
        let mut sql = format!(
            "DELETE FROM {table} WHERE number = {number} AND rowid >= {first}{}",
            current(&table)
        );
        if self.random.flip() {
            let collection = match table.as_str() {
                "timeline_items" => "timeline",
                "check_runs" => "checks",
                other => other,
            };
            sql.push_str(&format!(
                "; UPDATE collections SET held = {kept}, total = {kept} WHERE number = {number} AND collection = '{collection}'"
            ));
        }
        Some(Corruption::of_rows(sql, &[MISCOUNTED, ALTERED]))
    }

    /// A row is there once more, of the history perhaps.
    fn repeated(&mut self, number: u64) -> Option<Corruption> {
        let history = [OBSERVATIONS, "version_log", "events"];
        let tables = self.tables.iter().map(String::as_str).chain(history);
        let tables: Vec<&str> = tables.collect();
        let table = (*self.random.pick(&tables)).to_owned();
        let row = self.row_of(&table, number)?;
        let rules: &[&str] = match table.as_str() {
            CONTENTS => &["duplicated", ALTERED],
            OBSERVATIONS => &["duplicated"],
            "version_log" => &["version_order"],
            "events" => &["events_repeated"],
            _ => &[MISCOUNTED, ALTERED],
        };
        let sql = format!("INSERT INTO {table} SELECT * FROM {table} WHERE rowid = {row}");
        let way = Corruption::of_rows(sql, rules);
        let is_history = history.contains(&table.as_str());
        Some(if is_history { way.of_its_own() } else { way })
    }
}

/// How often each column was corrupted.
pub(super) fn by_field<'c>(
    corruptions: impl Iterator<Item = &'c Corruption>,
) -> BTreeMap<&'c str, usize> {
    let mut fields = BTreeMap::new();
    for field in corruptions.filter_map(|one| one.field.as_deref()) {
        *fields.entry(field).or_default() += 1;
    }
    fields
}
