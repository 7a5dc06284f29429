"""Do the same command, seed and machine give the same bits, however busy the machine is?

    python -m benchmarks.same_bits [--processes 10] [--neighbours 4] [--threads 2] [--json FILE]

Fresh processes train the same small net by the command line, one after the other, half of them
beside processes that spin. Printed is how many of the final models have the most frequent SHA-256,
and with which precision each learned.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def _spin() -> None:
    while True:
        sum(range(10_000))


def train(folder: Path, data: Path, threads: int) -> tuple[str, str]:
    """Train in a fresh process; return the SHA-256 of the final model's tensors, and the precision
    it learned with.
    """
    call = [sys.executable, "-m", "wakesleep", "train", "--out", str(folder), "--data", str(data)]
    call += ["--hidden", "500", "300", "--validation", "0", "--precision", "auto"]
    call += [
        "--stages",
        "pretrain",
        "backprop",
        "--greedy.layer.epochs",
        "2",
        "--greedy.memory.epochs",
        "2",
        "--backprop.epochs",
        "2",
    ]
    subprocess.run(
        call, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
    )
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, array in sorted(load_file(folder / "model.safetensors").items()):
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest(), json.loads((folder / "config.json").read_text())["precision"]


def main(words: Sequence[str] | None = None) -> int:
    """Train, compare, print; return 0 where all models are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--neighbours", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where the row goes")
    args = parser.parse_args(words)
    began, rng, result = time.perf_counter(), np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "set.npz"
        labels = np.arange(1000) % 10
        images = (rng.random((10, 28, 28)) < 0.2)[labels] * rng.integers(128, 256, (1000, 28, 28))
        np.savez(data, images=images.astype(np.uint8), labels=labels)
        for number in range(args.processes):
            spinning = [
                multiprocessing.Process(target=_spin, daemon=True)
                for _ in range(args.neighbours * (number % 2))
            ]
            for process in spinning:
                process.start()
            try:
                result.append(train(Path(folder) / str(number), data, args.threads))
            finally:
                for process in spinning:
                    process.kill()
            print(number, "busy" if spinning else "quiet", *result[-1], flush=True)
    (_, most), *_ = collections.Counter(result).most_common(1)
    if args.json:
        from wakesleep.paper import results

        notes = {"threads": args.threads, "minutes": round((time.perf_counter() - began) / 60, 2)}
        command = (
            f"python -m benchmarks.same_bits --processes {args.processes} --neighbours "
            f"{args.neighbours} --threads {args.threads}"
        )
        row = results.row(
            "architecture",
            "same-bits-when-busy",
            f"identical_of_{args.processes}",
            [most],
            seeds=[0],
            command=command,
            **notes,
        )
        results.save(args.json, [row])
    print(f"{most} of {args.processes} identical")
    return int(most != args.processes)


if __name__ == "__main__":
    sys.exit(main())
