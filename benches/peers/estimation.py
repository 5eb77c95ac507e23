"""State estimation: power-grid-model and `gridflow estimate` on one case and one file of measurements, in one run.

    python3 benches/peers/estimation.py [CASE ...] --gridflow target/release/gridflow [--repeat N]

Measured are the voltage and the injections of each bus, the flows at the `from` side of each branch and at the `to` side of every
other (redundancy about 3.8), at the reference power flow with normal errors of a fixed seed. First the answers are compared,
objective and voltages; times come after. Needs numpy and power-grid-model.
"""

import argparse
import csv
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import power_grid_model as pgm

HERE = pathlib.Path(__file__).resolve().parent
DATA = pathlib.Path(os.environ.get("GRIDFLOW_DATA", HERE.parents[1] / "../shared/data")) / "matpower"


def table(text, name):
    """A table of a MATPOWER file."""
    rows = re.search(r"mpc\.%s\s*=\s*\[(.*?)\];" % name, text, re.S).group(1)
    rows = [re.sub(r"%.*", "", row).replace(";", " ").split() for row in rows.splitlines()]
    return np.array([[float(cell) for cell in row] for row in rows if row])


class Case:
    """A MATPOWER case per unit, with its reference power flow."""

    def __init__(self, name):
        text = (DATA / f"{name}.m").read_text()
        self.base = float(re.search(r"mpc\.baseMVA\s*=\s*([0-9.eE+]+)", text).group(1))
        self.bus, self.branch = table(text, "bus"), table(text, "branch")
        self.number = self.bus[:, 0].astype(int)
        index = {number: place for place, number in enumerate(self.number)}
        self.on = np.flatnonzero(self.branch[:, 10] > 0)
        live = self.branch[self.on]
        self.from_bus = np.array([index[int(bus)] for bus in live[:, 0]])
        self.to_bus = np.array([index[int(bus)] for bus in live[:, 1]])
        self.r, self.x, self.b = live[:, 2], live[:, 3], live[:, 4]
        self.tap = np.where(live[:, 8] == 0, 1.0, live[:, 8])
        self.shift = np.deg2rad(live[:, 9])
        self.kv = self.bus[:, 9]
        self.shunt = (self.bus[:, 4] + 1j * self.bus[:, 5]) / self.base
        self.reference = int(np.flatnonzero(self.bus[:, 1] == 3)[0])
        with open(DATA / f"reference_pf/{name}.csv") as file:
            rows = {int(row["bus"]): row for row in csv.DictReader(file)}
        value = lambda *names: np.array([float(next(rows[bus][name] for name in names if name in rows[bus])) for bus in self.number])
        self.v, self.va = value("vm_pu", "vm"), np.deg2rad(value("va_deg", "va"))

    def powers(self, v, va):
        """Injections without shunts, and flows at both sides."""
        u = v * np.exp(1j * va)
        y = 1 / (self.r + 1j * self.x)
        ratio = self.tap * np.exp(1j * self.shift)
        own = y + 0.5j * self.b
        i_from = own / self.tap**2 * u[self.from_bus] - y / np.conj(ratio) * u[self.to_bus]
        i_to = own * u[self.to_bus] - y / ratio * u[self.from_bus]
        s_from, s_to = u[self.from_bus] * np.conj(i_from), u[self.to_bus] * np.conj(i_to)
        s = np.abs(u) ** 2 * np.conj(self.shunt)
        np.add.at(s, self.from_bus, s_from)
        np.add.at(s, self.to_bus, s_to)
        return s, s_from, s_to


def later(case, scan):
    """The state some seconds on: all angles up to 1 % wider apart, so that all flows are that much larger or smaller, voltages moved by 0.1 %."""
    wider, higher = 1 + 0.01 * np.sin(1.7 * scan), 1 + 0.001 * np.cos(1.1 * scan)
    return case.v * higher, case.va[case.reference] + (case.va - case.va[case.reference]) * wider


def measure(case, seed, state=None):
    """Rows (kind, element, side, value, sigma) as in the file of measurements; powers in MW and Mvar."""
    random = np.random.default_rng(seed)
    v, va = state or (case.v, case.va)
    s, s_from, s_to = case.powers(v, va)
    rows = []

    def add(kind, element, side, value, sigma):
        rows.append((kind, int(element), side, float(value + sigma * random.standard_normal()), float(sigma)))

    power = lambda value, share: max(share * abs(value) * case.base, 1.0)
    for bus in range(len(case.v)):
        add("vm", case.number[bus], "", v[bus], 0.004)
        add("p_inj", case.number[bus], "", s[bus].real * case.base, power(s[bus].real, 0.02))
        add("q_inj", case.number[bus], "", s[bus].imag * case.base, power(s[bus].imag, 0.02))
    for place, branch in enumerate(case.on):
        for side, flow in (("from", s_from[place]), ("to", s_to[place])):
            if side == "from" or place % 3 == 0:
                add("p_flow", branch + 1, side, flow.real * case.base, power(flow.real, 0.01))
                add("q_flow", branch + 1, side, flow.imag * case.base, power(flow.imag, 0.01))
    return rows


def write(rows, path):
    with open(path, "w") as file:
        file.write("id,kind,element,side,value,sigma\n")
        for number, (kind, element, side, value, sigma) in enumerate(rows, 1):
            file.write(f"{number},{kind},{element},{side},{value!r},{sigma!r}\n")


def as_power_grid_model(case, rows):
    """The same network and measurements: each branch a generic branch, each bus an injecting appliance with a power sensor."""
    n, m = len(case.number), len(case.on)
    make = lambda kind, component, count: pgm.initialize_array(kind, component, count)
    node = make("input", "node", n)
    node["id"], node["u_rated"] = np.arange(n), case.kv * 1e3
    generic = make("input", "generic_branch", m)
    generic["id"] = n + np.arange(m)
    generic["from_node"], generic["to_node"] = case.from_bus, case.to_bus
    generic["from_status"] = generic["to_status"] = 1
    # Parameters are in ohms and siemens at the `to` side's voltage; k and theta are those of the ideal transformer.
    z_base = (case.kv[case.to_bus] * 1e3) ** 2 / (case.base * 1e6)
    generic["r1"], generic["x1"] = case.r * z_base, case.x * z_base
    generic["g1"], generic["b1"] = 0.0, case.b / z_base
    generic["k"], generic["theta"], generic["sn"] = case.tap, case.shift, case.base * 1e6
    shunted = np.flatnonzero(case.shunt != 0)
    shunt = make("input", "shunt", len(shunted))
    shunt["id"], shunt["node"], shunt["status"] = n + m + np.arange(len(shunted)), shunted, 1
    y_base = (case.base * 1e6) / (case.kv[shunted] * 1e3) ** 2
    shunt["g1"], shunt["b1"] = case.shunt[shunted].real * y_base, case.shunt[shunted].imag * y_base
    first = n + m + len(shunted)
    loaded = np.array([bus for bus in range(n) if bus != case.reference])
    gen = make("input", "sym_gen", len(loaded))
    gen["id"], gen["node"], gen["status"], gen["type"] = first + np.arange(len(loaded)), loaded, 1, 0
    gen["p_specified"] = gen["q_specified"] = 0.0
    source = make("input", "source", 1)
    source["id"], source["node"], source["status"] = first + len(loaded), case.reference, 1
    source["u_ref"], source["u_ref_angle"] = 1.0, 0.0
    appliance = np.empty(n, dtype=int)
    appliance[loaded], appliance[case.reference] = gen["id"], source["id"][0]
    next_id = first + n
    place_of_bus = {number: place for place, number in enumerate(case.number)}
    place_of_branch = {branch + 1: place for place, branch in enumerate(case.on)}
    volts, powers = [], {}
    for kind, element, side, value, sigma in rows:
        if kind == "vm":
            volts.append((place_of_bus[element], value, sigma))
        else:
            key = (element, side)
            powers.setdefault(key, {})[kind[0]] = (value * 1e6, sigma * 1e6)
    voltage = make("input", "sym_voltage_sensor", len(volts))
    places = np.array([volt[0] for volt in volts])
    voltage["id"], voltage["measured_object"] = next_id + np.arange(len(volts)), places
    voltage["u_measured"] = np.array([volt[1] for volt in volts]) * case.kv[places] * 1e3
    voltage["u_sigma"] = np.array([volt[2] for volt in volts]) * case.kv[places] * 1e3
    power = make("input", "sym_power_sensor", len(powers))
    power["id"] = next_id + len(volts) + np.arange(len(powers))
    terminal = pgm.MeasuredTerminalType
    for place, ((element, side), both) in enumerate(powers.items()):
        row = power[place]
        if side:
            row["measured_object"] = n + place_of_branch[element]
            row["measured_terminal_type"] = terminal.branch_from if side == "from" else terminal.branch_to
        else:
            bus = place_of_bus[element]
            row["measured_object"] = appliance[bus]
            row["measured_terminal_type"] = terminal.source if bus == case.reference else terminal.generator
        (row["p_measured"], row["p_sigma"]), (row["q_measured"], row["q_sigma"]) = both["p"], both["q"]
        row["power_sigma"] = min(row["p_sigma"], row["q_sigma"])
    parts = {
        "node": node, "generic_branch": generic, "shunt": shunt, "sym_gen": gen, "source": source,
        "sym_voltage_sensor": voltage, "sym_power_sensor": power,
    }
    return {name: part for name, part in parts.items() if len(part)}


def objective(case, rows, v, va):
    s, s_from, s_to = case.powers(v, va)
    bus = {number: place for place, number in enumerate(case.number)}
    branch = {number + 1: place for place, number in enumerate(case.on)}
    total = 0.0
    for kind, element, side, value, sigma in rows:
        if kind == "vm":
            found = v[bus[element]]
        else:
            flow = {"": s, "from": s_from, "to": s_to}[side][(branch if side else bus)[element]] * case.base
            found = flow.real if kind[0] == "p" else flow.imag
        total += ((value - found) / sigma) ** 2
    return total


def timed(runs, work):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        answer = work()
        times.append(time.perf_counter() - start)
    return statistics.median(times), answer


def compare(name, gridflow, repeat, seed):
    case = Case(name)
    rows = measure(case, seed)
    print(f"{name}: {len(case.number)} buses, {len(rows)} measurements, redundancy {len(rows) / (2 * len(case.number) - 1):.2f}")
    given = as_power_grid_model(case, rows)
    options = dict(symmetric=True, calculation_method=pgm.CalculationMethod.newton_raphson, error_tolerance=1e-8, threading=-1)
    built, model = timed(1, lambda: pgm.PowerGridModel(given, system_frequency=50.0))
    first, answer = timed(1, lambda: model.calculate_state_estimation(**options))
    kept, answer = timed(repeat, lambda: model.calculate_state_estimation(**options))
    peer_v, peer_va = answer["node"]["u_pu"], answer["node"]["u_angle"]
    peer_va = peer_va - peer_va[case.reference] + case.va[case.reference]
    peer_objective = objective(case, rows, peer_v, peer_va)
    print(f"  power-grid-model {pgm.__version__ if hasattr(pgm, '__version__') else ''}: build {1e3 * built:.1f} ms, first {1e3 * first:.1f} ms, again {1e3 * kept:.1f} ms, J {peer_objective:.6f}")
    worst = lambda v, va: (np.abs(v - case.v).max(), np.rad2deg(np.abs(va - case.va).max()))
    print("    voltage error against the true state: %.2e pu, %.2e degrees" % worst(peer_v, peer_va))
    if not gridflow:
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "measurements.csv"
        write(rows, path)
        command = [gridflow, "estimate", str(DATA / f"{name}.m"), "--measurements", str(path), "--json"]
        run = lambda *more: json.loads(subprocess.run([*command, *more], capture_output=True, text=True, check=False).stdout)
        cold = statistics.median(run()["seconds_solve"] for _ in range(min(repeat, 5)))
        ours = run("--repeat", str(repeat))
        scans = [pathlib.Path(scratch) / f"scan{scan}.csv" for scan in range(1, repeat + 1)]
        for scan, later_path in enumerate(scans, 1):
            write(measure(case, seed + scan, later(case, scan)), later_path)
        tracked = run("--then", *map(str, scans))
        last = measure(case, seed + repeat, later(case, repeat))
        given_last = as_power_grid_model(case, last)
    def state(answer):
        place = {bus["bus"]: bus for bus in answer["buses"]}
        v = np.array([place[number]["vm_pu"] for number in case.number])
        return v, np.deg2rad([place[number]["va_deg"] for number in case.number])

    def check(answer, rows, peer_v, peer_va, what):
        v, va = state(answer)
        own, peer = objective(case, rows, v, va), objective(case, rows, peer_v, peer_va)
        difference, relative = max(np.abs(v - peer_v).max(), np.abs(va - peer_va).max()), abs(own - peer) / peer
        stated = abs(answer["objective"] - own) / own
        print(f"    {what}: difference of the states {difference:.1e}, of J {relative:.1e} relative; J stated and recomputed {stated:.1e}")
        if max(difference, relative, stated) > 1e-6:
            sys.exit("the answers differ: no times are compared")

    print(f"  gridflow: cold {1e3 * cold:.1f} ms, again {1e3 * ours['seconds_solve']:.1f} ms, tracked {1e3 * tracked['seconds_solve']:.1f} ms, J {ours['objective']:.6f}, {ours['iterations']} steps")
    print("    voltage error against the true state: %.2e pu, %.2e degrees" % worst(*state(ours)))
    check(ours, rows, peer_v, peer_va, "first scan")
    model = pgm.PowerGridModel(given_last, system_frequency=50.0)
    answer = model.calculate_state_estimation(**options)
    peer_va = answer["node"]["u_angle"] - answer["node"]["u_angle"][case.reference] + case.va[case.reference]
    check(tracked, last, answer["node"]["u_pu"], peer_va, "last tracked scan")
    print("    steps of the tracked scans:", [scan["iterations"] for scan in tracked["scans"]])
    print(f"    bad data: residuals and search {1e3 * ours['seconds_bad_data']:.1f} ms, {len(ours['bad_data'])} blamed")
    print(f"  ratios to the peer again: cold {cold / kept:.2f}, again {ours['seconds_solve'] / kept:.2f}, tracked {tracked['seconds_solve'] / kept:.3f}; cold / peer built and first {cold / (built + first):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["case1354pegase", "case9241pegase"])
    parser.add_argument("--gridflow")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    for name in arguments.cases:
        compare(name, arguments.gridflow, arguments.repeat, arguments.seed)
