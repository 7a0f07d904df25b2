import json
from pathlib import Path

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits import writing
from mechcausal.errors import ResultError


@pytest.fixture(scope="module")
def report(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=8)
    claims = ({"text": "no gender", "questions": ["FAIR-1"]}, {"text": "nothing else", "questions": ["FAIR-1", "FAIR-2"]},
              {"text": "untested", "questions": []})  # fmt: skip
    questions = [audit.Flips(pairs, at_most=0.0), audit.Flips(pairs, at_least=0.0), audit.Flips(pairs)]
    return audit.Plan(questions, networks=0, claims=claims).run(by_hand, quiet=True)


def test_a_report_comes_back_from_its_folder(report, tmp_path):
    report.save(tmp_path)
    for path in (tmp_path, tmp_path / "audit.json"):
        again = audit.Report.load(path)
        assert again.to_json() == report.to_json()
        assert again.frame().to_csv() == report.frame().to_csv()
    assert json.loads((tmp_path / "audit.json").read_text())["version"] == 1


def test_a_report_that_was_changed_is_refused(report, tmp_path):
    file = report.save(tmp_path) / "audit.json"
    content, draw = file.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        changed = bytearray(content)
        changed[draw.integers(len(content))] ^= 1 << draw.integers(8)
        file.write_bytes(changed)
        with pytest.raises(ResultError, match="damaged"):
            audit.Report.load(tmp_path)
    file.write_bytes(content.replace(b'"status": "fail"', b'"status": "pass"'))
    with pytest.raises(ResultError, match="changed by hand"):
        audit.Report.load(tmp_path)
    file.write_bytes(content)
    assert audit.Report.load(tmp_path).to_json() == report.to_json()


def test_the_file_is_what_the_schema_says(report, tmp_path):
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    schema = json.loads((Path(writing.__file__).parent / "audit.schema.json").read_text())
    data = json.loads((report.save(tmp_path) / "audit.json").read_text())
    assert set(data["stats"]) == {"seconds", "checksum"}
    assert not list(validator(schema).iter_errors(data))
    data["stats"]["checksum"] = "none"
    assert [error.json_path for error in validator(schema).iter_errors(data)] == ["$.stats.checksum"]


def test_the_frame_has_a_row_for_each_finding(report):
    frame = report.frame()
    assert frame["id"].tolist() == ["FAIR-1", "FAIR-2", "FAIR-3"]
    assert frame["status"].tolist() == ["fail", "pass", "measured"]
    assert "FAIR-2" in report._repr_html_()
    assert len(report) == 3
    assert repr(report).count("\n") == 3


def test_claims_are_supported_refuted_or_not_tested(report):
    verdicts = {row["claim"]: row["verdict"] for row in report.ledger}
    assert verdicts["no gender"] == "refuted"
    assert verdicts["nothing else"] == "refuted"
    assert verdicts["untested"] == "not tested"
    assert sorted(verdicts.values()).count("supported") == 1


def test_exit_codes(report):
    assert report.exit_code == 1
    assert audit.Report("t", {}, report.findings[1:], report.run).exit_code == 0


def test_what_is_no_report(tmp_path):
    with pytest.raises(ResultError, match="there is no report"):
        audit.Report.load(tmp_path)
    for text in ("{", "[]", '{"version": 7}', '{"version": 1}'):
        (tmp_path / "audit.json").write_text(text)
        with pytest.raises(ResultError):
            audit.Report.load(tmp_path)


def test_a_finding_that_is_not_there(report):
    with pytest.raises(ResultError, match="did you mean 'FAIR-1'"):
        report["FAIR-11"]


def test_examples_lead_back_to_the_texts(report):
    examples = report["FAIR-1"].examples()
    assert len(examples) == 8
    assert {"clean", "corrupt", "flips"} <= set(examples)
