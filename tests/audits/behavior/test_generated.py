import numpy as np
import pytest
from biographies import GENDER, PRONOUN_HEAD, ROYAL, model, odds, population, royals

from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.audits.journal import Rows
from mechcausal.errors import ArgumentError, UnsupportedError


@pytest.fixture(scope="module")
def people():
    whole, chosen = population(), np.arange(0, 200, 4)
    return type(whole)(**{name: column[chosen] for name, column in vars(whole).items()})


def written(people, share=1.0):
    """Return what the model writes in closed form: the word whose logit is largest."""
    g, total = 2 * people.he.astype(int) - 1, odds(people, share)
    logits = np.stack([total / 2, -total / 2, share * ROYAL / 2 * g, -share * ROYAL / 2 * g])
    return np.array(["senior", "junior", "king", "queen"])[logits.argmax(0)]


def desk_of(question, **more):
    return Desk(model(), {"data": question.data}, networks=0, quiet=True, **more)


def test_the_share_of_answers_with_a_word_is_that_of_the_formula(people):
    question = audit.Generated(people.prompts(), words=["Senior", "boss"], tokens=1)
    answer = question.answer(desk_of(question))
    senior = written(people) == "senior"
    assert answer.units == tuple(senior.astype(float))
    assert [row["prompt_answer"] for row in answer.examples] == written(people).tolist()
    assert 0 < senior.mean() < 1
    assert answer.controls[2].estimate.value == 0  # the word stands in no prompt


def test_the_difference_between_the_sides_of_pairs(people):
    he, she = people.changed(he=np.ones(50, bool)), people.changed(he=np.zeros(50, bool))
    question = audit.Generated(he.pairs(she, "gender"), words=["senior"], tokens=1, at_most=0.2)
    answer = question.answer(desk_of(question))
    expected = (written(he) == "senior").mean() - (written(she) == "senior").mean()
    assert answer.estimate.value == pytest.approx(expected)
    assert expected > 0.5
    differs = audit.Generated(he.pairs(she, "gender"), outcome="differs", tokens=1)
    answer = differs.answer(desk_of(differs))
    assert answer.estimate.value == np.mean(written(he) != written(she)) == 1


def test_under_edits_and_rewrites_it_writes_something_else(people):
    pairs = people.pairs(people.changed(he=~people.he), "gender")
    plan = audit.Plan([
        audit.Generated(pairs, outcome="differs", tokens=1, id="differs"),
        audit.Generated(people.prompts(), words=["senior"], tokens=1, id="senior"),
    ])  # fmt: skip
    edits = [
        audit.Ablate(sites=PRONOUN_HEAD, to="zero", name="ablate"), audit.Delete(words=["he", "she"], fill="please"),
        audit.MeanPath(sender=PRONOUN_HEAD, receiver="logits", data=pairs),
    ]  # fmt: skip
    swept = audit.sweep(plan, edits, model(), quiet=True)
    assert swept.answer("none", "differs").estimate.value == 1
    for edit in ("ablate", "delete"):
        assert swept.answer(edit, "differs").estimate.value == 0
        expected = written(people, 0) == "senior"
        assert swept.answer(edit, "senior").units == tuple(expected.astype(float))
    assert "text is not written with a path ablated" in swept.errors["mean_path", "differs"]


def test_nothing_to_find_does_not_fail(people):
    same = people.pairs(people.changed(which=(people.which + 1) % 3), "synonyms")
    plan = audit.Plan([
        audit.Generated(same, words=["senior"], tokens=1, at_most=0.05, at_least=-0.05),
        audit.Generated(same, outcome="differs", tokens=1, at_most=0.05),
    ], networks=4)  # fmt: skip
    report = plan.run(model(), quiet=True)
    assert [finding.status for finding in report] == ["pass", "pass"]
    assert report.findings[0].estimate.value == 0


def test_what_random_networks_write_is_a_control(people):
    question = audit.Generated(royals(), words=["king"], tokens=1)
    answer = question.answer(Desk(model(), {"data": question.data}, networks=4, quiet=True))
    assert answer.estimate.value == 0.25
    control = answer.controls[1]
    assert control.guards
    assert control.estimate.value < 0.25


def test_texts_are_kept_as_they_come(people, tmp_path, monkeypatch):
    question = audit.Generated(people.prompts(), words=["senior"], tokens=1)
    rows = Rows.at(tmp_path / "rows.jsonl")
    first = question.answer(desk_of(question, rows=rows))
    again = desk_of(question, rows=Rows.at(tmp_path / "rows.jsonl"))
    monkeypatch.setattr("mechcausal.audits.behavior.writing.Generating", None)  # nothing is written again
    assert question.answer(again).units == first.units


def test_samples_are_averaged(people):
    question = audit.Generated(people.prompts(), words=["senior"], tokens=1, temperature=1.0, samples=8)
    answer = question.answer(desk_of(question))
    assert set(answer.units) - {0.0, 1.0}
    g = 2 * people.he.astype(int) - 1
    total = odds(people)
    weights = np.exp(np.stack([total / 2, -total / 2, ROYAL / 2 * g, -ROYAL / 2 * g]))
    assert np.mean(answer.units) == pytest.approx((weights[0] / weights.sum(0)).mean(), abs=0.08)


def test_wrong_questions(people):
    with pytest.raises(ArgumentError, match="needs the words to look for"):
        audit.Generated(people.prompts())
    with pytest.raises(ArgumentError, match="out of range"):
        audit.Generated(people.prompts(), outcome="differs", at_most=-0.5)
    question = audit.Generated(people.prompts(), outcome="differs")
    assert "only the answers of pairs" in next(question.problems({"data": people.prompts()}))
    assert not list(audit.Generated(people.prompts(), words=["a"]).problems({"data": people.prompts()}))
    desk = Desk(model(), {"data": people.prompts()}, runner=lambda *_: None)
    with pytest.raises(UnsupportedError, match="path ablated"):
        audit.Generated(people.prompts(), words=["a"]).answer(desk)


def test_a_plan_is_written_and_read_back(tmp_path):
    text = (
        'model = "organism:hiring"\n[data.people]\ncontrast = "hiring/gender"\nn = 12\n[[question]]\nask = "generated"\n'
        'data = "people"\nwords = ["yes", "no"]\ntokens = 1\nat_most = 0.5\n'
    )
    (tmp_path / "audit.toml").write_text(text)
    plan = audit.read(tmp_path / "audit.toml")
    (tmp_path / "again.toml").write_text(plan.to_toml())
    assert audit.read(tmp_path / "again.toml").hash == plan.hash
    assert GENDER > ROYAL
