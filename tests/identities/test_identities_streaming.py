"""Cases that stay on the disk: every one comes once an epoch, ranks read parts of their own, and
learning is what it is in memory.
"""

import threading
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from wakesleep.compute import distributed
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, cd, chains, deep_boltzmann, greedy
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.chains import ChainsConfig
from wakesleep.learning.configs import DBMConfig
from wakesleep.learning.deep_pretraining import PretrainState
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.models.dbm import DBM
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.sources.shards import Chunk, Shards
from wakesleep.units import Binomial

EACH = GreedyConfig(
    CDConfig(epochs=2, batch_size=5, final_learning_rate=0.01),
    CDConfig(epochs=3, batch_size=5, initial_momentum_epochs=1),
)


def saved(folder, *sizes):
    """Write files of that many cases, whose first pixel is their number; return the files of images
    and labels.
    """
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


def kept(shards, rng):
    """Return copies of the chunks of an epoch: each holds only until the next is asked for."""
    return [
        Chunk(chunk.images.clone(), None if chunk.labels is None else chunk.labels.clone())
        for chunk in shards.chunks(rng)
    ]


def small_net():
    return DBN((6, 4, 7), labels=3, rng=generator(0))


def test_every_case_comes_once_a_pass_with_its_label_and_in_another_order(tmp_path):
    shards = Shards(*saved(tmp_path, 10, 3, 12), chunk=4, join=2)
    rng, orders = generator(1), []
    for _ in range(2):
        chunks = kept(shards, rng)
        numbers = torch.cat([chunk.images[:, 0] for chunk in chunks]).long()
        assert max(len(chunk.images) for chunk in chunks) == 8
        assert sorted(numbers.tolist()) == list(range(25))
        labels = torch.cat([chunk.labels for chunk in chunks])
        assert labels.dtype == torch.int64
        assert torch.equal(labels, numbers % 3)
        orders.append(numbers.tolist())
    assert orders[0] != orders[1]
    assert len(shards) == 25


def test_a_pass_reads_into_two_windows_in_turn_whatever_the_number_of_cases(tmp_path):
    # two chunks of some joins are shorter than the others
    images, labels = saved(tmp_path, 50, 30, 23)
    shards, places, lengths = Shards(images, labels, chunk=4, join=2), [], []
    for chunk in shards.chunks(generator(1)):
        places.append((chunk.images.data_ptr(), chunk.labels.data_ptr()))
        lengths.append(len(chunk.images))
        assert chunk.images.untyped_storage().nbytes() <= 8 * 6
        assert chunk.labels.untyped_storage().nbytes() <= 8 * 8
    assert len(places) == 14
    assert sum(lengths) == 103
    assert len(set(places)) == 2
    assert all(place == places[number % 2] for number, place in enumerate(places))


def test_a_chunk_stays_as_it_is_while_the_next_one_is_read(tmp_path, monkeypatch):
    shards, plain, done = (
        Shards(*saved(tmp_path, 50), chunk=4, join=2),
        Shards._read,
        threading.Semaphore(0),
    )
    expected = kept(shards, generator(1))

    def told(*asked):
        actual = plain(*asked)
        done.release()
        return actual

    monkeypatch.setattr(Shards, "_read", told)
    chunks = shards.chunks(generator(1))
    for number, known in enumerate(expected):
        actual = next(chunks)
        # this one was read, and the next one if there is one
        for _ in range((number == 0) + (number < len(expected) - 1)):
            assert done.acquire(timeout=10)
        assert torch.equal(actual.images, known.images)
        assert torch.equal(actual.labels, known.labels)


def test_ranks_read_parts_of_their_own_of_one_size(tmp_path, monkeypatch):
    images, labels = saved(tmp_path, 10, 21)
    monkeypatch.setattr(distributed, "ranks", lambda: 2)
    monkeypatch.setattr(distributed, "broadcast_scalar", lambda value: 5.0)
    seen = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts = kept(Shards(images, labels, chunk=4, join=2), generator(rank))
        seen.append([len(part.images) for part in parts])
        seen.append(sorted(torch.cat([part.images[:, 0] for part in parts]).tolist()))
    assert seen[0] == seen[2]
    assert not set(seen[1]) & set(seen[3])
    # two chunks of four in the first file, five in the second: six that two ranks can share
    assert len(seen[1]) + len(seen[3]) == 24
    with pytest.raises(DataError, match="smaller chunks"):
        Shards(images, chunk=20)


def test_the_last_cases_are_spared_wherever_files_end(tmp_path):
    images, labels = saved(tmp_path, 10, 3, 12)
    for spare in (0, 5, 12, 14, 24):
        numbers = torch.cat(
            [
                chunk.images[:, 0]
                for chunk in kept(
                    Shards(images, labels, chunk=4, join=2, spare=spare), generator(1)
                )
            ]
        )
        assert sorted(numbers.tolist()) == list(range(25 - spare)), spare
    with pytest.raises(DataError, match="smaller chunks"):
        Shards(images, spare=25)


def test_pictures_of_rows_and_columns_come_as_rows_of_pixels_whatever_their_byte_order(tmp_path):
    cases = np.linspace(0, 1, 60).reshape(10, 2, 3)
    np.save(tmp_path / "images-0.npy", cases.astype(">f4"))
    (chunk,) = Shards([tmp_path / "images-0.npy"]).chunks(generator(0))
    assert torch.equal(chunk.images, torch.from_numpy(cases.reshape(10, 6).astype(np.float32)))


def test_streaming_is_greedy_learning_by_chunks(tmp_path):
    images, labels = saved(tmp_path, 10, 15)
    streamed, by_hand = small_net(), small_net()
    # turns of the pool and running means go over all chunks of an epoch
    config = replace(EACH, chains=ChainsConfig(pool=1, average=0.0))
    records = list(
        greedy.epochs(
            streamed, Shards(images, labels, chunk=4, join=2), config=config, rng=generator(3)
        )
    )
    assert all(
        record.metrics["learning_rate"]
        == pytest.approx(EACH.layer.learning_rate_at(record.epoch - 1))
        for record in records[:2]
    )
    assert [(record.stage, record.epoch, record.cases) for record in records] == [
        *[("layer 1", epoch, 25) for epoch in (1, 2)],
        *[("memory", epoch, 25) for epoch in (1, 2, 3)],
    ]
    rng, shards, errors = generator(3), Shards(images, labels, chunk=4, join=2), []
    for layer, epochs in enumerate((2, 3)):  # the last epoch of the memory has chains
        rbm, state = by_hand.rbm(layer), None
        for epoch in range(epochs):
            for chunk in shards.chunks(rng):
                cases = greedy.memory_cases(by_hand, *chunk) if layer else chunk.images
                if state is None:
                    cd.init_visible_bias(rbm, cases)
                state = None if state is None else replace(state, epoch=epoch)
                given = {"rng": rng, "classes": chunk.labels + 1, "state": state}
                if epoch == 2:
                    record = next(
                        chains.epochs(rbm, cases, config=config.chains, memory=EACH.memory, **given)
                    )
                else:
                    record = next(
                        cd.epochs(rbm, cases, config=EACH.memory if layer else EACH.layer, **given)
                    )
                state = record.state
                errors.append(record.metrics["reconstruction_error"] * record.cases / 25)
    assert sum(record.metrics["reconstruction_error"] for record in records) == pytest.approx(
        sum(errors)
    )
    assert all(
        torch.equal(a, b) for a, b in zip(streamed.parameters(), by_hand.parameters(), strict=True)
    )


def test_streaming_goes_on_where_it_was(tmp_path):
    shards = Shards(*saved(tmp_path, 10, 15), chunk=4, join=2)
    whole = small_net()
    list(greedy.epochs(whole, shards, config=EACH, rng=generator(3)))
    for stop in range(1, 5):
        stopped, rng = small_net(), generator(3)
        records = greedy.epochs(stopped, shards, config=EACH, rng=rng)
        state = [next(records).state for _ in range(stop)][-1]
        records.close()
        list(greedy.epochs(stopped, shards, config=EACH, rng=rng, state=state))
        assert all(
            torch.equal(a, b) for a, b in zip(stopped.parameters(), whole.parameters(), strict=True)
        ), stop


def deep_stages(dbm, shards, rng, state=None):
    """Pretraining and learning of a deep Boltzmann machine, a record an epoch."""
    pairs = CDConfig(epochs=2, batch_size=5, centred=True)
    whole = DBMConfig(epochs=2, batch_size=5, centred=True)
    if state is None or isinstance(state, PretrainState):
        yield from deep_boltzmann.pretrain(dbm, shards, config=pairs, rng=rng, state=state)
        state = None
    yield from deep_boltzmann.epochs(dbm, shards, config=whole, rng=rng, state=state)


def test_a_deep_machine_streams_every_case_and_goes_on_where_it_was(tmp_path):
    shards = Shards(*saved(tmp_path, 10, 15), chunk=4, join=2)
    for labels in (0, 3):
        whole, last = DBM((6, 4, 3), labels=labels, rng=generator(0)), generator(3)
        records = list(deep_stages(whole, shards, last))
        stages = [(record.stage, record.epoch, record.cases) for record in records]
        assert stages == [(s, n, 25) for s in ("layer 1", "layer 2", "dbm") for n in (1, 2)]
        for stop in range(1, 6):
            stopped, rng = DBM((6, 4, 3), labels=labels, rng=generator(0)), generator(3)
            records = deep_stages(stopped, shards, rng)
            state = deepcopy([next(records).state for _ in range(stop)][-1])
            records.close()
            list(deep_stages(stopped, shards, rng, state))
            for a, b in zip(stopped.parameters(), whole.parameters(), strict=True):
                assert torch.equal(a, b), stop
    with pytest.raises(DataError, match="bring their labels"):
        next(
            deep_boltzmann.epochs(
                stopped, shards, torch.zeros(25).long(), config=DBMConfig(epochs=1), rng=rng
            )
        )


def test_a_deep_machine_in_one_chunk_learns_what_it_learns_in_memory(tmp_path):
    """All cases in one file: only the draws for the order of chunks come in between."""
    images, labels = saved(tmp_path, 25)
    shards, machines = Shards(images, labels), []
    cases, classes = torch.from_numpy(np.load(images[0])), torch.from_numpy(np.load(labels[0]))
    whole = DBMConfig(epochs=1, batch_size=5, centred=True)
    for given in ((shards,), (cases, classes)):
        dbm, rng = DBM((6, 4, 3), labels=3, rng=generator(0)), generator(3)
        state = deep_boltzmann.init_state(dbm, dbm, whole, rng)
        if given[0] is cases:
            torch.randint(2**31, (), generator=rng)
        next(deep_boltzmann.epochs(dbm, *given, config=whole, rng=rng, state=state))
        machines.append(dbm)
    for a, b in zip(*(each.parameters() for each in machines), strict=True):
        assert torch.equal(a, b)
    config, rng = CDConfig(epochs=1, batch_size=5, centred=True), generator(3)
    record = next(deep_boltzmann.pretrain(dbm, shards, config=config, rng=generator(3)))
    rbm, twice = RBM(Binomial(6, 2), 4, rng=rng), 2 * (cases / 255)
    torch.randint(2**31, (), generator=rng)  # the first chunk says where biases begin
    cd.init_visible_bias(rbm, twice)
    state = cd.init_state(rbm, config, rng)
    torch.randint(2**31, (), generator=rng)
    next(cd.epochs(rbm, twice, config=config, rng=rng, state=state, checked=True))
    for name, parameter in rbm.named_parameters():
        assert torch.equal(record.state.rbms["layer1"][name], parameter)


def test_a_function_of_each_chunk_stands_in_its_place(tmp_path):
    shards = Shards(*saved(tmp_path, 10, 15), chunk=4, join=2)
    doubled = shards.mapped(lambda images: images.float() * 2)
    for one, other in zip(kept(shards, generator(1)), kept(doubled, generator(1)), strict=True):
        assert torch.equal(one.images.float() * 2, other.images)
        assert torch.equal(one.labels, other.labels)
    assert len(doubled) == 25


def test_fine_tuning_by_chunks_is_backpropagation_and_goes_on_where_it_was(tmp_path):
    shards, config = (
        Shards(*saved(tmp_path, 10, 15), chunk=4, join=2),
        BackpropConfig(epochs=3, batch_size=5, learning_rate=0.1),
    )
    nets = [backprop.random_classifier((6, 4, 3), rng=generator(0)) for _ in range(3)]
    records = list(
        backprop.epochs(nets[0], shards, config=config, rng=generator(3), stage="random")
    )
    assert [(record.stage, record.epoch, record.cases) for record in records] == [
        ("random", epoch, 25) for epoch in (1, 2, 3)
    ]
    rng, state = generator(3), backprop.init_state(nets[1])
    for epoch in range(3):
        for images, labels in shards.chunks(rng):
            state = next(
                backprop.epochs(
                    nets[1],
                    images,
                    labels,
                    config=config,
                    rng=rng,
                    state=replace(state, epoch=epoch),
                )
            ).state
    rng = generator(3)
    stopped = backprop.epochs(nets[2], shards, config=config, rng=rng)
    state = next(stopped).state
    stopped.close()
    assert len(list(backprop.epochs(nets[2], shards, config=config, rng=rng, state=state))) == 2
    for net in nets[1:]:
        assert all(
            torch.equal(a, b) for a, b in zip(nets[0].parameters(), net.parameters(), strict=True)
        )


def test_files_that_do_not_fit_are_refused_in_words(tmp_path):
    images, labels = saved(tmp_path, 10, 15)
    np.save(tmp_path / "wide.npy", np.zeros((5, 7), dtype=np.uint8))
    np.save(tmp_path / "floats.npy", np.zeros((5, 6), dtype=np.float32))
    np.save(tmp_path / "words.npy", np.full((5, 6), "a"))
    np.save(tmp_path / "halves.npy", np.full(15, 0.5))
    (tmp_path / "text.npy").write_text("no array")
    for wrong, output in (
        ({"images": []}, "at least 1"),
        ({"images": images, "chunk": 0}, "at least 1"),
        ({"images": [*images, tmp_path / "wide.npy"]}, r"wide\.npy .*one shape"),
        ({"images": [*images, tmp_path / "floats.npy"]}, r"floats\.npy holds float32 .*one type"),
        ({"images": [tmp_path / "words.npy"]}, "file of numbers"),
        ({"images": images, "labels": labels[:1]}, "1 files of labels came for 2"),
        (
            {"images": images, "labels": [labels[0], tmp_path / "halves.npy"]},
            r"halves\.npy .*whole numbers",
        ),
        ({"images": images, "labels": labels[::-1]}, "a label a case"),
        ({"images": [tmp_path / "text.npy"]}, "numpy.save"),
        ({"images": [tmp_path / "none.npy"]}, "cannot be read"),
        ({"images": labels}, r"\(cases, pixels\)"),
    ):
        with pytest.raises(DataError, match=output):
            Shards(**wrong)


def test_a_memory_mapped_array_does_as_well_as_its_file(tmp_path):
    images, _ = saved(tmp_path, 10)
    mapped = np.load(images[0], mmap_mode="r")
    ours, theirs = (
        kept(Shards([source], chunk=4, join=1), generator(0)) for source in (mapped, images[0])
    )
    assert all(torch.equal(a.images, b.images) for a, b in zip(ours, theirs, strict=True))
