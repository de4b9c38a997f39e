//! The page's text: plain HTML and SVG, no script.

use std::fmt::Write as _;

use prmirror_analytics::Table;
use serde_json::Value;

use super::panels::HOURS;

const STYLE: &str = "\
body{font:14px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1180px;padding:16px;color:#1f2328;background:#fff}\
h1{font-size:20px;margin:0}h2{font-size:15px;margin:26px 0 2px}p{margin:0 0 6px;color:#59636e}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
.wide{overflow-x:auto}\
th,td{padding:3px 12px 3px 0;text-align:left;border-bottom:1px solid #d1d9e0;white-space:nowrap}\
th{font-weight:600;color:#59636e}td.n,th.n{text-align:right}\
.ok{color:#1a7f37}.bad{color:#cf222e}.mark{font-weight:600}\
.charts{display:flex;gap:40px;flex-wrap:wrap}rect.bar{fill:#0969da}rect.all{fill:#d1d9e0}\
@media (prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}p,th{color:#9198a1}\
th,td{border-color:#3d444d}rect.all{fill:#3d444d}rect.bar{fill:#4493f8}.ok{color:#3fb950}.bad{color:#f85149}}";

/// A text as HTML shows it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A page around its parts.
pub(super) fn page(head: &str, parts: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"refresh\" content=\"10\"><title>prmirror</title><style>{STYLE}</style></head>\
         <body><h1>prmirror</h1>{head}{parts}</body></html>\n"
    )
}

/// A part with a heading.
pub(super) fn section(title: &str, about: &str, content: &str) -> String {
    format!(
        "<section><h2>{}</h2><p>{}</p><div class=\"wide\">{content}</div></section>\n",
        escaped(title),
        escaped(about)
    )
}

/// A value in a cell. Times to the second; their date alone tells them from today's too.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => match text.split_once('.') {
            Some((time, fraction)) if time.contains('T') && fraction.ends_with('Z') => {
                format!("{}Z", escaped(time))
            }
            _ => escaped(text),
        },
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() && !number.is_u64() => {
                let text = format!("{float:.3}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => number.to_string(),
        },
        other @ (Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            escaped(&other.to_string())
        }
    }
}

/// A share as a bar with its number.
fn bar(percent: f64) -> String {
    let width = percent.clamp(0.0, 100.0);
    format!(
        "<svg width=\"80\" height=\"10\" role=\"img\" aria-label=\"{percent} %\">\
         <rect class=\"all\" width=\"80\" height=\"10\" rx=\"2\"/>\
         <rect class=\"bar\" width=\"{:.1}\" height=\"10\" rx=\"2\"/></svg> {percent} %",
        width * 0.8
    )
}

/// An answer as a table.
pub(super) fn table(answer: &Table) -> String {
    if answer.rows.is_empty() {
        return "<p>nothing</p>".to_owned();
    }
    let numeric = |at: usize| {
        let mut cells = answer.rows.iter().filter_map(|row| row.get(at));
        cells.all(|value| value.is_number() || value.is_null())
    };
    let numeric: Vec<bool> = (0..answer.columns.len()).map(numeric).collect();
    let class = |at: usize| {
        if numeric.get(at) == Some(&true) {
            " class=\"n\""
        } else {
            ""
        }
    };
    let mut text = String::from("<table><tr>");
    for (at, column) in answer.columns.iter().enumerate() {
        let name = escaped(&column.name.replace('_', " "));
        // Writing to a text never fails.
        let _ = write!(text, "<th{}>{name}</th>", class(at));
    }
    text.push_str("</tr>");
    for row in &answer.rows {
        text.push_str("<tr>");
        for (at, (value, column)) in row.iter().zip(&answer.columns).enumerate() {
            let percent = value.as_f64().filter(|_| column.name.ends_with("percent"));
            let _ = match percent {
                Some(percent) => write!(text, "<td>{}</td>", bar(percent)),
                None => write!(text, "<td{}>{}</td>", class(at), cell(value)),
            };
        }
        text.push_str("</tr>");
    }
    text.push_str("</table>");
    text
}

/// Bars by hour, the newest at the right: each is how many hours ago, and a number.
pub(super) fn chart(answer: &Table) -> String {
    let points: Vec<(u64, u64)> = answer
        .rows
        .iter()
        .filter_map(|row| Some((row.first()?.as_u64()?, row.get(1)?.as_u64()?)))
        .filter(|(hours, _)| *hours < HOURS)
        .collect();
    let most = points.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let (width, height) = (HOURS * 9, 70);
    let mut text = format!(
        "<svg width=\"{width}\" height=\"{}\" role=\"img\">",
        height + 14
    );
    for (hours, n) in points {
        let x = (HOURS - 1 - hours) * 9;
        let tall = (n as f64 * height as f64 / most.max(1) as f64).max(1.0);
        let y = height as f64 - tall;
        // Writing to a text never fails.
        let _ = write!(
            text,
            "<rect class=\"bar\" x=\"{x}\" y=\"{y:.1}\" width=\"7\" height=\"{tall:.1}\">\
             <title>{n}, {hours} h ago</title></rect>"
        );
    }
    let _ = write!(
        text,
        "<rect class=\"all\" y=\"{height}\" width=\"{width}\" height=\"1\"/>\
         <text y=\"{}\" font-size=\"11\" fill=\"currentColor\">{HOURS} h ago, most {most}</text>\
         <text x=\"{width}\" y=\"{}\" font-size=\"11\" text-anchor=\"end\" fill=\"currentColor\">now</text></svg>",
        height + 12,
        height + 12
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use prmirror_analytics::Column;
    use serde_json::json;

    fn answer(names: &[&str], rows: Vec<Vec<Value>>) -> Table {
        let columns = names.iter().map(|name| Column {
            name: (*name).to_owned(),
            column_type: "VARCHAR".to_owned(),
        });
        Table {
            columns: columns.collect(),
            rows,
            truncated: false,
        }
    }

    #[test]
    fn what_others_wrote_is_shown_and_not_obeyed() {
        let shown = table(&answer(
            &["reason", "n", "percent", "at"],
            vec![vec![
                json!("<script>alert(\"x\")</script> & 'y'"),
                json!(7),
                json!(250.0),
                json!("2026-01-02T03:04:05.678901Z"),
            ]],
        ));
        assert!(!shown.contains("<script"), "{shown}");
        assert!(
            shown.contains("&lt;script&gt;alert(&quot;x&quot;)"),
            "{shown}"
        );
        assert!(shown.contains("<td class=\"n\">7</td>"), "{shown}");
        assert!(
            shown.contains("width=\"80.0\""),
            "a bar ends at its end: {shown}"
        );
        assert!(shown.contains("<td>2026-01-02T03:04:05Z</td>"), "{shown}");
        assert_eq!(table(&answer(&["x"], Vec::new())), "<p>nothing</p>");
    }

    #[test]
    fn the_newest_hour_is_at_the_right() {
        let rows = vec![
            vec![json!(0), json!(5)],
            vec![json!(47), json!(10)],
            vec![json!(99), json!(1)],
        ];
        let drawn = chart(&answer(&["hours_ago", "n"], rows));
        assert_eq!(drawn.matches("<rect class=\"bar\"").count(), 2, "{drawn}");
        assert!(drawn.contains("x=\"423\" y=\"35.0\""), "{drawn}");
        assert!(drawn.contains("x=\"0\" y=\"0.0\""), "{drawn}");
        assert!(chart(&answer(&[], Vec::new())).contains("most 0"));
    }
}
