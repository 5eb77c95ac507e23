"""Contingency analysis beside lightsim2grid: the same MATPOWER files, the same outages, loadings compared before times.

cargo build --release && python3 benches/peers/contingency.py

Both solve single outages of branches on one core, lightsim2grid with KLU. Compared is the greatest loading of each outage that parts
nothing: lightsim2grid leaves the others out. Its voltages are turned into loadings here, outside of its time, which is that of its
`compute` alone; ours is `seconds_solve`, preparation, loadings, ranking and parted grids included. lightsim2grid is installed
into a virtual environment outside the project. The run fails when loadings differ.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from matpower import read

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("GRIDFLOW_DATA", ROOT / "../shared/data")) / "matpower"
HOME = Path(os.environ.get("GRIDFLOW_PEERS", Path.home() / ".cache/gridflow-peers")) / "lightsim2grid"
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/gridflow"
# Case, model, one outage in so many.
RUNS = [
    ("case1354pegase", "dc", 1),
    ("case9241pegase", "dc", 8),
    ("pglib_opf_case9241_pegase", "dc", 8),
    ("case1354pegase", "ac", 1),
    ("case9241pegase", "ac", 40),
]
ALLOWED = {"dc": 1e-8, "ac": 1e-5}


def environment():
    """Runs this file again inside the virtual environment."""
    python = HOME / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "lightsim2grid", "numpy", "scipy"], check=True)
    os.execv(python, [str(python), "-W", "ignore", __file__, "--inside"])


def peer(case, model, rows):
    """Seconds of lightsim2grid's sweep over these rows of the branch table, and the voltages after each outage."""
    import numpy as np
    from lightsim2grid.contingencyAnalysis import AlgorithmType, ContingencyAnalysisCPP
    from lightsim2grid.network import init_from_matpower

    grid, bus, branch = init_from_matpower(case), case["bus"], case["branch"]
    start = bus[:, 7] * np.exp(1j * np.radians(bus[:, 8]))
    base = grid.ac_pf(start, 50, 1e-8) if model == "ac" else grid.dc_pf(start, 1, 1e-8)
    # Its lines come first, then what has a tap or a shift.
    is_transformer = (branch[:, 8] != 0) | (branch[:, 9] != 0)
    number = np.where(is_transformer, (~is_transformer).sum() + np.cumsum(is_transformer) - 1, np.cumsum(~is_transformer) - 1)
    sweep = ContingencyAnalysisCPP(grid)
    if model == "dc":
        sweep.change_algorithm(AlgorithmType.DC_KLU)
    wanted = [int(number[row]) for row in rows]
    sweep.add_multiple_n1(wanted)
    begin = time.perf_counter()
    sweep.compute(base, 50, 1e-8)
    seconds = time.perf_counter() - begin
    order = [int(np.asarray(ids).ravel()[0]) for ids in sweep.my_defaults()]
    place = {one: index for index, one in enumerate(order)}
    voltages = sweep.get_voltages()
    return seconds, [voltages[place[one]] for one in wanted]


def loading(case, model, row, voltage):
    """Greatest loading in percent after the outage of a row of the branch table."""
    import numpy as np

    bus, branch = case["bus"], case["branch"]
    index = {int(number): place for place, number in enumerate(bus[:, 0])}
    if "ends" not in case:
        case["ends"] = tuple(np.array([index[int(number)] for number in branch[:, side]]) for side in (0, 1))
    start, end = case["ends"]
    tap = np.where(branch[:, 8] == 0, 1.0, branch[:, 8])
    shift = np.radians(branch[:, 9])
    if model == "dc":
        angle = np.angle(voltage)
        turn = np.angle(np.exp(1j * (angle[start] - angle[end])))
        power = np.abs((turn - shift) / (branch[:, 3] * tap))
    else:
        y, b = 1 / (branch[:, 2] + 1j * branch[:, 3]), 0.5j * branch[:, 4]
        ratio = tap * np.exp(1j * shift)
        v, w = voltage[start], voltage[end]
        one = v * np.conj((y + b) / tap**2 * v - y / np.conj(ratio) * w)
        other = w * np.conj((y + b) * w - y / ratio * v)
        power = np.maximum(np.abs(one), np.abs(other))
    rated = (branch[:, 5] > 0) & (branch[:, 10] > 0)
    rated[row] = False
    return 100 * np.max(power[rated] * case["baseMVA"] / branch[rated, 5])


def ours(name, model, rows):
    """The answer of `gridflow contingency` for these outages."""
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as outages:
        outages.write("".join(f"{row + 1}\n" for row in rows))
        outages.flush()
        command = [BINARY, "contingency", DATA / f"{name}.m", f"--{model}", "--n2", outages.name, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 4):
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def main():
    import numpy as np

    for name, model, step in RUNS:
        case = read(DATA / f"{name}.m")
        rows = [row for row in range(0, len(case["branch"]), step) if case["branch"][row, 10] > 0]
        answer = ours(name, model, rows)
        seconds, voltages = peer(case, model, rows)
        compared, worst = 0, 0.0
        for row, voltage, outage in zip(rows, voltages, answer["outages"]):
            if outage["status"] in ("islanded", "unsolved") or not np.abs(voltage).max() > 0:
                continue
            compared += 1
            found = loading(case, model, row, voltage)
            worst = max(worst, abs(found - outage["max_loading_percent"]) / max(100.0, found))
        assert compared > len(rows) / 2 and worst < ALLOWED[model], f"{name} {model}: loadings differ by {worst} ({compared} compared)"
        mine, its = (1e6 * value / len(rows) for value in (answer["seconds_solve"], seconds))
        unsolved = answer["counts"]["unsolved"]
        print(f"{name} {model}: {len(rows)} outages, gridflow {mine:.1f} us each ({unsolved} unsolved), lightsim2grid {its:.1f} us, "
              f"ratio {mine / its:.3f}; {compared} loadings compared, largest difference {worst:.1e}", flush=True)


if __name__ == "__main__":
    main() if "--inside" in sys.argv else environment()
