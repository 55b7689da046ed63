"""Runs the query on standard input in DuckDB or chDB (the argument) and prints each row as a JSON array. Bytes are hexadecimal digits."""
import json
import sys


def plain(value):
    return value.hex() if isinstance(value, (bytes, bytearray)) else str(value)


query = sys.stdin.read()
if sys.argv[1] == "duckdb":
    import duckdb

    connection = duckdb.connect()
    for statement in query.split(";;"):
        result = connection.execute(statement)
    for row in result.fetchall():
        print(json.dumps(row, default=plain))
else:
    import chdb

    sys.stdout.write(str(chdb.query(query, "JSONCompactEachRow")))
