"""The table of scrubbing: its numbers against those computed by hand, without draws and with them."""

import numpy as np
import pytest

from mechcausal.address import Place
from mechcausal.causal.scrubbing.judged import Row, Scale, by_group, frame_of, roles_of
from mechcausal.results.intervals import mean_interval
from mechcausal.results.multiplicity import holm

N = 24
PLACES = [Place.parse("L1.z.H2@-1")]
CLEAN = np.linspace(1, 3, N)
SCRUBBED = CLEAN * 0.75 + np.sin(np.arange(N)) / 10
OTHERS = np.stack([np.full(N, -0.5), np.full(N, 0.5)])  # the metric is zero by outputs of other prompts


@pytest.fixture
def scale():
    drawn = np.stack([np.roll(np.arange(N), 1), np.roll(np.arange(N), 2)])
    return Scale(np.arange(N), np.arange(N), CLEAN, OTHERS, drawn)


def row(examples, kind="hypothesis", node="answer", roles=()):
    return Row.of(node, kind, PLACES, examples, roles)


def test_without_draws_the_change_is_a_mean_with_its_interval(scale):
    change, error = scale.change(row(SCRUBBED))
    expected = mean_interval(SCRUBBED - CLEAN, np.arange(N))
    assert change == pytest.approx((SCRUBBED - CLEAN).mean())
    assert error.interval(change) == pytest.approx((expected.low, expected.high))


def test_the_share_is_one_for_the_model_and_zero_for_outputs_of_other_prompts(scale):
    assert scale.share(row(CLEAN))[0] == pytest.approx(1)
    assert scale.share(row(scale.corrupt))[0] == pytest.approx(0)
    assert scale.share(row(SCRUBBED))[0] == pytest.approx(SCRUBBED.mean() / CLEAN.mean())
    more, less = row(CLEAN), row(SCRUBBED)
    assert scale.share(more, less=less)[0] == pytest.approx(1 - SCRUBBED.mean() / CLEAN.mean())


def test_where_outputs_of_other_prompts_do_as_well_there_is_no_share():
    flat = Scale(np.arange(N), np.arange(N), CLEAN, np.stack([CLEAN, CLEAN]), np.zeros((2, N), dtype=int))
    assert np.isnan(flat.share(row(SCRUBBED))[0])


def test_the_frame_holds_them(scale):
    rows = [row(SCRUBBED), row(CLEAN, kind="claim")]
    frame, examples = frame_of(
        rows, scale, {"base": CLEAN, "clean": CLEAN, "corrupt": scale.corrupt}, tuple(map(str, range(N)))
    )
    np.testing.assert_array_equal(examples, np.stack([SCRUBBED, CLEAN]))
    assert list(frame["label"]) == ["answer", "answer: claim"]
    assert list(frame["site"]) == ["L1.z.H2"] * 2
    assert list(frame["head"]) == [2, 2]
    assert frame.loc[1, "gain"] == pytest.approx(1 - SCRUBBED.mean() / CLEAN.mean())
    assert np.isnan(frame.loc[0, "gain"])
    assert (frame["change_low"] <= frame["change"]).all()
    assert (frame["change"] <= frame["change_high"]).all()
    assert frame.loc[0, "p"] < 1e-6
    # A claim is tested for what it gives back; here that is all that is lost.
    gain, error = scale.share(rows[1], less=rows[0])
    assert frame.loc[1, "p"] == error.p(gain) < 0.05
    assert frame["p_max"].tolist() == holm(frame["p"]).tolist()


def test_groups_have_the_means_of_their_members(scale):
    groups = ["a" if number % 3 else "b" for number in range(N)]
    table = by_group([row(SCRUBBED)], scale, groups)
    assert {line["group"]: line["n"] for line in table} == {"b": 8, "a": 16}
    for line in table:
        member = np.array([name == line["group"] for name in groups])
        assert line["change"] == pytest.approx((SCRUBBED - CLEAN)[member].mean())


def test_what_is_the_reference_itself_or_drawn_twice_is_no_role():
    references, drawn, classes = np.arange(4), np.array([1, 0, 3, 2]), np.zeros(4, dtype=int)
    roles = roles_of([references, drawn, drawn.copy()], [classes] * 3, references)
    assert len(roles) == 1
    assert roles[0].rows is drawn
