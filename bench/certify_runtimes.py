"""Certify runtimes that people use, in every profile that they declare, and hold the verdicts to those that are known.

python bench/certify_runtimes.py                          all of ADDRESSES
python bench/certify_runtimes.py openvino                 one of them
python bench/certify_runtimes.py openvino --only 'core/*' profiles of such names
python bench/certify_runtimes.py openvino --out runs      keep the reports, unsigned
python bench/certify_runtimes.py --only quick 'core/*' --key key.pem --trust trust.json --publish reports/runtimes
                                                          sign them, and put them there as `llmasos publish` does

Runtimes of Node are found in the directory node_modules that LLMASOS_NODE_MODULES names, or where `npm install -g` puts
them; without Node, or without a package of it, its addresses are left out and told.

A line for each run: runtime and its version, profile, verdict, cases that passed and cases in all, seconds, and the
cases that did not pass. The exit code is 1 where a case fails that is not known to, or where what computes in less than
it claims is not found out. Causes of what is known are told in reports/findings.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from llmasos_conformance.adapters import connect
from llmasos_conformance.adapters.node import process
from llmasos_conformance.errors import AddressError

ADDRESSES = (
    "transformers", "transformers:float32/eager", "transformers:bfloat16", "onnxruntime", "openvino",
    "openvino:bfloat16", "ctranslate2", "ctranslate2:int8", "onnxruntime-genai", "mlx", "mlx:bfloat16", "mlx:float16",
    "mlx:float64", "llamacpp", "llamacpp:float16", "llamacpp:bfloat16", "llamacpp:defaults", "llamacpp:q8_0",
    "onnxruntime-node", "onnxruntime-node:float64", "onnxruntime-web", "onnxruntime-web:float64", "transformers.js",
)  # fmt: skip
NODE = ("onnxruntime-node", "onnxruntime-web", "transformers.js")
"""Names of those that run in Node."""
KNOWN: Mapping[str, tuple[str, ...]] = {
    "openvino": ("onnx.presentation", "onnx.refused.serves-on"),
    "openvino:bfloat16": ("onnx.presentation", "onnx.refused.serves-on"),
    "ctranslate2": ("*batch.generate.*", "batch.*"),
    "ctranslate2:int8": ("*batch.generate.*", "batch.*"),
    # A model without an end ends at id 0: whatever generates ids with one may fail, by chance.
    "onnxruntime-genai": ("*greedy.*", "*state.*", "*generation.*", "api.*", "batch.*", "cache.*"),
}
"""Cases that a runtime is known to fail, by address; * stands for anything."""
LESS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("ctranslate2:int8", "mlx:float64", "onnxruntime-node:float64", "onnxruntime-web:float64"), ("*",)),
    **dict.fromkeys(("llamacpp:defaults", "llamacpp:q8_0"), ("*",)),
    "llamacpp": ("*/gpt*", "quick"),  # GELU is float16, and the rest is not
}
"""Addresses that compute in less than they claim, and the profiles in which they do.

Such a run is not conformant in any profile core/…/logits, and elsewhere it may be either.
"""
MOST = 1.5
"""Megabytes of packed evidence that are published with a report: those of the profiles `quick` and of text. What is
larger is made again by the same command with --out."""
COMMAND = (sys.executable, "-m", "llmasos_conformance.cli")


def profiles(address: str, only: Sequence[str]) -> list[str]:
    """Frozen profiles that an adapter declares all of, but those of a bundle of one's own."""
    offers = connect(address).description.offers
    listed = json.loads(subprocess.check_output([*COMMAND, "list", "--profiles", "--json"]))
    return [
        each["name"]
        for each in listed
        if set(each["requires"].split(",")) <= offers and not each["name"].startswith("bundle/")
        and any(fnmatch(each["name"], name) for name in only)
    ]  # fmt: skip


def certified(address: str, profile: str, out: Path, key: Path | None) -> dict[str, Any]:
    """What `llmasos certify` says of a run."""
    command = [*COMMAND, "certify", "--adapter", address, "--profile", profile, "--out", str(out)]
    command += ["--key", str(key)] if key else []
    if address.startswith(NODE) and process.VARIABLE in os.environ:
        command += ["--pass-env", process.VARIABLE]
    run = subprocess.run([*command, "--timeout", "120", "--json"], capture_output=True, text=True)
    try:
        said: dict[str, Any] = json.loads(run.stdout)
    except json.JSONDecodeError:
        raise SystemExit(f"{address} {profile}: exit code {run.returncode}\n{run.stderr[-2000:]}") from None
    return said


def published(address: str, out: Path, root: Path, trust: Path) -> str:
    """Put a signed report where strangers find it, and say where that is."""
    command = [*COMMAND, "publish", str(out), "--to", str(root), "--trust", str(trust), "--name", address, "--replace"]
    run = subprocess.run([*command, "--max-evidence", f"{MOST}", "--json"], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{out}: exit code {run.returncode}\n{run.stderr[-2000:]}")
    (made,) = json.loads(run.stdout)["published"]
    left = f", without its evidence of {made['left'] / 1e6:.1f} MB" if made["left"] else ""
    return f"{made['path']}, checked: {', '.join(made['report']['checked'])}{left}"


def surprising(address: str, profile: str, said: Mapping[str, Any]) -> list[str]:
    """What is otherwise than known; empty if nothing is."""
    failed = {each["id"] for each in said["notRight"] if each["outcome"] != "not_declared"}
    if not any(fnmatch(profile, less) for less in LESS.get(address, ())):
        return sorted(id_ for id_ in failed if not any(fnmatch(id_, known) for known in KNOWN.get(address, ())))
    core = profile.startswith("core/") and profile.endswith("/logits")
    return ["nothing failed"] if core and not failed else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("addresses", nargs="*", default=ADDRESSES, metavar="ADDRESS")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="GLOB", help="names of profiles")
    parser.add_argument("--out", type=Path, help="where the reports go; default nowhere")
    parser.add_argument("--key", type=Path, help="signs the reports")
    parser.add_argument("--trust", type=Path, help="names the key")
    parser.add_argument("--publish", type=Path, help="where signed reports are published")
    given = parser.parse_args()
    if given.publish and not (given.key and given.trust):
        parser.error("--publish needs --key and --trust")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for address in given.addresses:
            try:
                version = connect(address).description.version
            except AddressError as error:
                if given.addresses is not ADDRESSES or not address.startswith(NODE):
                    raise
                print(f"{address:18} left out: {error.render()}", flush=True)
                continue
            for profile in profiles(address, given.only):
                start = time.perf_counter()
                name, what = (re.sub("[:/]", "-", each) for each in (address, profile))
                out = (given.out or Path(folder)) / name / what
                out.parent.mkdir(parents=True, exist_ok=True)
                said = certified(address, profile, out, given.key)
                spent, counts = time.perf_counter() - start, said["summary"]
                odd = surprising(address, profile, said)
                wrong += bool(odd)
                failed = [each["id"] for each in said["notRight"] if each["outcome"] != "not_declared"]
                line = f"{address:18} {version:12.12} {profile:28} {said['verdict']:15}"
                print(f"{line} {counts['pass']:4} of {sum(counts.values()):4} {spent:6.1f} s", *failed, flush=True)
                if given.publish:
                    print(f"    {published(address, out, given.publish, given.trust)}", flush=True)
                if odd:
                    print(f"    not known: {', '.join(odd)}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
