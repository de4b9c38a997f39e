//! What numbers are that no list of pull requests shows.

use std::collections::BTreeMap;

use duckdb::Connection;
use prmirror_proto::NumbersExplained;

use crate::error::DatabaseError;
use crate::rows::{Kind, Rows, Shape};

pub(crate) const SHAPE: Shape = Shape::new(
    "explained_numbers",
    &[
        ("repository", Kind::Text),
        ("kind", Kind::Text),
        ("first_number", Kind::Number),
        ("last_number", Kind::Number),
        ("observed_at", Kind::Time),
    ],
);

const LANDING: Shape = Shape::temporary("landing_numbers", SHAPE.columns);

/// Lands what was said, whatever its order: of the same numbers the newest.
pub(super) fn land(
    connection: &Connection,
    explained: &[&NumbersExplained],
) -> Result<(), DatabaseError> {
    let mut newest = BTreeMap::new();
    for told in explained {
        let issues = told.issues.iter().map(|range| ("issue", range));
        let gone = told.gone.iter().map(|range| ("gone", range));
        for (kind, range) in issues.chain(gone) {
            let key = (told.repository.to_string(), kind, range.first, range.last);
            let known = newest.entry(key).or_insert(told.observed_at);
            *known = (*known).max(told.observed_at);
        }
    }
    if newest.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(&LANDING);
    for ((repository, kind, first, last), observed_at) in newest {
        rows.text(&repository);
        rows.text(kind);
        rows.number(first);
        rows.number(last);
        rows.time(observed_at);
    }
    rows.stage(connection)?;
    connection.execute_batch(
        "DELETE FROM explained_numbers AS known USING landing_numbers AS staged
         WHERE known.repository = staged.repository AND known.kind = staged.kind
           AND known.first_number = staged.first_number AND known.last_number = staged.last_number
           AND known.observed_at <= staged.observed_at;
         INSERT INTO explained_numbers
         SELECT * FROM landing_numbers
         ANTI JOIN explained_numbers USING (repository, kind, first_number, last_number);",
    )?;
    Ok(())
}
