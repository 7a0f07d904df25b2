from dataclasses import replace

import browser
import pytest
from reading_html import Linked

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.writing.pages import comparison_html, sweep_html


@pytest.fixture(scope="module")
def plan(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=16)
    return audit.Plan([audit.Flips(pairs, at_most=0.5)], title="<b>", networks=0)


def closed(text):
    reader = Linked()
    reader.feed(text)
    reader.close()
    assert not reader.open
    assert "script" not in reader.seen
    assert "<b>:" not in text
    if browser.CHROMIUM is not None:
        happened = browser.opened(text)
        assert happened.requests == []
        assert happened.scripts == 0
        assert happened.width[0] <= happened.width[1]


def test_the_page_of_a_sweep_shows_every_edit_and_why_one_was_not_measured(hiring, plan):
    edits = [audit.Ablate(sites="L1.z.H2", name="<one>"), audit.Delete(at="@gender", fill="they")]
    text = sweep_html(audit.sweep(plan, edits, hiring, quiet=True))
    closed(text)
    assert "&lt;one&gt;" in text
    assert "they" in text.split("<table>")[-1]
    assert "There is no single score" in text


def test_the_page_of_a_comparison_says_what_moved(hiring, plan):
    before = plan.run(hiring, quiet=True)
    text = comparison_html(audit.compare(before, plan.run(mc.load("organism:hiring_natural"), quiet=True)))
    closed(text)
    assert "FAIR-1" in text
    assert "organism:hiring_natural" in text


def test_the_page_of_a_sweep_says_what_is_not_paired(hiring, plan):
    swept = audit.sweep(plan, [audit.Ablate(sites="L1.z.H2")], hiring, quiet=True)
    assert "Not paired" not in sweep_html(swept)
    bare = {key: replace(answer, units=()) if key[1] == "FAIR-1" else answer for key, answer in swept.answers.items()}
    assert "not the same units: FAIR-1." in sweep_html(replace(swept, answers=bare))
