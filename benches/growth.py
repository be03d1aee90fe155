#!/usr/bin/env python3
"""Measures whether time grows faster than operations: time per GMAC of the published shapes, relative to S12.

    python3 benches/growth.py

The script needs nothing but Python. It runs models with random weights on one thread (--threads N for more), by turns and in
processes of their own, and writes a record and a chart to benches/record/. It takes about three minutes on a quiet machine, after
compiling.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from side_by_side import bursts, chart, machine, programs  # noqa: E402

SHAPES = ["S12", "S24", "B24/16", "B24/8"]
BOUND = 1.15


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="[default: 1]")
    parser.add_argument("--rounds", type=int, default=20, help="[default: 20]")
    options = parser.parse_args()
    examples = programs.examples()
    description = machine.describe()
    engines = [bursts.Engine(name, [examples / "burst", "ours", name, str(options.threads)]) for name in SHAPES]
    before = machine.load()
    bursts.interleave(engines, options.rounds, 2, lambda text: print(text, file=sys.stderr, flush=True))
    s12 = engines[0]
    rows = []
    for engine in engines:
        gmac = engine.about["macs"] / 1e9
        rows.append({
            "shape": engine.name,
            "gmac": round(gmac, 3),
            "median_ms": round(engine.median_ms(), 3),
            "ms_per_gmac": round(engine.median_ms() / gmac, 3),
            "relative_to_s12": round(engine.ratio_to(s12) * s12.about["macs"] / engine.about["macs"], 3),
        })
    record = {
        "date": f"{machine.now():%Y-%m-%d %H:%M} UTC",
        "command": " ".join(["python3 benches/growth.py", *sys.argv[1:]]),
        "machine": description,
        "kernels": s12.about["kernels"],
        "threads": options.threads,
        "rounds": options.rounds,
        "load_average": [before, machine.load()],
        "shapes": rows,
    }
    for engine in engines:
        engine.close()
    what = "growth" if options.threads == 1 else f"growth-{options.threads}-threads"
    machine.record_path(what, description, "json").write_text(json.dumps(record, indent=1) + "\n")
    machine.record_path(what, description, "svg").write_text(chart.growth(record, BOUND))
    for row in rows:
        rate, relative = row["ms_per_gmac"], row["relative_to_s12"]
        print(f"{row['shape']:7} {row['median_ms']:10.2f} ms {rate:7.2f} ms/GMAC {relative:6.3f} × S12")
    within = all(row["relative_to_s12"] <= BOUND for row in rows)
    print(f"{'all' if within else 'NOT all'} within {BOUND - 1:.0%} of S12")


if __name__ == "__main__":
    main()
