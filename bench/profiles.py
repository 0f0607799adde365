"""Wall time of whole certified runs of the reference, cold: interpreter, imports, suites, probes, cases, report.

quick             target < 5 s
core/gpt/logits   target < 60 s

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


def cold_start(profile: str, out: Path) -> float:
    """Seconds from the command to its end; the reference must be conformant."""
    command = [sys.executable, "-m", "llmasos_conformance.cli", "certify", "--adapter", "reference"]
    start = time.perf_counter()
    run = subprocess.run(
        [*command, "--profile", profile, "--out", str(out)], capture_output=True, text=True, timeout=600
    )
    spent = time.perf_counter() - start
    if run.returncode != 0:
        raise SystemExit(f"{profile}: exit code {run.returncode}\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return spent


def main(rounds: int) -> None:
    times: dict[str, list[float]] = {profile: [] for profile in TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for profile, kept in times.items():
                kept.append(cold_start(profile, Path(folder) / f"{profile.replace('/', '-')}-{number}"))
    for profile, kept in times.items():
        print(f"{profile:<17} {statistics.median(kept):6.1f} s   target {TARGETS[profile]:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
