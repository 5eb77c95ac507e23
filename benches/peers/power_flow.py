"""AC power flow beside lightsim2grid: the same MATPOWER files, the same loads, voltages compared before times.

python3 benches/peers/power_flow.py

Both start each scene (loads moved by up to 1 %) from the voltages of the base case, with tolerance 1e-8 and their analysis
kept. lightsim2grid (Newton with KLU) is installed into a virtual environment outside the project. The run fails when voltages differ.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from matpower import read

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("GRIDFLOW_DATA", ROOT / "../shared/data")) / "matpower"
HOME = Path(os.environ.get("GRIDFLOW_PEERS", Path.home() / ".cache/gridflow-peers")) / "lightsim2grid"
CASES = ["case1354pegase", "case9241pegase"]
RUNS = 31  # as in benches/power_flow.rs
ALLOWED = 1e-8


def environment():
    """Runs this file again inside the virtual environment."""
    python = HOME / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "lightsim2grid", "numpy", "scipy"], check=True)
    os.execv(python, [str(python), __file__, "--inside", *sys.argv[1:]])


def lightsim2grid(name):
    """Voltages of the last scene, and the median time of a re-solve in ms."""
    import numpy as np
    from lightsim2grid.network import init_from_matpower

    warnings.simplefilter("ignore")  # it tells of shifts without taps, which both treat as MATPOWER does
    case = read(DATA / f"{name}.m")
    bus = case["bus"]
    model = init_from_matpower(case)
    start = bus[:, 7] * np.exp(1j * np.radians(bus[:, 8]))
    base = model.ac_pf(start, 50, ALLOWED)
    loads = [(load.id, load.bus_id, load.target_p_mw, load.target_q_mvar) for load in model.get_loads()]
    times = []
    for scene in range(RUNS):
        changes = []
        for index, at, p, q in loads:
            phase = (int(bus[at, 0]) * 7 + scene * 13) % 201
            factor = 1.0 + 0.01 * (phase - 100.0) / 100.0
            changes.append((index, p * factor, q * factor))
        # Its setters are not timed: they are calls from Python, one a load.
        for index, p, q in changes:
            model.change_p_load(index, p)
            model.change_q_load(index, q)
        begin = time.perf_counter()
        found = model.ac_pf(base.copy(), 50, ALLOWED)
        times.append((time.perf_counter() - begin) * 1e3)
        assert len(found), f"{name}: lightsim2grid does not converge"
    return bus[:, 0].astype(int), found, sorted(times)[RUNS // 2], model.get_solver_type()


def ours(folder):
    """Runs the bench; its voltages stand in `folder` then."""
    subprocess.run(["cargo", "bench", "--bench", "power_flow", "--", "--voltages", folder], cwd=ROOT, check=True)


def main():
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        ours(folder)
        print(f"{'network':<18} {'gridflow ms':>12} {'lightsim2grid ms':>17} {'ratio':>7} {'voltages differ by':>19}")
        failed = False
        for name in CASES:
            numbers, found, theirs, solver = lightsim2grid(name)
            lines = (Path(folder) / f"{name}.csv").read_text().splitlines()
            mine = float(lines[0].split()[-1])
            rows = np.array([[float(x) for x in line.split(",")] for line in lines[2:]])
            order = np.argsort(numbers)
            assert (numbers[order] == rows[:, 0]).all()
            difference = np.abs(rows[:, 1] * np.exp(1j * rows[:, 2]) - found[order]).max()
            failed |= not difference <= ALLOWED
            print(f"{name:<18} {mine:>12.3f} {theirs:>17.3f} {mine / theirs:>7.3f} {difference:>19.1e}  ({solver})")
    if failed:
        sys.exit("the voltages are not the same: the times mean nothing")


if __name__ == "__main__":
    main() if "--inside" in sys.argv else environment()
