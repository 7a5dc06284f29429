"""Does a change leave every bit as it was? Two checkouts run the same workloads, and the SHA-256 of
what each computes are compared.

    python -m benchmarks.bits OLD NEW        paths of two checkouts (git worktrees)

Each workload of `workloads.py` runs on one thread: for 50 minibatches on small nets without
compiled kernels, or, with `--kernels`, for 4 minibatches of the paper's net in float32 and bfloat16
with them. Exit status 1 where a hash differs. No hashes are kept: they hold for one machine and one
release of PyTorch.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

UNITS = 5
"""Units of work of ten minibatches each."""


def hashes() -> dict[str, str]:
    """Return the SHA-256 of what each workload computes, with the wakesleep that is imported here;
    or the error it ends with.
    """
    import torch

    from benchmarks.workloads import PAPER, SMALL, WORKLOADS

    torch.set_num_threads(1)
    _without_kernels()
    result = {}
    sizes = {"": SMALL}
    if os.environ["BITS_KERNELS"] == "1":
        paper = replace(PAPER, minibatches=4)
        sizes = {", float32": paper, ", bfloat16": replace(paper, dtype=torch.bfloat16)}
    for (name, workload), (kind, size) in itertools.product(WORKLOADS.items(), sizes.items()):
        name += kind
        try:
            digest = hashlib.sha256()
            for number, (tensors, _) in enumerate(workload(size), 1):
                for tensor in tensors:
                    digest.update(tensor.contiguous().numpy().tobytes())
                if number == (UNITS if size is SMALL else 1):
                    break
            result[name] = digest.hexdigest()
        except Exception as error:
            result[name] = f"{type(error).__name__}: {error}"
    return result


def _without_kernels() -> None:
    """Turn off compiled kernels where the version at hand has a switch instead of a backend."""
    try:
        native: Any = importlib.import_module(".native", "wakesleep.foundation")
    except ImportError:
        return
    native.by_hand = os.environ["BITS_KERNELS"] == "1"


def run(checkout: Path, kernels: bool) -> dict[str, str]:
    """Return the hashes of the wakesleep in `checkout`, with or without compiled kernels."""
    paths = os.pathsep.join(
        [str(checkout.resolve() / "src"), str(checkout.resolve())]
    )  # each with its own workloads, for names of settings change
    call = (
        "import json, runpy; "
        f"print(json.dumps(runpy.run_path({str(Path(__file__).resolve())!r})['hashes']()))"
    )
    backend = "auto" if kernels or not (checkout / "src/wakesleep/compute").is_dir() else "torch"
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        "WAKESLEEP_BACKEND": backend,
        "BITS_KERNELS": str(int(kernels)),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", call],
        env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    result: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> int:
    """Compare two checkouts and print a line a workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--kernels", action="store_true", help="with compiled kernels")
    args = parser.parse_args()
    old, new = run(args.old, args.kernels), run(args.new, args.kernels)
    differ = [name for name in new if old.get(name) != new[name]]
    for name in new:
        print(
            f"{name:30} {'DIFFERS' if name in differ else 'equal':8} "
            f"{old.get(name, 'absent')[:40]} {new[name][:40]}"
        )
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
