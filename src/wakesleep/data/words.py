"""Documents as bags of words: which of some words each holds."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from wakesleep.data.sets import Dataset, Split
from wakesleep.foundation.errors import DataError

NEWSGROUPS = "20news"
"""100 words of 16,242 postings to newsgroups of four topics, collected by Sam Roweis."""
FILE = "20news_w100.mat"


def load_words(path: Path) -> Dataset:
    """Return the postings of 20news_w100.mat: cases (N, 100), 1 where a word occurs, with topics as
    labels and the words as `columns`.

    Every fifth posting of each topic is a test case.

    Raises:
        DataError: not that file.
    """
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings():
            # SciPy 1.18 warns that sparse arrays will replace matrices; both do here
            warnings.simplefilter("ignore", DeprecationWarning)
            content = loadmat(path)
        cases: Any = np.asarray(content["documents"].T.toarray(), np.float32)
        labels = content["newsgroups"].ravel().astype(np.int64) - 1
        words = tuple(str(word.item()) for word in content["wordlist"].ravel())
        topics = tuple(str(topic.item()) for topic in content["groupnames"].ravel())
    except Exception as error:
        # SciPy's reader has many kinds of errors for one corrupt file
        raise DataError(
            f"{path} cannot be read as {FILE} ({type(error).__name__}: {error}): it is corrupt, or "
            "another file"
        ) from error
    test = np.zeros(len(labels), bool)
    for topic in range(len(topics)):
        test[np.flatnonzero(labels == topic)[4::5]] = True
    parts: list[Any] = [(cases[chosen], labels[chosen]) for chosen in (~test, test)]
    digest = hashlib.sha256(b"".join(array.tobytes() for part in parts for array in part))
    return Dataset(
        NEWSGROUPS,
        Split(*parts[0]),
        Split(*parts[1]),
        (1, len(words)),
        topics,
        digest.hexdigest(),
        columns=words,
    )
