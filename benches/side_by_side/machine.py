"""Describes the machine: what a reader must know to judge figures that were measured on it."""

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

INSTRUCTIONS = "avx2 fma f16c avx_vnni avx512f avx512bw avx512vbmi avx512_vnni amx_int8 asimddp i8mm asimdhp".split()
BENCHES = Path(__file__).resolve().parent.parent


def describe():
    """Returns the description as a dictionary of strings and numbers."""
    cpu = _read("/proc/cpuinfo")
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpu, re.M)
    flags = set(flags[1].split()) if flags else set()
    model = re.search(r"^model name\s*:\s*(.*)$", cpu, re.M)
    family = re.search(r"^cpu family\s*:\s*(\d+)$.*?^model\s*:\s*(\d+)$", cpu, re.M | re.S)
    return {
        "cpu": model[1] if model else platform.processor() or "not known",
        "family_model": f"{family[1]}/{family[2]}" if family else "",
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "kernel": platform.release(),
        "system": _read("/etc/os-release").split('PRETTY_NAME="')[-1].split('"')[0],
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or "not readable",
        "hypervisor": "hypervisor" in flags,
        "rustc": _output(["rustc", "--version"]),
        "commit": _output(["git", "-C", str(BENCHES), "describe", "--always", "--dirty"]),
    }


def load():
    """Returns the load average over the last minute; it is 0 on a quiet machine."""
    return round(os.getloadavg()[0], 2)


def now():
    return datetime.now(timezone.utc)


def record_path(what, description, kind):
    """Returns the path of a record: `record/<date>-<cpu>-<instructions>-<what>.<kind>`."""
    cpu = re.sub(r"[^a-z0-9]+", "-", description["cpu"].lower()).strip("-")
    best = "vnni" if {"avx512_vnni", "avx_vnni"} & set(description["instructions"]) else "avx2"
    best = best if description["architecture"] == "x86_64" else description["architecture"]
    folder = BENCHES / "record"
    folder.mkdir(exist_ok=True)
    return folder / f"{now():%Y-%m-%d}-{cpu}-{best}-{what}.{kind}"


def text(description):
    """Returns the description as one paragraph."""
    d = description
    virtual = ", a virtual machine" if d["hypervisor"] else ""
    family = f" (family/model {d['family_model']})" if d["family_model"] else ""
    return (
        f"{d['cpu']}{family}, {d['cores']} cores{virtual}, {' '.join(d['instructions'])}; {d['system']}, "
        f"kernel {d['kernel']}, governor {d['governor']}; {d['rustc']}; commit {d['commit']}"
    )


def heading(title, how, record):
    """Returns the first lines of a record in Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    return [f"# {title}, batch 1: {record['date']}", "", f"`{record['command']}`: {how}", "", text(record["machine"]), "", versions]


def _read(path):
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _output(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not known"
