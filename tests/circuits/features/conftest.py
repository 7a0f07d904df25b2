"""What tests of circuits share."""

import pytest

from mechcausal.models.attached import detach
from mechcausal.models.binding import attach


@pytest.fixture
def bind():
    """Attach dictionaries for the length of one test, because models are shared between tests."""
    made = []

    def make(model, dictionary, site, name, **options):
        made.append((model, name))
        return attach(model, dictionary, site, name=name, **options)

    yield make
    for model, name in made:
        detach(model, name)
