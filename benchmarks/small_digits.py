"""Write the small digits of the page's race: scikit-learn's 1,797, a byte for the label and 64 for
the pixels (0 to 16) of each.

    python -m benchmarks.small_digits

They are the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak,
UCI Machine Learning Repository, 1998; CC BY 4.0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro
from tyro.conf import Positional

from wakesleep.foundation.files import write_atomically


def packed() -> bytes:
    """Return the file's content."""
    from sklearn.datasets import load_digits

    result = load_digits()
    rows = np.column_stack([result.target, result.data])
    return rows.astype(np.uint8).tobytes()


def main(
    out: Positional[Path] = Path("src/wakesleep/app/static/digits.bin"),
) -> None:
    """Write the file."""
    content = packed()
    write_atomically(out, lambda temporary: temporary.write_bytes(content))
    print(f"{out}  {len(content):,} bytes")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
