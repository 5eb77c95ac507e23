"""Flink SQL on workload W1 (T1): a streaming peer, one task slot, mini batches of a second, state on the heap.

`t1`: the feeder comes from a stored join with the table of sensors; windows and latest readings. `t1-nojoin`: the feeder
is a column of the file already and there are windows only: the least that can be asked. Aggregation is GROUP BY, which
drops nothing; Flink's tumbling windows drop what its watermark has passed. Timed runs end in `blackhole`; with a
directory for results the changelog is written as JSON there instead and its final state told from that.
"""

import json
import os

os.environ.setdefault("JAVA_TOOL_OPTIONS", "-Xmx3g")
from pyflink.table import EnvironmentSettings, TableEnvironment
from w1 import START_MS, arguments, write_results

file, placements, results, task = arguments()
settings = EnvironmentSettings.in_streaming_mode()
env = TableEnvironment.create(settings)
for key, value in {
    "parallelism.default": "1",
    "pipeline.object-reuse": "true",
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "1 s",
    "table.exec.mini-batch.size": "10000",
    "taskmanager.memory.managed.size": "256m",
}.items():
    env.get_config().set(key, value)
COLUMNS = "ts_ms BIGINT, `value` INT, sensor INT, arr_ms BIGINT, quality INT, kind INT"
joined = task == "t1"
# The line with the names of the columns cannot be skipped, but it is no reading: its fields become NULL.
options = "'format' = 'csv', 'csv.ignore-parse-errors' = 'true'"


def table(name, columns, path):
    env.execute_sql(f"CREATE TABLE {name} ({columns}) WITH ('connector' = 'filesystem', 'path' = 'file://{path.resolve()}', {options})")


table("records", COLUMNS + ("" if joined else ", feeder INT"), file)
if joined:
    table("sensors", "sensor INT, feeder INT", placements / "sensors.csv")
source = "records JOIN sensors ON records.sensor = sensors.sensor" if joined else "records"
feeder = "sensors.feeder" if joined else "feeder"
env.execute_sql(
    f"""CREATE TEMPORARY VIEW good AS SELECT ts_ms, `value`, records.sensor, arr_ms, {feeder} AS feeder
    FROM {source} WHERE kind = 0 AND quality < 2"""
)
WINDOWS = f"""SELECT (ts_ms - {START_MS}) / 60000 AS `minute`, feeder, SUM(CAST(`value` AS BIGINT)) AS total, COUNT(*) AS readings,
    MAX(`value`) AS greatest FROM good GROUP BY (ts_ms - {START_MS}) / 60000, feeder"""
LATEST = """SELECT sensor, ts_ms, `value`, feeder FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY sensor ORDER BY ts_ms DESC, arr_ms DESC) AS place FROM good) WHERE place = 1"""


def sink(name, columns):
    if results:
        # The one format whose files take a changelog: a withdrawal is a row of type DELETE.
        rolling = "'sink.rolling-policy.file-size' = '100GB', 'sink.rolling-policy.rollover-interval' = '1 d'"
        to = f"'connector' = 'filesystem', 'path' = 'file://{results.resolve()}/{name}.changes', 'format' = 'canal-json', {rolling}"
    else:
        to = "'connector' = 'blackhole'"
    env.execute_sql(f"CREATE TABLE {name} ({columns}) WITH ({to})")


def final(name, key_columns):
    state = {}
    files = sorted((results / f"{name}.changes").iterdir())
    assert len(files) == 1, "changes in several files have no order"
    with open(files[0]) as lines:
        for line in lines:
            change = json.loads(line)
            values = tuple(change["data"][0].values())
            if change["type"] == "INSERT":
                state[values[:key_columns]] = values
            else:
                del state[values[:key_columns]]
    return state.values()


statements = env.create_statement_set()
sink("windows", "`minute` BIGINT, feeder INT, total BIGINT, readings BIGINT, greatest INT")
statements.add_insert_sql(f"INSERT INTO windows {WINDOWS}")
if joined:
    sink("latest", "sensor INT, ts_ms BIGINT, `value` INT, feeder INT")
    statements.add_insert_sql(f"INSERT INTO latest {LATEST}")
statements.execute().wait()
if results:
    write_results(results, final("windows", 2), final("latest", 1) if joined else None)
