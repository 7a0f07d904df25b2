import pytest

from mechcausal import audit
from mechcausal.audits.plan import PlanError
from mechcausal.audits.plans import SHIPPED
from mechcausal.audits.reading import plan_of

TABLE = {
    "title": "Hiring", "model": "organism:by_hand", "networks": 3, "choices": ["gender may not matter"],
    "data": {"people": {"contrast": "by_hand/gender", "n": 8}},
    "question": [{"ask": "flips", "data": "people", "at_most": 0.05}, {"ask": "flips", "data": "people", "id": "mine"}],
    "claim": [{"text": "no gender", "questions": ["FAIR-1"]}],
}  # fmt: skip


def test_everything_wrong_is_found_at_once():
    wrong = {
        "titel": "x", "data": {"people": {"contrst": "ioi"}, "more": 3},
        "question": [{"ask": "flip", "data": "people"}, {"ask": "flips", "data": "x", "at_most": 7}, {"data": "x"}],
    }  # fmt: skip
    with pytest.raises(PlanError) as caught:
        plan_of(wrong, where="audit.toml")
    problems = caught.value.problems
    assert len(problems) == 6
    for words in ("did you mean 'title'", "did you mean 'contrast'", "is a table", "question 1 (flip)", "out of range",
                  "names its question"):  # fmt: skip
        assert any(words in problem for problem in problems), words
    assert str(caught.value).startswith("audit.toml: ")
    assert "5 more" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"question": []}, r"no \[\[question\]\]"),
        ({"alpha": 2}, "alpha"),
        (
            {"question": [{"ask": "flips", "data": "a", "id": "x"}, {"ask": "flips", "data": "a", "id": "x"}]},
            "two questions",
        ),
    ],
)
def test_a_wrong_plan_is_refused(change, words):
    with pytest.raises(PlanError, match=words):
        plan_of({**TABLE, **change})


def test_what_is_no_toml(tmp_path):
    (tmp_path / "a.toml").write_text("a = ")
    with pytest.raises(PlanError, match="is not TOML"):
        audit.read(tmp_path / "a.toml")


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_plan_that_ships_is_read_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_path = audit.read(SHIPPED[name])
    assert audit.read(name).hash == audit.read(f"{name}.toml").hash == by_path.hash
    assert audit.read(name).folder == by_path.folder
    with pytest.raises(PlanError, match="there is no file"):
        audit.read(f"./folder/{name}.toml")
