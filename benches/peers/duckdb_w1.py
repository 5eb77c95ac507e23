"""DuckDB on workload W1: the third judge, and a batch peer. SQL over the CSV, one thread, final state only."""

import duckdb
from w1 import START_MS, arguments, write_results

file, placements, results, task = arguments()
db = duckdb.connect()
db.execute("SET threads = 1")
columns = "{'ts_ms': 'BIGINT', 'value': 'INTEGER', 'sensor': 'UINTEGER', 'arr_ms': 'UINTEGER', 'quality': 'UTINYINT', 'kind': 'UTINYINT'}"
db.execute(f"CREATE VIEW records AS SELECT * FROM read_csv('{file}', header = true, columns = {columns})")
for table in ("sensors", "buses"):
    db.execute(f"CREATE TABLE {table} AS SELECT * FROM read_csv('{placements}/{table}.csv')")
if task == "t1":
    db.execute(
        """CREATE TABLE good AS SELECT sensor, ts_ms, arr_ms, value, feeder
        FROM records JOIN sensors USING (sensor) WHERE kind = 0 AND quality < 2"""
    )
else:
    # The last arrival of (sensor, event time) stands; its feeder is the one that held at the event time.
    db.execute(
        """CREATE TABLE good AS
        WITH loaded AS MATERIALIZED (SELECT * FROM records),
        versions AS (
            SELECT sensor, 0 AS from_ms, feeder FROM sensors
            UNION ALL
            SELECT sensor, ts_ms, feeder FROM loaded JOIN buses ON bus = value WHERE kind = 1
        ),
        standing AS (
            SELECT sensor, ts_ms, max(arr_ms) AS arr_ms, arg_max(value, arr_ms) AS value, arg_max(quality, arr_ms) AS quality
            FROM loaded WHERE kind = 0 GROUP BY sensor, ts_ms
        )
        SELECT s.sensor, s.ts_ms, s.arr_ms, s.value, v.feeder
        FROM (SELECT * FROM standing WHERE quality < 2) s
        ASOF JOIN versions v ON s.sensor = v.sensor AND s.ts_ms >= v.from_ms"""
    )
windows = db.execute(
    f"""SELECT (ts_ms - {START_MS}) // 60000 AS minute, feeder, CAST(sum(value) AS BIGINT), count(*), max(value)
    FROM good GROUP BY ALL"""
).fetchall()
latest = db.execute(
    """SELECT sensor, max(ts_ms), arg_max(value, (ts_ms, arr_ms)), arg_max(feeder, (ts_ms, arr_ms)) FROM good GROUP BY sensor"""
).fetchall()
if results:
    write_results(results, windows, latest)
