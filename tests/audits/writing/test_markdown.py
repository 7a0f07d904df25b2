import json

from audited import report

from mechcausal.audits.writing.markdown import card_md, report_md


def test_tables_have_one_line_for_each_finding():
    text = report_md(report())
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert (
        sum(
            line.startswith(("| fail", "| pass", "| inconclusive", "| measured", "| not-run", "| error"))
            for line in rows
        )
        == 6
    )
    assert all(line.replace("\\|", "").count("|") in (4, 5) for line in rows)


def test_text_of_others_is_no_markup():
    text = report_md(report())
    assert "<script" not in text
    assert "\\[a\\](b)" in text


def test_a_model_card_has_a_block_that_a_hub_reads():
    text = card_md(report())
    head = text.split("---")[1]
    line = next(line for line in head.splitlines() if line.startswith("model-index: "))
    index = json.loads(line.removeprefix("model-index: "))
    assert [result["metrics"][0]["value"] for result in index[0]["results"]] == [0.75, 0.025, 0.5, 0.5]
    assert "FAIR-1 (fail)" in text
