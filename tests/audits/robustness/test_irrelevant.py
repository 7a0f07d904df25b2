"""Words that must not matter: organism:bios never reads the city, and always the pronoun."""

from __future__ import annotations

import pytest
import torch

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.reading import plan_of
from mechcausal.data.tasks.bios import DUTIES, TASK
from mechcausal.interventions.specs import Edit, Zero


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


@pytest.fixture(scope="module")
def prompts(bios):
    return TASK.prompts(bios, 120, environment="broad")


def ask(model, prompts, edits=(), **fields):
    question = audit.Irrelevant(prompts, against="all", **fields)
    return question.answer(audit.Desk(model, {"data": prompts}, edits=edits, networks=0, quiet=True))


def test_the_city_does_not_matter_and_the_pronoun_does(bios, prompts):
    still = ask(bios, prompts, positions=("city",))
    assert still.estimate.value == 0
    moved = ask(bios, prompts, positions=("city", "pronoun"))
    # Two words of six each: unless both agree, the pronoun decides.
    assert moved.estimate.value == pytest.approx(7 / 9, abs=0.12)
    assert "exchange pronoun" in moved.says
    assert moved.controls[0].estimate.value < moved.estimate.value


def test_attention_is_that_of_the_model(bios, prompts):
    table = ask(bios, prompts, positions=("city",)).table.set_index("what")
    with torch.no_grad():
        _, cache = bios.run_with_cache(prompts.tokens)
    for name in ("pronoun", "city"):
        at = int(prompts.positions[name][0])
        read = int(prompts.read_columns[0])
        mass = max(
            float(cache[f"blocks.{layer}.attn.hook_pattern"][:, :, read, at].mean(0).max()) for layer in range(3)
        )
        assert table.loc[f"position {name}", "attention"] == pytest.approx(mass, abs=1e-5)


def test_attention_without_an_effect(bios, prompts):
    """A head that attends and writes nothing (#21): with its output at zero the word is attended to as before, and is idle."""
    edits = tuple(Edit.of(f"L{layer}.z.H{head}", Zero()) for layer in range(3) for head in range(4))
    rows = ask(bios, prompts, edits=edits, positions=("pronoun",)).table.set_index("what")
    assert rows.loc["position pronoun", "attention"] > 0.05
    assert rows.loc["position pronoun", "absolute_shift"] < 1e-5
    assert rows.loc["position pronoun", "flips"] == 0


def test_words_are_put_in(bios):
    """What is put in stands in the text once more; a third duty moves what the duties decide, a name of a city need not."""
    texts = [f"{who} from oslo works at a clinic , {duty} projects <job>" for who in ("she", "he") for duty in DUTIES]
    prompts = mc.PromptSet.from_text(bios, texts, answer="surgeon", foil="nurse")
    question = audit.Irrelevant(prompts, words=("lyon",))
    answer = question.answer(audit.Desk(bios, {"data": prompts}, networks=0, quiet=True))
    assert next(iter(answer.table["what"])) == "put in a word"
    assert len(answer.examples) == len(texts)
    for example in answer.examples:
        after = example["after"].split()
        assert after.count("lyon") == 1
        assert " ".join(word for word in after if word not in ("lyon", "<bos>")) == example["before"]


@pytest.mark.slow
def test_a_finding_fails_and_a_network_that_learned_nothing_raises_no_alarm(bios, prompts):
    asked = audit.Plan([audit.Irrelevant(prompts, positions=("pronoun",), against="all", at_most=0.1)], networks=4)
    assert asked.run(bios, quiet=True).findings[0].status == "fail"
    calm = audit.Plan([audit.Irrelevant(prompts, positions=("city",), against="all", at_most=0.1)], networks=4)
    assert calm.run(bios, quiet=True).findings[0].status == "pass"
    from mechcausal.models.redrawn import redrawing

    with redrawing(bios) as draw:
        draw(77)
        answer = asked.questions[0].answer(audit.Desk(bios, {"data": prompts}, networks=6, seed=5, quiet=True))
        assert answer.estimate.at_most(0.1) > 0.05 or answer.controls[1].p > 0.05


def test_what_is_wrong_is_said_before_the_run(bios, prompts):
    def problems(**fields):
        return audit.Plan([audit.Irrelevant(prompts, against="all", **fields)]).problems(bios)

    assert "names nothing irrelevant" in problems()[0]
    assert "no position 'town'" in problems(positions=("town",))[0]
    assert "the same word stands at 'job'" in problems(positions=("job",))[0]
    assert "not one token" in problems(words=("zebra",))[0]
    plan = plan_of(
        {"data": {"x": {"task": "bios"}}, "question": [{"ask": "irrelevant", "data": "x", "positions": ["city"]}]}
    )
    assert plan.questions[0].positions == ("city",)
