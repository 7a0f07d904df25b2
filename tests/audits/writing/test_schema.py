"""Every report fits the schema that ships."""

import json
from pathlib import Path

import pytest
from audited import report

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits import writing

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = json.loads((Path(writing.__file__).parent / "audit.schema.json").read_text())


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_reports_fit_it(by_hand):
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(report().to_json())
    pairs = mc.contrast("by_hand/gender", by_hand, n=8)
    validator.validate(audit.Plan([audit.Flips(pairs, at_most=0.5)], networks=2).run(by_hand, quiet=True).to_json())


def test_what_is_missing_is_found():
    data = report().to_json()
    del data["results"]["findings"][0]["estimand"]
    with pytest.raises(jsonschema.ValidationError, match="estimand"):
        jsonschema.validate(data, SCHEMA)
