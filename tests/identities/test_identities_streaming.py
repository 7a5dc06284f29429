"""Cases that stay on the disk: every one comes once a pass, ranks read parts of their own, and learning is what it is in memory."""

import numpy as np
import pytest
import torch

from wakesleep.foundation import distributed
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator
from wakesleep.foundation.shards import Shards
from wakesleep.learning import cd, greedy, streaming
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.model.dbn import DBN

EACH = GreedyConfig(CDConfig(passes=2, batch_size=5, final_learning_rate=0.01), CDConfig(passes=3, batch_size=5, initial_momentum_passes=1))


def saved(folder, *sizes):
    """Write files of that many cases, whose first pixel is their number; return the files of images and labels."""
    images, labels, start = [], [], 0
    for number, size in enumerate(sizes):
        cases = np.random.default_rng(number).integers(0, 256, (size, 6), dtype=np.uint8)
        cases[:, 0] = np.arange(start, start + size)
        images.append(folder / f"images-{number}.npy")
        labels.append(folder / f"labels-{number}.npy")
        np.save(images[-1], cases)
        np.save(labels[-1], np.arange(start, start + size) % 3)
        start += size
    return images, labels


def small_net():
    return DBN((6, 4, 7), labels=3, rng=generator(0))


def test_every_case_comes_once_a_pass_with_its_label_and_in_another_order(tmp_path):
    shards = Shards(*saved(tmp_path, 10, 3, 12), chunk=4, join=2)
    rng, orders = generator(1), []
    for _ in range(2):
        chunks = list(shards.chunks(rng))
        numbers = torch.cat([chunk.images[:, 0] for chunk in chunks]).long()
        assert max(len(chunk.images) for chunk in chunks) == 8
        assert sorted(numbers.tolist()) == list(range(25))
        assert torch.equal(torch.cat([chunk.labels for chunk in chunks]), numbers % 3)
        orders.append(numbers.tolist())
    assert orders[0] != orders[1]
    assert len(shards) == 25


def test_ranks_read_parts_of_their_own_of_one_size(tmp_path, monkeypatch):
    images, labels = saved(tmp_path, 10, 21)
    monkeypatch.setattr(distributed, "ranks", lambda: 2)
    monkeypatch.setattr(distributed, "first_rank_says", lambda value: 5.0)
    seen = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts = list(Shards(images, labels, chunk=4, join=2).chunks(generator(rank)))
        seen.append([len(part.images) for part in parts])
        seen.append(sorted(torch.cat([part.images[:, 0] for part in parts]).tolist()))
    assert seen[0] == seen[2]
    assert not set(seen[1]) & set(seen[3])
    assert len(seen[1]) + len(seen[3]) == 24  # two chunks of four in the first file, five in the second: six that two ranks can share
    with pytest.raises(DataError, match="smaller chunks"):
        Shards(images, chunk=20)


def test_streaming_is_greedy_learning_by_chunks(tmp_path):
    images, labels = saved(tmp_path, 10, 15)
    streamed, by_hand = small_net(), small_net()
    records = list(streaming.epochs(streamed, Shards(images, labels, chunk=4, join=2), config=EACH, rng=generator(3)))
    assert [(record.stage, record.epoch, record.cases) for record in records] == [
        *[("layer 1", epoch, 25) for epoch in (1, 2)],
        *[("memory", epoch, 25) for epoch in (1, 2, 3)],
    ]
    rng, shards = generator(3), Shards(images, labels, chunk=4, join=2)
    for layer, config in enumerate((EACH.layer, EACH.memory)):
        rbm, state = by_hand.rbm(layer), None
        for epoch in range(config.passes):
            for chunk in shards.chunks(rng):
                cases = greedy.memory_cases(by_hand, *chunk) if layer else chunk.images
                if state is None:
                    cd.set_base_rates(rbm, cases)
                state = None if state is None else {**state, "epoch": epoch}
                state = next(cd.epochs(rbm, cases, config=config, rng=rng, classes=chunk.labels + 1, state=state)).state
    assert all(torch.equal(a, b) for a, b in zip(streamed.parameters(), by_hand.parameters(), strict=True))


def test_streaming_goes_on_where_it_was(tmp_path):
    shards = Shards(*saved(tmp_path, 10, 15), chunk=4, join=2)
    whole = small_net()
    list(streaming.epochs(whole, shards, config=EACH, rng=generator(3)))
    for stop in range(1, 5):
        stopped, rng = small_net(), generator(3)
        records = streaming.epochs(stopped, shards, config=EACH, rng=rng)
        state = [next(records).state for _ in range(stop)][-1]
        records.close()
        list(streaming.epochs(stopped, shards, config=EACH, rng=rng, state=state))
        assert all(torch.equal(a, b) for a, b in zip(stopped.parameters(), whole.parameters(), strict=True)), stop


def test_files_that_do_not_fit_are_refused_in_words(tmp_path):
    images, labels = saved(tmp_path, 10, 15)
    np.save(tmp_path / "wide.npy", np.zeros((5, 7), dtype=np.uint8))
    (tmp_path / "text.npy").write_text("no array")
    for wrong, said in (
        ({"images": []}, "at least 1"),
        ({"images": images, "chunk": 0}, "at least 1"),
        ({"images": [*images, tmp_path / "wide.npy"]}, "one shape"),
        ({"images": images, "labels": labels[::-1]}, "a label a case"),
        ({"images": [tmp_path / "text.npy"]}, "numpy.save"),
        ({"images": [tmp_path / "none.npy"]}, "cannot be read"),
        ({"images": labels}, "one shape"),
    ):
        with pytest.raises(DataError, match=said):
            Shards(**wrong)


def test_a_memory_mapped_array_does_as_well_as_its_file(tmp_path):
    images, _ = saved(tmp_path, 10)
    mapped = np.load(images[0], mmap_mode="r")
    ours, theirs = (list(Shards([source], chunk=4, join=1).chunks(generator(0))) for source in (mapped, images[0]))
    assert all(torch.equal(a.images, b.images) for a, b in zip(ours, theirs, strict=True))
