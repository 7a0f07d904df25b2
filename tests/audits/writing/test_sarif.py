import json

from audited import report

from mechcausal.audits.writing.sarif import report_sarif

KINDS = {"notApplicable", "pass", "fail", "review", "open", "informational"}


def test_it_is_a_log_of_sarif():
    log = json.loads(report_sarif(report()))
    assert log["version"] == "2.1.0"
    run = log["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert all(rule["name"].isalnum() and rule["name"][0].isupper() for rule in run["tool"]["driver"]["rules"])
    for result in run["results"]:
        assert result["kind"] in KINDS
        assert rules[result["ruleIndex"]] == result["ruleId"]
        # Where the kind is not "fail", the standard demands the level "none".
        assert result["level"] == ("error" if result["kind"] == "fail" else "none")
        assert result["message"]["text"]
        assert len(result["partialFingerprints"]["question/v1"]) == 32
    assert [result["kind"] for result in run["results"]] == [
        "fail",
        "pass",
        "open",
        "informational",
        "notApplicable",
        "open",
    ]
    assert run["invocations"][0]["executionSuccessful"] is False
    assert len(run["invocations"][0]["toolExecutionNotifications"]) == 1


def test_no_example_leaves_by_it():
    assert '"log_odds"' not in report_sarif(report())
