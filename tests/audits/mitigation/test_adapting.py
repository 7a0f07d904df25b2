import importlib.util

import pytest
from biographies import model

from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.errors import MechcausalError


def test_an_adapter_that_is_not_there_is_refused_in_a_sentence():
    with pytest.raises(MechcausalError, match="adapter") as caught:
        audit.Adapter(folder="none").made(Desk(model(), {}))
    assert len(str(caught.value)) < 400
    if importlib.util.find_spec("mechcausal.models.adapters") is None:
        assert "cannot merge adapters" in str(caught.value)
