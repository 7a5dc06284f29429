"""Bags of words come with their words and topics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.io import savemat

import wakesleep as ws
from wakesleep.foundation.errors import DataError


def write(path: Path, documents: np.ndarray, topics: list[int]) -> None:
    path.parent.mkdir(parents=True)
    content = {
        "documents": sparse.csc_matrix(documents.T.astype(np.uint8)),
        "newsgroups": np.array([topics], np.uint8),
        "wordlist": np.array([["car", "god", "moon"]], object),
        "groupnames": np.array([["rec.*", "talk.*"]], object),
    }
    savemat(path, content)


def test_documents_come_with_words_and_topics(tmp_path: Path) -> None:
    documents = np.random.default_rng(0).integers(0, 2, (12, 3))
    write(tmp_path / "20news/20news_w100.mat", documents, [1] * 6 + [2] * 6)
    news = ws.load_data("20news", folder=tmp_path)
    assert news.columns == ("car", "god", "moon")
    assert news.classes == ("rec.*", "talk.*")
    assert news.test.labels.tolist() == [0, 1]
    assert np.array_equal(news.test.images, documents[[4, 10]])
    assert np.array_equal(news.train.images[:5], documents[[0, 1, 2, 3, 5]])


def test_another_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "20news_w100.mat").write_bytes(b"no documents" * 50)
    with pytest.raises(DataError, match="it is corrupt, or another file"):
        ws.load_data("20news", folder=tmp_path)


@pytest.mark.real_data
@pytest.mark.parametrize("real_data", ["20news"], indirect=True)
def test_the_real_postings(real_data: Path) -> None:
    news = ws.load_data("20news", folder=real_data)
    assert len(news.train) + len(news.test) == 16_242
    assert news.classes == ("comp.*", "rec.*", "sci.*", "talk.*")
    space = news.train.images[:, news.columns.index("orbit")] > 0
    assert np.bincount(news.train.labels[space]).argmax() == 2
