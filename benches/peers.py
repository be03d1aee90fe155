#!/usr/bin/env python3
"""Measures this project beside LiteRT, ONNX Runtime, OpenVINO, rten and tract: one network, one run, by turns.

    python3 -m venv target/python; . target/python/bin/activate              (Debian's package: python3-venv)
    pip install numpy onnx pillow onnxruntime openvino nncf                  (an engine that is missing is left out, with a note)
    pip install ai-edge-litert torch litert-torch litert-quantizer           (LiteRT and its XNNPACK)
    python3 benches/peers.py

The script builds this project, makes a network of the S12 shape with random weights (or takes yours: --network CHECKPOINT) and
quantises it for every engine. Each engine runs in a process of its own and takes its turn of some passes in every round. The
script writes a record with the machine's description to benches/record/, as JSON and as a table, and prints the table. It takes
about ten minutes on a quiet machine, most of them for compiling and quantising; the networks are kept in target/peers for the
next run.
"""

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from side_by_side import bursts, machine, programs  # noqa: E402

HERE = Path(__file__).resolve().parent
ENGINE = HERE / "side_by_side" / "engine.py"
WITHOUT_AMX = HERE / "side_by_side" / "without_amx.py"
CALIBRATION = HERE.parent / "demo" / "calibration"
PACKAGES = ["ai-edge-litert", "litert-torch", "litert-quantizer", "onnxruntime", "openvino", "nncf", "onnx", "numpy"]
OURS, OURS_F16 = "resmlp int8", "resmlp f16"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="S12", help="S12, S24, … or a checkpoint [default: S12]")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="[default: 1 2]")
    parser.add_argument("--rounds", type=int, default=20, help="[default: 20]")
    parser.add_argument("--burst", type=int, default=4, help="passes of an engine in a round [default: 4]")
    parser.add_argument("--without-amx", action="store_true", help="forbid AMX tiles to all engines, which shows what VNNI does (Linux)")
    parser.add_argument("--only", nargs="+", default=[], help="only engines whose name contains one of these words")
    return parser.parse_args()


def log(text):
    print(text, file=sys.stderr, flush=True)


def slug(network):
    """Returns a name for files: the name of a shape, or of a checkpoint with a few digits of its checksum."""
    path = Path(network)
    if not path.is_file():
        return network.replace("/", "-")
    return f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def prepare(network, examples, resmlp, saturates):
    """Makes every engine's model of the network. Returns names and the commands that run them, without the number of threads."""
    folder = programs.cargo_target() / "peers" / slug(network)
    folder.mkdir(parents=True, exist_ok=True)
    trained, ours, ours_f16 = folder / "trained.onnx", folder / "ours.rmlp", folder / "ours-f16.rmlp"
    run = lambda *command: subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)  # noqa: E731
    make(trained, lambda path: run(examples / "export", network, path))
    convert = [resmlp, "convert", trained, "--crop", "1.0"]
    run(*convert, "--calibrate", CALIBRATION, "-o", ours)  # made anew each time, because the converter may have changed
    run(*convert, "--precision", "f16", "-o", ours_f16)
    burst, python = examples / "burst", [sys.executable, ENGINE]
    commands = {
        OURS: [burst, "ours", ours],
        OURS_F16: [burst, "ours", ours_f16],
        "rten f32": [burst, "rten", trained],
        "tract f32": [burst, "tract", trained],
    }
    for name, engine, path in quantise(folder, trained, saturates):
        commands[name] = ([burst] if engine == "rten" else python) + [engine, path]
    return commands


def make(path, maker):
    """Makes a file unless it exists. A file that could not be finished keeps another name."""
    if not path.exists():
        log(f"making {path.name}")
        unfinished = path.with_name("unfinished-" + path.name)
        maker(unfinished)
        unfinished.rename(path)


def quantise(folder, trained, saturates):
    """Yields the name, the engine and the file of every model that the other engines can run on this machine."""
    from side_by_side import folded, quantised

    network = folded.read(trained)
    plain = folder / "folded.onnx"
    make(plain, lambda path: folded.write(network, path))
    inputs = quantised.pictures(CALIBRATION, network.image, 32)
    dynamic, static = folder / "dynamic.onnx", folder / "static.onnx"
    float_tflite, tflite, xml = folder / "float.tflite", folder / "int8.tflite", folder / "nncf.xml"
    steps = [
        ("onnxruntime f32", "onnxruntime", plain, None),
        ("onnxruntime int8 dynamic", "onnxruntime", dynamic, lambda p: quantised.onnxruntime_dynamic(plain, p, saturates)),
        ("onnxruntime int8 static", "onnxruntime", static, lambda p: quantised.onnxruntime_static(plain, inputs, p, saturates)),
        ("rten int8", "rten", dynamic, None),
        ("openvino f32", "openvino", plain, None),
        ("openvino int8", "openvino", xml, lambda p: quantised.openvino(plain, inputs, p)),
        ("litert f32", "litert", float_tflite, lambda p: quantised.litert_float(network, p)),
        ("litert int8", "litert", tflite, lambda p: quantised.litert(float_tflite, inputs, p)),
    ]
    for name, engine, path, maker in steps:
        try:
            if maker and path.suffix == ".xml":
                path.exists() or maker(path)  # the model is two files, which name each other, so it cannot be renamed
            elif maker:
                make(path, maker)
        except Exception as error:  # the engine is not installed, or refuses the network
            log(f"{name} is left out: {type(error).__name__}: {error}")
            continue
        yield name, engine, path


def start(commands, threads, only):
    """Starts a process for each of the commands that `threads` and `only` allow. tract runs on one thread alone."""
    engines = []
    for name, command in commands.items():
        if (name.startswith("tract") and threads > 1) or (only and name != OURS and not any(word in name for word in only)):
            continue
        try:
            engines.append(bursts.Engine(name, [*map(str, command), str(threads)]))
        except Exception as error:
            log(f"{name} is left out: {type(error).__name__}: {error}")
    return engines


def measure(commands, examples, threads, options):
    """Measures all engines on this number of threads. Returns the rows of the table and the machine's peak in the same rounds."""
    engines = start(commands, threads, options.only)
    peaks = start({f"peak {kind}": [examples / "burst", "peak", kind] for kind in ["int8", "f32"]}, threads, [])
    alone = [bursts.Engine("alone", [*map(str, commands[OURS]), "1"])] if threads > 1 else []
    before = machine.load()
    bursts.interleave(engines + peaks + alone, options.rounds, options.burst, lambda text: log(f"{threads} threads, {text}"))
    ours = next(engine for engine in engines if engine.name == OURS)
    macs = ours.about["macs"]
    best = {peak.name: peak.about["macs"] / peak.median_ms() / 1e6 for peak in peaks}
    rows = []
    for engine in sorted(engines, key=lambda engine: engine.ratio_to(ours)):
        times = sorted(time for times in engine.rounds for time in times)
        rate = macs / statistics.median(times) / 1e6
        rows.append({
            "engine": engine.name,
            "median_ms": round(statistics.median(times), 3),
            "min_ms": round(times[0], 3),
            "p90_ms": round(times[int(0.9 * (len(times) - 1))], 3),
            "gmac_per_s": round(rate, 2),
            "share_of_peak": share(rate, best.get("peak int8" if "int8" in engine.name else "peak f32")),
            "ratio_to_ours": round(engine.ratio_to(ours), 3),
            "peak_memory_mb": round(engine.peak_memory_mb(), 1),
            "load_ms": round(engine.load_ms),
        })
    result = {
        "threads": threads,
        "kernels": ours.about["kernels"],
        "times_our_one_thread": [round(engine.ratio_to(ours), 3) for engine in alone],
        "peak_gmac_per_s": {
            peak.name: {"instructions": peak.about["kernels"], "rate": round(best[peak.name], 1)} for peak in peaks
        },
        "load_average": [before, machine.load()],
        "engines": rows,
    }
    for engine in engines + peaks + alone:
        engine.close()
    return result


def share(rate, peak):
    """Returns `rate` as a share of the machine's peak, and None if the peak is not known."""
    return round(rate / peak, 3) if peak else None


def table(record):
    """Returns the record as Markdown."""
    how = f"{record['rounds']} rounds of {record['burst']} passes of every engine, by turns."
    lines = machine.heading(record["network"], how, record)
    for result in record["results"]:
        peaks = [f"{p['rate']} GMAC/s by {p['instructions']}" for p in result["peak_gmac_per_s"].values()]
        before, after = result["load_average"]
        faster = "".join(f" Ours is {times:.2f} × as fast as on one thread." for times in result["times_our_one_thread"])
        lines += [
            "",
            f"## Threads: {result['threads']}",
            "",
            f"Kernels: {result['kernels']}. The most that this machine did in the same rounds: {', '.join(peaks) or 'not known'}. "
            f"Load average {before} before, {after} after.{faster}",
            "",
            "| engine | median ms | least | p90 | GMAC/s | of the peak | × our time | peak RSS MB | load ms |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in result["engines"]:
            name = f"**{row['engine']}**" if row["engine"] in (OURS, OURS_F16) else row["engine"]
            lines.append(
                f"| {name} | {row['median_ms']:.1f} | {row['min_ms']:.1f} | {row['p90_ms']:.1f} | {row['gmac_per_s']:.1f} | "
                f"{row['share_of_peak'] or math.nan:.0%} | {row['ratio_to_ours']:.2f} | {row['peak_memory_mb']:.0f} | {row['load_ms']} |"
            )
    return "\n".join(lines) + "\n"


def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def main():
    options = arguments()
    examples, resmlp = programs.examples("peers"), programs.resmlp()
    description = machine.describe()
    saturates = description["architecture"] == "x86_64" and not any("vnni" in name for name in description["instructions"])
    commands = prepare(options.network, examples, resmlp, saturates)
    if options.without_amx:
        commands = {name: [sys.executable, WITHOUT_AMX, *command] for name, command in commands.items()}
    record = {
        "date": f"{machine.now():%Y-%m-%d %H:%M} UTC",
        "command": " ".join(["python3 benches/peers.py", *sys.argv[1:]]),
        "network": options.network,
        "rounds": options.rounds,
        "burst": options.burst,
        "machine": description,
        "packages": {name: version(name) for name in PACKAGES} | programs.crates("rten", "tract-onnx"),
        "results": [measure(commands, examples, threads, options) for threads in options.threads],
    }
    text = table(record)
    what = "-".join(["peers", slug(options.network), *(["without-amx"] if options.without_amx else [])])
    machine.record_path(what, description, "json").write_text(json.dumps(record, indent=1) + "\n")
    machine.record_path(what, description, "md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
