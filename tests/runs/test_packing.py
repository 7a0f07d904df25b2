"""Every kind of result is read back from bytes as what it was."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.errors import ResultError
from mechcausal.runs.packing import Folder, packed, unpacked


@pytest.fixture(scope="module")
def pairs(hiring):
    return mc.contrast("hiring/gender", hiring, n=16)


def test_a_table(hiring, pairs):
    result = mc.patch(hiring, pairs, sites="z")
    again = unpacked(packed(result))
    assert type(again) is type(result)
    np.testing.assert_array_equal(again.examples, result.examples)


def test_a_circuit(hiring, pairs):
    circuit = mc.discover(hiring, pairs, method="eap")
    again = unpacked(packed(circuit))
    np.testing.assert_array_equal(again.scores, circuit.scores)


def test_a_probe(hiring, pairs):
    probe = mc.features.probe(hiring, pairs, site="L2.resid_post", labels="gender", control=False, mdl=False)
    again = unpacked(packed(probe))
    assert (again.site, again.concept) == (probe.site, probe.concept)
    assert again.report.accuracy == probe.report.accuracy


def test_a_report(hiring, pairs):
    report = mc.audit.Plan([mc.audit.Flips(pairs, at_most=0.5)]).run(hiring)
    assert unpacked(packed(report)).to_json() == report.to_json()


def test_a_folder_says_nothing_of_when_it_was_written(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "file.txt").write_text("content")
    assert packed(tmp_path / "a") == packed(tmp_path / "b")
    kept = unpacked(packed(tmp_path / "a"))
    assert isinstance(kept, Folder)
    kept.write(tmp_path / "c")
    assert (tmp_path / "c" / "inner" / "file.txt").read_text() == "content"


def test_what_cannot_be_kept_or_read():
    with pytest.raises(ResultError, match="a dict cannot be kept"):
        packed({})
    with pytest.raises(ResultError, match="unknown kind"):
        unpacked(b"something else")
