"""The fixture that counts what is run."""

import pytest
from scrubbing_trees import N_LAYERS, both

from mechcausal.models import bridge
from mechcausal.models.replay.twin import Twin


@pytest.fixture
def token_layers(monkeypatch):
    """Count the tokens that layers compute (the unit vectors by which readouts are measured are no prompts)."""
    both()  # before anything is counted
    counted = []
    run, record, layer = bridge.run, Twin.record, Twin.layer

    def whole(model, tokens, mask):
        counted.append(tokens.numel() * N_LAYERS)
        return run(model, tokens, mask)

    def unedited(twin, batch, read=None):
        counted.append(batch.tokens.numel() * N_LAYERS)
        return record(twin, batch, read)

    def suffix(twin, base, number, hidden, rows, start):
        counted.append(hidden.shape[0] * hidden.shape[1])
        return layer(twin, base, number, hidden, rows, start)

    monkeypatch.setattr(bridge, "run", whole)
    monkeypatch.setattr(Twin, "record", unedited)
    monkeypatch.setattr(Twin, "layer", suffix)
    return counted
