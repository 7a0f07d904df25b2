import numpy as np
import pytest
import torch

from mechcausal.address import Selection, Site
from mechcausal.errors import ResultError
from mechcausal.probes import KINDS, Probe, Report, Settings, cross_validate, load
from mechcausal.probes.kinds import fit


def made(kind, classes=2):
    draw = np.random.default_rng(0)
    y = draw.integers(0, classes, 120)
    x = draw.normal(size=(120, 6)) + draw.normal(size=(classes, 6))[y]
    held = cross_validate(kind, x, y)
    probe = Probe(
        "thing", Site.parse("L2.resid_post"), Selection.parse("@end"), "mean", kind,
        tuple(f"c{i}" for i in range(classes)), fit(kind, x, y), Report.of(held, p=0.05, permutations=19),
        Settings(C=float("inf")), {"n": 120},
    )  # fmt: skip
    return probe, torch.from_numpy(x)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_is_what_was_saved(kind, classes, tmp_path):
    probe, x = made(kind, classes)
    again = load(probe.save(tmp_path / "probe.safetensors"))
    assert torch.equal(again.scores(x), probe.scores(x))
    assert repr(again) == repr(probe)
    assert again.report.accuracy == probe.report.accuracy
    assert again.settings == probe.settings
    assert again.fitted == probe.fitted
    if kind == "sparse":
        assert again.chosen == probe.chosen


def test_what_is_no_probe_is_refused(tmp_path):
    probe, _ = made("logistic")
    with pytest.raises(ResultError, match=r"save to probe.safetensors"):
        probe.save(tmp_path / "probe.pkl")
    with pytest.raises(ResultError, match="there is no file"):
        load(tmp_path / "nothing.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ResultError, match="not a mechcausal probe"):
        load(tmp_path / "other.safetensors")
