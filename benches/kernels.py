#!/usr/bin/env python3
"""Measures every kernel table by stage and by network, with tract and rten on the same networks, and records the results.

    python3 benches/kernels.py

The script needs nothing but Python. It runs `cargo bench -p resmlp-benches --features peers` and writes what criterion measured,
with the machine's description, to benches/record/, as JSON and as a table. It takes some minutes on a quiet machine, after
compiling.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from side_by_side import machine, programs  # noqa: E402

COMMAND = ["cargo", "bench", "--package", "resmlp-benches", "--features", "peers"]
SETTINGS = ["RESMLP_BENCH_LARGE", "RESMLP_BENCH_INT8_ONNX"]


def main():
    description, before = machine.describe(), machine.load()
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"CRITERION_HOME": home}
        subprocess.run(COMMAND, cwd=programs.ROOT, env=environment, stdout=sys.stderr, check=True)
        rows = sorted(measured(Path(home)), key=lambda row: (row["group"], row["what"], row["ms"]))
    record = {
        "date": f"{machine.now():%Y-%m-%d %H:%M} UTC",
        "command": "python3 benches/kernels.py",
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "machine": description,
        "packages": programs.crates("criterion", "rten", "tract-onnx"),
        "load_average": [before, machine.load()],
        "measured": rows,
    }
    text = table(record)
    machine.record_path("kernels", description, "json").write_text(json.dumps(record, indent=1) + "\n")
    machine.record_path("kernels", description, "md").write_text(text)
    print(text)


def measured(home):
    """Yields criterion's results.

    The benchmark `stages` has groups such as "S12 int8" with entries such as "mlp/x86_64-avx2". The benchmark `forward` has groups
    such as "S12" with entries such as "int8 x86_64-avx2/2", where the last number is that of the threads.
    """
    for path in home.glob("*/*/new/benchmark.json"):
        benchmark = json.loads(path.read_text())
        estimates = json.loads(path.with_name("estimates.json").read_text())
        what, _, detail = benchmark["function_id"].partition("/")
        of_a_stage = not detail.isdigit()
        median = estimates["median"]
        bounds = median["confidence_interval"]
        yield {
            "group": benchmark["group_id"],
            "what": what if of_a_stage else f"forward, {'1 thread' if detail == '1' else detail + ' threads'}",
            "engine": detail if of_a_stage else what,
            "ms": round(median["point_estimate"] / 1e6, 4),
            "bounds_ms": [round(bounds[end] / 1e6, 4) for end in ["lower_bound", "upper_bound"]],
            "gmac_per_s": round(benchmark["throughput"]["Elements"] / median["point_estimate"], 2),
        }


def table(record):
    """Returns the record as Markdown."""
    before, after = record["load_average"]
    how = f"medians, with the bounds that criterion has 95 % confidence in. Load average {before} before, {after} after."
    lines = machine.heading("Kernels and networks", how, record)
    group = None
    for row in record["measured"]:
        if row["group"] != group:
            group = row["group"]
            lines += ["", f"## {group}", "", "| | | ms | from | to | GMAC/s |", "|---|---|---|---|---|---|"]
        low, high = row["bounds_ms"]
        lines.append(f"| {row['what']} | {row['engine']} | {row['ms']:.3f} | {low:.3f} | {high:.3f} | {row['gmac_per_s']:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
