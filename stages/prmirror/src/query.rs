//! `sql`, `status` and `reconcile`: questions to the running mirror.

use std::io::{self, Write};

use prmirror_analytics::{Column, Reconciled, Status, Table};
use prmirror_proto::requests::{SUBJECT_RECONCILE, SUBJECT_SQL, SUBJECT_STATUS, SqlRequest};
use serde_json::Value;

use crate::arguments::{EXIT_COMPLETE, EXIT_GAPS, Format, Place};
use crate::ask::{ask, connect};
use crate::summary;

/// Asks for rows and prints them.
pub(crate) async fn sql(
    place: &Place,
    sql: String,
    format: Format,
    rows: usize,
) -> anyhow::Result<u8> {
    let bus = connect(place).await?;
    let question = serde_json::to_vec(&SqlRequest { sql, rows })?;
    let table: Table = ask(&bus, SUBJECT_SQL, question).await?;
    let mut out = io::stdout().lock();
    match format {
        Format::Table => print_table(&mut out, &table)?,
        Format::Json => {
            let objects: Vec<Value> = table
                .rows
                .iter()
                .map(|row| {
                    let names = table.columns.iter().map(|column| column.name.clone());
                    Value::Object(names.zip(row.iter().cloned()).collect())
                })
                .collect();
            serde_json::to_writer_pretty(&mut out, &objects)?;
            writeln!(out)?;
        }
        Format::Csv => print_csv(&mut out, &table)?,
    }
    if table.truncated {
        eprintln!("prmirror: cut off after {rows} rows; --rows asks for more");
    }
    Ok(EXIT_COMPLETE)
}

/// Prints the mirror's state; the exit code says whether it is complete.
pub(crate) async fn status(place: &Place, json: bool) -> anyhow::Result<u8> {
    let bus = connect(place).await?;
    let status: Status = ask(&bus, SUBJECT_STATUS, Vec::new()).await?;
    let view = summary::View::gather(&bus, &place.running()?, status).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&view)?);
    } else {
        print!("{}", view.text());
    }
    Ok(if view.is_complete() {
        EXIT_COMPLETE
    } else {
        EXIT_GAPS
    })
}

/// Reconciles now and prints what was found.
pub(crate) async fn reconcile(place: &Place, json: bool) -> anyhow::Result<u8> {
    let bus = connect(place).await?;
    let reconciled: Reconciled = ask(&bus, SUBJECT_RECONCILE, Vec::new()).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&reconciled)?);
    } else {
        println!(
            "{} findings opened, {} repaired, {} closed, {} repairs asked for, {} open",
            reconciled.opened,
            reconciled.repaired,
            reconciled.closed,
            reconciled.repairs.len(),
            reconciled.open_total
        );
        for (rule, count) in &reconciled.notes_by_rule {
            println!("  worth knowing: {rule} {count}");
        }
        for finding in &reconciled.repairs {
            println!(
                "  {}#{} {}: {} (attempt {})",
                finding.repository, finding.number, finding.rule, finding.reason, finding.attempt
            );
        }
    }
    Ok(if reconciled.open_total == 0 {
        EXIT_COMPLETE
    } else {
        EXIT_GAPS
    })
}

/// A value as it stands in a cell: texts without quotes, nothing for NULL.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}

/// Longest cell of a table for people; CSV and JSON have everything.
const CELL: usize = 80;

fn print_table(out: &mut impl Write, table: &Table) -> io::Result<()> {
    let line = |text: String| -> String {
        let one: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if one.chars().count() > CELL {
            one.chars().take(CELL - 1).chain(['…']).collect()
        } else {
            one
        }
    };
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| row.iter().map(|value| line(cell(value))).collect())
        .collect();
    let widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(column.name.chars().count())
        })
        .collect();
    let numeric: Vec<bool> = table.columns.iter().map(is_numeric).collect();
    let write_row = |out: &mut dyn Write, cells: &[String]| -> io::Result<()> {
        let mut text = String::new();
        for ((cell, width), numeric) in cells.iter().zip(&widths).zip(&numeric) {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            if *numeric {
                text.push_str(&padding);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.push_str(&padding);
            }
            text.push_str("  ");
        }
        writeln!(out, "{}", text.trim_end())
    };
    let names: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    write_row(out, &names)?;
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    write_row(out, &rules)?;
    for row in &rows {
        write_row(out, row)?;
    }
    let plural = if rows.len() == 1 { "" } else { "s" };
    writeln!(out, "({} row{plural})", rows.len())
}

fn is_numeric(column: &Column) -> bool {
    let kind = column.column_type.as_str();
    kind.ends_with("INT")
        || kind.ends_with("INTEGER")
        || matches!(kind, "DOUBLE" | "FLOAT")
        || kind.starts_with("DECIMAL")
}

fn print_csv(out: &mut impl Write, table: &Table) -> io::Result<()> {
    let quoted = |text: String| {
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    let names: Vec<String> = table
        .columns
        .iter()
        .map(|c| quoted(c.name.clone()))
        .collect();
    writeln!(out, "{}", names.join(","))?;
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|value| quoted(cell(value))).collect();
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        let column = |name: &str, kind: &str| Column {
            name: name.to_owned(),
            column_type: kind.to_owned(),
        };
        Table {
            columns: vec![column("number", "BIGINT"), column("title", "VARCHAR")],
            rows: vec![
                vec![json!(1), json!("a \"b\", c")],
                vec![json!(20), Value::Null],
            ],
            truncated: false,
        }
    }

    #[test]
    fn tables_align_numbers_to_the_right() {
        let mut out = Vec::new();
        print_table(&mut out, &table()).unwrap();
        let expected = "number  title\n------  --------\n     1  a \"b\", c\n    20\n(2 rows)\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let mut out = Vec::new();
        print_csv(&mut out, &table()).unwrap();
        let expected = "number,title\n1,\"a \"\"b\"\", c\"\n20,\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
