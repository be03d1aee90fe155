"""Builds this project's side of the comparison."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def cargo_target():
    """Where cargo builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def examples(*features):
    """The folder with the examples `burst` and `export`, freshly built."""
    command = ["cargo", "build", "--profile", "bench", "--package", "resmlp-benches", "--examples"]
    subprocess.run([*command, *(["--features", ",".join(features)] if features else [])], cwd=ROOT, check=True)
    return cargo_target() / "release" / "examples"


def resmlp():
    """The command-line tool, freshly built."""
    subprocess.run(["cargo", "build", "--release", "--package", "resmlp-cli"], cwd=ROOT, check=True)
    return cargo_target() / "release" / "resmlp"


def crates(*names):
    """The versions that this project is built with."""
    lock = (ROOT / "Cargo.lock").read_text()
    return {name: re.search(rf'name = "{name}"\nversion = "([^"]+)"', lock)[1] for name in names}
