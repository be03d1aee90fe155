"""Compares the speed of training with PyTorch's, by turns on the same machine.

    cargo build --release -p resmlp-train-core --example speed
    python3 -m venv venv && venv/bin/pip install torch timm
    venv/bin/python benches/training.py [--threads N] [--rounds N]

Each program trains the demo's network (pictures of 32 x 32, patches of 4 x 4, 128 channels, 8 blocks) with AdamW on one
fixed random batch of 128 pictures. A round measures each program once; the table has the median over the rounds and the
ratio to PyTorch in f32 within each round.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

BATCH = 128
STEPS = 10
SPEED = Path(__file__).resolve().parent.parent / "target/release/examples/speed"


def ours(threads):
    """Returns pictures a second of this project's trainer."""
    output = subprocess.run([SPEED, str(threads), str(STEPS)], check=True, capture_output=True, text=True).stdout
    return float(re.match(r"(\d+) pictures a second", output)[1])


def pytorch(threads, bf16):
    """Returns pictures a second of PyTorch, measured in a process of its own."""
    arguments = [sys.executable, __file__, "--pytorch", "bf16" if bf16 else "f32", "--threads", str(threads)]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def measure_pytorch(threads, bf16):
    import torch
    from functools import partial
    from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    network = MlpMixer(
        num_classes=10,
        img_size=32,
        patch_size=4,
        num_blocks=8,
        embed_dim=128,
        mlp_ratio=4,
        block_layer=partial(ResBlock, init_values=0.1),
        norm_layer=Affine,
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    pictures, labels = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
    seconds = []
    for _ in range(STEPS + 2):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(network(pictures), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        seconds.append(time.perf_counter() - start)
    print(BATCH / statistics.median(seconds[2:]))


def cpu():
    """Returns the name of this machine's CPU."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pytorch", choices=["f32", "bf16"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pytorch:
        return measure_pytorch(arguments.threads, arguments.pytorch == "bf16")

    programs = {
        "PyTorch f32": lambda: pytorch(arguments.threads, False),
        "PyTorch bf16 autocast": lambda: pytorch(arguments.threads, True),
        "resmlp-train f32": lambda: ours(arguments.threads),
    }
    rounds = [{name: measure() for name, measure in programs.items()} for _ in range(arguments.rounds)]
    print(f"{cpu()}, {arguments.threads} threads, {time.strftime('%Y-%m-%d')}\n")
    print("| program | pictures a second | times PyTorch f32 |\n|---|---|---|")
    for name in programs:
        rate = statistics.median(entry[name] for entry in rounds)
        ratio = statistics.median(entry[name] / entry["PyTorch f32"] for entry in rounds)
        print(f"| {name} | {rate:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
