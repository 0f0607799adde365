"""Wall time of whole certified runs of the reference, cold: interpreter, imports, suites, probes, cases, report.

quick             target < 5 s
core/gpt/logits   target < 60 s

Each is also run with the adapter inside the harness, in turn: how much slower is it in another process, over standard
input and output? Target at most 1.3. On a machine with other work the scheduler prefers whoever waits, and flatters it.

python bench/profiles.py [rounds]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGETS = {"quick": 5.0, "core/gpt/logits": 60.0}


RATIO = 1.3


def cold_start(profile: str, out: Path, *more: str) -> float:
    """Seconds from the command to its end; the reference must be conformant."""
    command = [sys.executable, "-m", "llmasos_conformance.cli", "certify", "--adapter", "reference", *more]
    start = time.perf_counter()
    run = subprocess.run(
        [*command, "--profile", profile, "--out", str(out)], capture_output=True, text=True, timeout=600
    )
    spent = time.perf_counter() - start
    if run.returncode != 0:
        raise SystemExit(f"{profile}: exit code {run.returncode}\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return spent


def main(rounds: int) -> None:
    sides = {"stdio": (), "inside": ("--in-process",)}
    kept: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for profile in TARGETS:
                for side, more in sides.items():
                    out = Path(folder) / f"{profile.replace('/', '-')}-{side}-{number}"
                    kept.setdefault((profile, side), []).append(cold_start(profile, out, *more))
    for profile, target in TARGETS.items():
        apart, inside = (statistics.median(kept[profile, side]) for side in sides)
        ratio = f"over inside the harness {apart / inside:.2f}   target {RATIO}"
        print(f"{profile:<17} {apart:6.1f} s   target {target:.0f} s   {ratio}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
