"""Reads what was published as any analyst would: Python's duckdb, while the mirror runs.

    tables.py PUBLISHED_FOLDER

Prints one line of JSON: rows of each table in the read-only copy of the database and in the Parquet
files, {"database": {table: rows}, "parquet": {table: rows}, "titles": [...]}.
"""

import json
import pathlib
import sys

import duckdb

published = pathlib.Path(sys.argv[1])

with duckdb.connect(str(published / "prmirror.duckdb"), read_only=True) as database:
    names = [
        row[0]
        for row in database.sql(
            "SELECT table_name FROM duckdb_tables() WHERE NOT internal "
            "UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
    ]
    count = lambda name: database.sql(f'SELECT count(*) FROM "{name}"').fetchone()[0]
    tables = {name: count(name) for name in names}
    titles = database.sql("SELECT title FROM pull_requests ORDER BY number").fetchall()

parquet = {
    path.stem: duckdb.sql(f"SELECT count(*) FROM read_parquet('{path}')").fetchone()[0]
    for path in sorted((published / "parquet").rglob("*.parquet"))
}

print(json.dumps({"database": tables, "parquet": parquet, "titles": [row[0] for row in titles]}))
