"""The report of a run: one page that needs nothing else, and says what is missing."""

from runs.trials import experiment

import mechcausal as mc
from mechcausal.runs.page import page_of, write_page


def test_the_page_has_every_step_and_needs_nothing(finished, tmp_path):
    path = write_page(finished, tmp_path / "report.html")
    text = path.read_text()
    for name in finished.plan.steps:
        assert f'id="{name}"' in text
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "L1.z.H2" in text
    assert "Skipped: an earlier step left nothing to take." in text


def test_what_is_missing_is_said(tmp_path):
    run = experiment().run(tmp_path / "r", quiet=True)
    min((run.folder / "rows").glob("*.parquet")).unlink()
    text = page_of(mc.Run(run.folder))
    assert "of 320" in text
    assert "is not done" in text


def test_texts_are_escaped(tmp_path):
    run = experiment(question="<b>bold?</b>").run(tmp_path / "r", quiet=True)
    assert "<b>bold?</b>" not in page_of(run)
