"""Polars on workload W1: a batch peer. Streaming engine over the CSV, one thread, final state only."""

import os

os.environ["POLARS_MAX_THREADS"] = "1"
import polars as pl
from w1 import START_MS, arguments, write_results

file, placements, results, task = arguments()
schema = {"ts_ms": pl.Int64, "value": pl.Int64, "sensor": pl.UInt32, "arr_ms": pl.UInt32, "quality": pl.UInt8, "kind": pl.UInt8}
records = pl.scan_csv(file, schema=schema)
sensors = pl.read_csv(placements / "sensors.csv", schema={"sensor": pl.UInt32, "feeder": pl.UInt32})
if task == "t1":
    good = records.filter((pl.col("kind") == 0) & (pl.col("quality") < 2)).join(sensors.lazy(), on="sensor")
else:
    loaded = records.collect(engine="streaming")
    buses = pl.read_csv(placements / "buses.csv", schema={"bus": pl.Int64, "feeder": pl.UInt32})
    moves = loaded.filter(pl.col("kind") == 1).join(buses, left_on="value", right_on="bus")
    versions = pl.concat(
        [sensors.select("sensor", pl.lit(0, pl.Int64).alias("ts_ms"), "feeder"), moves.select("sensor", "ts_ms", "feeder")]
    ).sort("ts_ms", maintain_order=True)
    good = (
        loaded.filter(pl.col("kind") == 0)
        .unique(["sensor", "ts_ms"], keep="last", maintain_order=True)
        .filter(pl.col("quality") < 2)
        .sort("ts_ms", maintain_order=True)
        .join_asof(versions, on="ts_ms", by="sensor", check_sortedness=False)
        .lazy()
    )
windows = (
    good.group_by(((pl.col("ts_ms") - START_MS) // 60_000).alias("minute"), "feeder")
    .agg(pl.col("value").sum().alias("sum"), pl.len(), pl.col("value").max().alias("max"))
    .select("minute", "feeder", "sum", "len", "max")
)
# Of equal event times the last arrival holds.
place = (pl.col("ts_ms") - START_MS) * (1 << 32) + pl.col("arr_ms").cast(pl.Int64)
latest = good.group_by("sensor").agg(pl.col("ts_ms").max(), pl.col("value", "feeder").get(place.arg_max()))
latest = latest.select("sensor", "ts_ms", "value", "feeder")
windows, latest = pl.collect_all([windows, latest], engine="streaming")
if results:
    write_results(results, windows.rows(), latest.rows())
