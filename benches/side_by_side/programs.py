"""Builds the programs with which this project takes part in the comparison."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def cargo_target():
    """Returns the folder that cargo builds in."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def examples(*features):
    """Builds the examples `burst` and `export` and returns their folder."""
    command = ["cargo", "build", "--profile", "bench", "--package", "resmlp-benches", "--examples"]
    subprocess.run([*command, *(["--features", ",".join(features)] if features else [])], cwd=ROOT, check=True)
    return cargo_target() / "release" / "examples"


def resmlp():
    """Builds the command-line tool and returns its path."""
    subprocess.run(["cargo", "build", "--release", "--package", "resmlp-cli"], cwd=ROOT, check=True)
    return cargo_target() / "release" / "resmlp"


def crates(*names):
    """Returns the versions of the crates `names` that this project is built with."""
    lock = (ROOT / "Cargo.lock").read_text()
    return {name: re.search(rf'name = "{name}"\nversion = "([^"]+)"', lock)[1] for name in names}
