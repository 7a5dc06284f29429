import dataclasses
import json

import pytest
import torch

from wakesleep import DBN, generator
from wakesleep.evaluation import classify, meanfield, novelty
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError

SHAPE = (4, 5)


def net(labels, seed=0):
    dbn = DBN((20, 6, 5), labels=labels, rng=generator(seed))
    with torch.no_grad():
        for name, parameter in dbn.named_parameters():
            torch.manual_seed(len(name))
            parameter.normal_(0, 0.6)
    return dbn


def pictures(count, seed=1):
    return torch.rand(count, 20, generator=generator(seed)).pow(3)


def log_odds(dbn, images):
    if not dbn.labels:
        return torch.zeros(len(images))
    best = classify.log_probs(dbn, images).sort(1, descending=True).values
    return best[:, 0] - best[:, 1]


def test_contour_is_counted_between_neighbours():
    picture = torch.zeros(2, 20)
    picture[0, 7] = 0.5  # one pixel inside has four neighbours
    picture[1].view(SHAPE)[:, 3:] = 1  # an edge from top to bottom
    assert novelty.contour(picture, SHAPE).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("labels", [0, 3])
def test_the_line_is_least_squares_and_the_threshold_a_percentile(labels):
    dbn, images = net(labels), pictures(400)
    actual = novelty.calibrate(dbn, images, SHAPE, percentile=90)
    label = classify.predict(dbn, images) if labels else torch.zeros(400, dtype=torch.long)
    members = torch.nn.functional.one_hot(label, max(labels, 1)).double()
    design = torch.cat([members, novelty.contour(images, SHAPE).double()[:, None]], 1)
    score, odds = meanfield.score(dbn, images).double(), log_odds(dbn, images).double()
    if labels:
        lines = torch.linalg.lstsq(design, torch.stack([score, odds], 1), driver="gelsd").solution
        means = members @ ((members.T @ odds) / members.sum(0).clamp(min=1))
        wanted = (score - design @ lines[:, 0]).std() / (odds - means).std()
        assert actual.odds_weight == pytest.approx(float(wanted), rel=1e-4)
    else:
        assert actual.odds_weight == 0
    both = score + actual.odds_weight * odds
    wanted = torch.linalg.lstsq(design, both, driver="gelsd").solution
    shown = members.sum(0) > 0
    fitted = torch.tensor(actual.intercepts).double()
    torch.testing.assert_close(fitted[shown], wanted[:-1][shown], rtol=1e-4, atol=1e-4)
    assert actual.slope == pytest.approx(float(wanted[-1]), rel=1e-4)
    above = novelty.surprise(dbn, images, actual) > actual.threshold
    assert 35 <= int(above.sum()) <= 45
    assert novelty.from_header(json.loads(json.dumps({"novelty": actual.as_json()}))) == actual


def test_a_picture_of_an_unclear_label_surprises_more():
    dbn, images = net(3), pictures(300)
    actual = novelty.calibrate(dbn, images, SHAPE)
    alone = dataclasses.replace(actual, odds_weight=0.0)
    more = novelty.surprise(dbn, images, alone) - novelty.surprise(dbn, images, actual)
    assert actual.odds_weight > 0
    torch.testing.assert_close(more, actual.odds_weight * log_odds(dbn, images), rtol=0, atol=1e-3)


def test_nets_without_labels_and_older_files_know_no_odds():
    dbn = net(0)
    actual = novelty.calibrate(dbn, pictures(300), SHAPE)
    assert actual.odds_weight == 0
    header = {"novelty": actual.as_json()}
    del header["novelty"]["odds_weight"]
    assert novelty.from_header(header) == actual


def test_a_label_that_no_case_shows_takes_the_mean():
    dbn = net(3)
    with torch.no_grad():
        dbn.memory.visible_bias[dbn.label_columns][2] = -50.0
    actual = novelty.calibrate(dbn, pictures(300), SHAPE)
    assert min(actual.intercepts[:2]) <= actual.intercepts[2] <= max(actual.intercepts[:2])


def test_what_does_not_fit_is_refused():
    dbn, images = net(3), pictures(120)
    actual = novelty.calibrate(dbn, images, SHAPE)
    with pytest.raises(ConfigError, match="calibrate it anew"):
        novelty.surprise(net(0), images, actual)
    with pytest.raises(ConfigError, match="shape is"):
        novelty.calibrate(dbn, images, (3, 5))
    with pytest.raises(ConfigError, match="percentile"):
        novelty.calibrate(dbn, images, SHAPE, percentile=100)
    with pytest.raises(DataError, match="at least 100"):
        novelty.calibrate(dbn, images[:99], SHAPE)
    with pytest.raises(CheckpointError, match="novelty"):
        novelty.from_header({"novelty": {"shape": [4, 5]}})
    assert novelty.from_header({}) is None
