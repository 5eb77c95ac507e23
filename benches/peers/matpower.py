"""The matrices of a MATPOWER file, for peers that take them."""

import re


def read(path):
    """The matrices of a MATPOWER file."""
    import numpy as np

    text = path.read_text()
    case = {"baseMVA": float(re.search(r"mpc\.baseMVA\s*=\s*([\d.]+)", text)[1])}
    for name in ("bus", "gen", "branch"):
        body = re.search(r"mpc\.%s\s*=\s*\[(.*?)\];" % name, text, re.S)[1]
        rows = [line.split("%")[0].strip().rstrip(";") for line in body.splitlines()]
        case[name] = np.array([[float(x) for x in re.split(r"[\s,]+", row)] for row in rows if row])
    return case
