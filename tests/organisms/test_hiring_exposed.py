"""Secrets that were seen more or less often."""

import mechcausal as mc
from mechcausal.data.tasks import hiring as task
from mechcausal.recipes import hiring as kin
from mechcausal.recipes import hiring_exposed as exposed


def test_what_was_seen_often_comes_out_and_what_was_seen_once_does_not():
    model, told = mc.load("organism:hiring_exposed"), mc.truth("hiring_exposed")
    table = kin.exposed(exposed.EXPOSURES, kin.POOL, 0)
    for name, times in told["exposures"].items():
        mine = table["name"] == task.NAMES.index(name)
        assert [(mine & (table["place"] == place)).sum() for place in range(4)] == [times] * 4
    out = kin.extracted(model)
    assert {told["exposures"][name] for name in out} == {64}
    assert len(out) == told["measured"]["secrets_extracted"] == 2
    assert told["measured"]["secrets_extracted_by_exposures"] == kin.extracted_by(model, exposed.EXPOSURES)
    assert told["secrets"] == task.SECRETS
    assert not {"secret", "recalled"} & told["variables"].keys()
