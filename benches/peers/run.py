#!/usr/bin/env python3
"""Workload W1 through the floors and through every peer that can be had: equal results first, then rates.

    python3 benches/peers/run.py [--minutes 3] [--peers duckdb,polars,bytewax,flink] [--runs 1]
        [--append-only]

Makes the virtual environments where missing (outside the project: $GRIDFLOW_PEERS, by default ~/.cache/gridflow-peers),
writes the workload with `gridflow workload`, and runs floors and peers on the same CSV file, one thread each. A rate is
million readings per CPU second of the whole process tree, start included; `marginal` is that of a second, larger file
less the first, so that no start is in it. Ends with code 1 when a result differs.
"""

import argparse
import ctypes
import filecmp
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
import w1  # noqa: E402

# Environment, the packages it needs, and the tasks a peer can do.
PEERS = {
    "duckdb": ("common", ["t1", "t2"]),
    "polars": ("common", ["t1", "t2"]),
    "bytewax": ("common", ["t1"]),
    "flink": ("flink", ["t1", "t1-nojoin"]),
}
PACKAGES = {"common": ["bytewax==0.21.1", "duckdb", "polars"], "flink": ["apache-flink==2.3.0"]}
# Rates without the start matter for those who take seconds to start.
MARGINAL = {"bytewax", "flink", "gridflow"}
# Compared on the smaller file: writing their changelog down takes minutes.
SMALL_CHECK = {"flink"}
LIMIT_S = 1200
PR_SET_CHILD_SUBREAPER = 36


def environment(home: Path, name: str) -> Path | None:
    """Python of an environment, made when missing; None, and why, when it cannot be made."""
    python = home / name / "bin" / "python"
    if not python.exists():
        print(f"making {home / name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", home / name], check=True)
        # Flink's dependencies are built from source here and there, and need older build tools.
        steps = [["--upgrade", "pip", "setuptools<80", "wheel"], PACKAGES[name]]
        for packages in steps:
            made = subprocess.run([python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True)
            if made.returncode != 0:
                print(f"skipped: {' '.join(packages)} cannot be installed: {made.stderr.strip()[-400:]}")
                subprocess.run(["rm", "-rf", home / name], check=True)
                return None
    return python


def cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured(command: list) -> tuple[float, str]:
    """CPU seconds of a command with all its descendants, those that outlive their parent too; its output."""
    before = cpu_of_children()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, err = child.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        raise SystemExit(f"{command} took more than {LIMIT_S} s")
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed with {child.returncode}:\n{err[-3000:]}")
    # Orphans are ours by now (see `main`): Flink's Java among them. What does not end by itself is told to.
    deadline = time.monotonic() + 20
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            if time.monotonic() > deadline:
                os.killpg(child.pid, signal.SIGTERM)
            time.sleep(0.05)
    return cpu_of_children() - before, out


def cargo_build() -> tuple[Path, Path]:
    """The release binaries of `gridflow` and of the bench `windows`."""
    subprocess.run(["cargo", "build", "--release", "--bin", "gridflow"], cwd=ROOT, check=True)
    build = ["cargo", "bench", "--bench", "windows", "--no-run", "--message-format=json"]
    lines = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    messages = (json.loads(line) for line in lines if line.startswith("{"))
    bench = [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "windows"]
    return ROOT / "target/release/gridflow", Path(bench[-1])


def with_feeders(csv: Path, out: Path) -> None:
    """The good readings' file with the feeder as a last column, for programs that shall not join."""
    feeders = w1.first_feeders()
    with open(csv) as lines, open(out, "w") as to:
        next(lines)
        for line in lines:
            to.write(f"{line[:-1]},{feeders[int(line.split(',', 3)[2])]}\n")


def differences(found: Path, expected: Path) -> list[str]:
    names = [name for name in ("windows.csv", "latest.csv") if (found / name).exists()]
    assert names, f"{found} holds no results"
    return [name for name in names if not filecmp.cmp(found / name, expected / name, shallow=False)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=int, default=3, help="minutes of the workload; a third of them for marginal rates")
    parser.add_argument("--peers", default=",".join(PEERS), help="which peers, by comma")
    parser.add_argument("--runs", type=int, default=1, help="runs of each; the median counts")
    parser.add_argument("--append-only", action="store_true", help="without moves and repetitions, where T1 and T2 are the same")
    parser.add_argument("--work", type=Path, default=Path("/tmp/gridflow-peers-work"), help="directory for files")
    options = parser.parse_args()
    home = Path(os.environ.get("GRIDFLOW_PEERS", Path.home() / ".cache/gridflow-peers"))
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    gridflow, windows = cargo_build()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    w1.write_placements(work)
    sizes = {"full": options.minutes, "third": max(1, options.minutes // 3)}
    records = {}
    for size, minutes in sizes.items():
        command = [gridflow, "workload", "--minutes", minutes, "--csv", work / f"{size}.csv", "--json"]
        command += ["--append-only"] if options.append_only else []
        records[size] = json.loads(measured(command)[1])["records"]
    for size in sizes:
        for task in ("t1", "t2"):
            to = work / f"floor-{size}-{task}"
            measured([windows, "--once", "dense", "--task", task, "--file", work / f"{size}.csv", "--results", to])

    def rates(command, file_of):
        """End to end, and marginal where there is a smaller file to compare with."""
        cpu = {s: statistics.median(measured(command(file_of(s)))[0] for _ in range(options.runs)) for s in sizes}
        marginal = (records["full"] - records["third"]) / max(1e-9, cpu["full"] - cpu["third"]) * 1e-6
        return records["full"] / cpu["full"] * 1e-6, marginal, cpu["full"]

    rows, wrong = [], []
    floors = {}
    ours = {}
    for task in ("t1", "t2"):
        for name in ("hashed", "hashed-cheap", "dense"):
            command = lambda file: [windows, "--once", name, "--task", task, "--file", file]  # noqa: E731
            rate = rates(command, lambda size: work / f"{size}.csv")
            floors[task, name] = rate[0]
            rows.append((f"floor: {name}", task, *rate, "the judge" if name == "dense" else "in the bench"))
    # The engine: what a log without repetitions and moves asks is T1 too.
    for task in ["t1", "t2"] if options.append_only else ["t2"]:
        command = lambda file: [windows, "--once", "engine", "--task", task, "--file", file]  # noqa: E731
        found = work / f"engine-{task}"
        subprocess.run(["rm", "-rf", found], check=True)
        measured([*command(work / "full.csv"), "--results", found])
        bad = differences(found, work / f"floor-full-{task}")
        wrong += [f"gridflow {task} {name}" for name in bad]
        rate = rates(command, lambda size: work / f"{size}.csv")
        ours[task] = rate
        rows.append(("gridflow", task, *rate, "DIFFERS" if bad else "windows equal"))
    for peer in filter(None, options.peers.split(",")):
        venv, tasks = PEERS[peer]
        python = environment(home, venv)
        if python is None:
            continue
        for task in tasks:
            file_of = lambda size: work / f"{size}.csv"  # noqa: E731
            if task == "t1-nojoin":
                for size in sizes:
                    with_feeders(work / f"{size}.csv", work / f"{size}-feeders.csv")
                file_of = lambda size: work / f"{size}-feeders.csv"  # noqa: E731
            script = HERE / f"{peer}_w1.py"
            found = work / f"{peer}-{task}"
            subprocess.run(["rm", "-rf", found], check=True)
            size = "third" if peer in SMALL_CHECK else "full"
            measured([python, script, file_of(size), work, found, task])
            bad = differences(found, work / f"floor-{size}-{task[:2]}")
            wrong += [f"{peer} {task} {name}" for name in bad]
            rate = rates(lambda file: [python, script, file, work, "-", task], file_of)
            rows.append((peer, task, *rate, "DIFFERS" if bad else "equal"))

    cpu_name = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    print(f"\n{cpu_name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.minutes} minutes of W1 as CSV, {records['full']:,} records")
    print("| program | task | M readings/CPU-s | marginal | CPU s | dense floor is faster by | gridflow is faster by (marginal) | final state |")
    print("|---|---|---|---|---|---|---|---|")
    for name, task, rate, marginal, cpu, state in rows:
        more = f"{marginal:.2f}" if name in MARGINAL else ""
        engine = ours.get(task[:2])
        ratio = f"{engine[0] / rate:.1f}" if engine else ""
        ratio += f" ({engine[1] / marginal:.1f})" if engine and name in MARGINAL else ""
        print(f"| {name} | {task} | {rate:.3f} | {more} | {cpu:.1f} | {floors[task[:2], 'dense'] / rate:.1f} | {ratio} | {state} |")
    for name in wrong:
        print(f"DIFFERS: {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
