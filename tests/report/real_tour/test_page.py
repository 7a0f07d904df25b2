"""The page of the tour."""

import pytest
from real_tour_findings import findings

from mechcausal.report.real_tour.page import page_of

pytestmark = pytest.mark.slow


def test_the_page_has_its_pictures_and_tables():
    found = findings()
    text = page_of(found.model, found.numbers, found.sweeps).render()
    assert text.count("<svg") >= 8
    assert found.numbers["indirect_objects"]["carriers"][0]["site"] in text
    assert "What it costs on neutral text" in text
