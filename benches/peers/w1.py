"""What peers on workload W1 share: where sensors sit at first, and the two result files every program writes.

The placements are computed here anew from the description, so that they judge the Rust ones too.
"""

import csv
import sys
from pathlib import Path

START_MS = 1_767_225_600_000
BUSES = 20_000
FEEDERS = 500
SENSORS = 100_000
MASK = (1 << 64) - 1


def splitmix64(state: int) -> int:
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def first_bus(sensor: int) -> int:
    return splitmix64(0xB05 ^ (sensor << 8)) % BUSES


def feeder_of(bus: int) -> int:
    return splitmix64(0xFEED ^ (bus << 16)) % FEEDERS


def first_feeders() -> list[int]:
    of_bus = [feeder_of(bus) for bus in range(BUSES)]
    return [of_bus[first_bus(sensor)] for sensor in range(SENSORS)]


def write_placements(directory: Path) -> None:
    """Tables for peers that join: sensor -> first feeder, bus -> feeder."""
    for name, first, rows in [
        ("sensors.csv", "sensor,feeder", enumerate(first_feeders())),
        ("buses.csv", "bus,feeder", ((bus, feeder_of(bus)) for bus in range(BUSES))),
    ]:
        with open(directory / name, "w") as out:
            out.write(first + "\n")
            out.writelines(f"{a},{b}\n" for a, b in rows)


def write_results(directory: Path, windows, latest) -> None:
    """Writes the final state: (minute, feeder, sum, count, max) and (sensor, ts_ms, value, feeder), sorted."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, first, rows in [
        ("windows.csv", "minute,feeder,sum,count,max", windows),
        ("latest.csv", "sensor,ts_ms,value,feeder", latest),
    ]:
        if rows is None:
            continue
        with open(directory / name, "w", newline="") as out:
            out.write(first + "\n")
            csv.writer(out, lineterminator="\n").writerows(sorted(rows))


def arguments() -> tuple[Path, Path, Path | None, str]:
    """CSV file, directory of the placements, directory for results or None ("-"), task."""
    _, file, placements, results, task = sys.argv
    return Path(file), Path(placements), None if results == "-" else Path(results), task
