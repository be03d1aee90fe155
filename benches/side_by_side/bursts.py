"""Runs engines in processes of their own and measures them by turns, so that a disturbance meets all of them alike.

An engine's process prints a line of JSON when it is ready. Then it reads numbers of runs, one a line, and answers each with
one JSON list of the milliseconds that its runs took.
"""

import json
import statistics
import subprocess
import time
from pathlib import Path

SETTLE_S = 0.02  # an engine's threads may spin for as long as this after its burst


class Engine:
    """A process that runs forward passes on request."""

    def __init__(self, name, command):
        self.name = name
        started = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self._answer()
        self.load_ms = 1e3 * (time.monotonic() - started)
        self.rounds = []

    def _answer(self):
        for line in self.process.stdout:
            if line[:1] in "{[":  # some engines print other lines to their standard output
                return json.loads(line)
        raise RuntimeError(f"{self.name}: its process ended, exit code {self.process.wait()}")

    def run(self, runs):
        """Runs `runs` forward passes and returns the milliseconds of each."""
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        return self._answer()

    def peak_memory_mb(self):
        """Returns the largest resident set of the process so far, in units of 10^6 bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6

    def median_ms(self):
        return statistics.median(time for times in self.rounds for time in times)

    def ratio_to(self, other):
        """Returns how many times longer than `other` this engine takes: the median over the rounds of the ratio within a round."""
        pairs = zip(self.rounds, other.rounds)
        return statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def interleave(engines, rounds, burst, progress=print):
    """Measures `rounds` rounds. In each round every engine runs `burst` times, after one run that does not count.

    The engine that begins changes from round to round. The results are appended to each engine's `rounds`.
    """
    for number in range(rounds):
        start = number % len(engines)
        for engine in engines[start:] + engines[:start]:
            engine.rounds.append(engine.run(burst + 1)[1:])
            time.sleep(SETTLE_S)
        if (number + 1) % 5 == 0:
            progress(f"round {number + 1} of {rounds}")
