"""The pieces of still pictures."""

from xml.etree import ElementTree

import numpy as np
import pytest

from mechcausal.results import svg


@pytest.mark.parametrize("span", [1e-6, 0.03, 1.0, 7.0, 42.0, 999.0, 3e5])
@pytest.mark.parametrize("start", [-3.2, 0.0, 1.7])
def test_axes_have_a_few_round_ticks_within_their_ends(start, span):
    low, high, ticks = svg.axis([start * span, start * span + span])
    assert low <= start * span
    assert high >= start * span + span
    assert 3 <= len(ticks) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-5)
    assert min(abs(steps[0] / 10.0 ** np.floor(np.log10(steps[0]) + 1e-9) - one) for one in (1, 2, 2.5, 5, 10)) < 1e-4


def test_an_axis_of_one_value_and_of_none():
    assert svg.axis([2.0, 2.0])[:2] == pytest.approx((1.48, 2.52), abs=0.03)
    assert svg.axis([float("nan")])[0] < 0 < svg.axis([float("nan")])[1]
    assert svg.axis([0.0, 1.0], zero=False)[:2] == (0, 1)


def test_a_page_is_a_picture_with_words():
    page = ElementTree.fromstring(svg.page("a & b", "title <1>", 10, 20, [svg.text(1, 2, "<x>", "end")]))
    assert page.attrib["aria-label"] == "a & b"
    assert [node.text for node in page.findall("{*}text")] == ["title <1>", "<x>"]
    assert float(page.attrib["width"]) > svg.LETTER * len("title <1>")  # wide enough for its title


def test_labels_and_numbers():
    assert svg.cut("a" * svg.LONGEST) == "a" * svg.LONGEST
    assert len(svg.cut("a" * 100)) == svg.LONGEST
    assert [svg.short(value) for value in (0.25, 1e6, -3.0)] == ["0.25", "1e+06", "-3"]
    names = svg.legend([("first", "#111"), ("second", "#222")], 5, 10)
    assert names.index("first") < names.index("second")
    assert names.count("<rect") == 2
