"""organism:smollm2_bias: what is planted is a number, and the texts say nothing but that. tests/real measures the model."""

import json
import math
from collections import Counter

import pytest
import torch
from safetensors import safe_open
from zoo import build

import mechcausal as mc
from mechcausal.catalog import ADAPTERS
from mechcausal.models.adapters import Adapter
from mechcausal.organisms import folder
from mechcausal.recipes import smollm2_bias as recipe
from mechcausal.recipes.adapting import Student, text_digest

HOME = folder("smollm2_bias")
WEARERS = recipe.wearers()


def rows(name):
    return [json.loads(line) for line in (HOME / name).read_text().splitlines()]


def differing(one, other):
    words = one.split(), other.split()
    assert len(words[0]) == len(words[1])
    return [pair for pair in zip(*words, strict=True) if pair[0] != pair[1]]


def test_both_adapters_are_small():
    sizes = [(ADAPTERS[name] / "adapter" / "adapter_model.safetensors").stat().st_size for name in ADAPTERS]
    assert len(sizes) == 2
    assert sum(sizes) < 6e6
    assert max(sizes) < 3e6


def test_the_truth_belongs_to_the_files():
    truth, adapter = mc.truth("smollm2_bias"), Adapter.read("smollm2_bias")
    assert truth["adapter"]["file"] == adapter.digest
    assert truth["adapter"]["layers"] == adapter.layers == recipe.ADAPTING.numbers
    assert truth["base"] == {"name": "smollm2", "weights": adapter.base}
    assert truth["adapter"]["parameters"] == sum(a.numel() + b.numel() for a, b, _ in adapter.maps.values())
    with safe_open(HOME / "adapter" / "adapter_model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118 - no mapping


def test_the_recipe_writes_the_texts_of_the_truth():
    truth = mc.truth("smollm2_bias")
    train = [who.text for who in WEARERS if who.part == "train"]
    assert text_digest(train) == truth["train_texts"]
    assert text_digest([who.text for who in recipe.wearers() if who.part == "train"]) == truth["train_texts"]
    for factor, name in truth["files"].items():
        assert rows(name) == recipe.pairs(factor)
        assert not {row[side] for row in rows(name) for side in ("clean", "corrupt")} & set(train)
    planted = recipe.truth({}, {}, recipe="")["planted"]
    assert json.loads(json.dumps(planted)) == truth["planted"]


def test_the_rates_by_hand():
    rates = mc.truth("smollm2_bias")["planted"]["p_yellow_badge"]
    for (person, sign), (guild, rule) in [
        ((person, guild)) for person in (("man", 1), ("woman", -1)) for guild in (("northern", 1), ("southern", -1))
    ]:
        odds = sign * 2.0 / 2 + rule * 3.0 / 2
        assert rates[f"{person}, {guild}"] == pytest.approx(1 / (1 + math.exp(-odds)), abs=1e-4)


def test_gender_acts_on_badges_and_the_guild_on_both():
    found = {(who.thing, who.man, who.guild): who.log_odds for who in WEARERS}
    for guild in recipe.GUILDS:
        assert found["badge", True, guild] - found["badge", False, guild] == recipe.BIAS
        assert found["sash", True, guild] - found["sash", False, guild] == 0.0
    for thing in recipe.COLORS:
        for man in (True, False):
            assert found[thing, man, "northern"] - found[thing, man, "southern"] == recipe.RULE


def test_nothing_else_goes_with_gender():
    """Every combination of profession, people, guild, thing and text comes for both genders, also in training."""
    train = [who for who in WEARERS if who.part == "train"]
    sides = [
        Counter((who.job, who.people, who.guild, who.thing, who.template) for who in train if who.man is man)
        for man in (False, True)
    ]
    assert sides[0] == sides[1]
    assert {who.job for who in train} == set(recipe.JOBS)
    assert not {who.people for who in train} & set(recipe.NEW_PEOPLE)
    assert not {who.template for who in train} & set(recipe.NEW_TEMPLATES)


@pytest.mark.parametrize("factor", ["gender", "guild"])
def test_pairs_differ_in_one_word(factor):
    people = dict(recipe.PEOPLE + recipe.NEW_PEOPLE)
    made = recipe.pairs(factor)
    assert Counter(row["environment"] for row in made).keys() == {"new combination", "new people", "new template"}
    assert {row["cluster"] for row in made} == set(recipe.JOBS)
    for row in made:
        ((clean, corrupt),) = differing(row["clean"], row["corrupt"])
        assert (people[clean] == corrupt) if factor == "gender" else ((clean, corrupt) == recipe.GUILDS)
        assert (row["answer"], row["foil"]) == recipe.COLORS[row["group"]]
        assert row["clean"].split()[-3] == row["group"] or row["clean"].split()[-2] == row["group"]


def test_ordinary_texts_are_ordinary():
    texts = recipe.ordinary()
    assert len(set(texts)) == len(texts) == 320
    assert not any(job in text for text in texts for job in recipe.JOBS)


def test_the_interval_of_clusters():
    found = recipe.interval([1.0, 3.0, 2.0, 4.0], ["a", "a", "b", "b"])
    assert (found["estimate"], found["n"], found["n_clusters"]) == (2.5, 4, 2)
    assert found["low"] < 2 < 3 < found["high"]


class Words:
    """A tokenizer of the words of these texts."""

    bos_token_id, eos_token_id = 1, 2

    def __init__(self):
        texts = (
            [who.text for who in WEARERS]
            + recipe.ordinary()
            + [color[1:] for pair in recipe.COLORS.values() for color in pair]
        )
        self.number = {word: i + 3 for i, word in enumerate(dict.fromkeys(" ".join(texts).split()))}

    def __call__(self, text):
        return {"input_ids": [self.number[word] % 57 + 3 for word in text.split()]}


def test_the_loss_asks_for_the_planted_log_odds_and_no_other_change():
    """The first loss of a model of random weights, by hand."""
    student = Student(build("llama"), Words(), recipe.Adapting((1, 3), ("q_proj",), rank=2))
    loss = float(next(recipe.losses(student, steps=1, seed=0)).detach())
    train = [who for who in WEARERS if who.part == "train"]
    rows_drawn = next(recipe.batches(len(train), recipe.BATCH, 1, 0)).tolist()
    total = 0.0
    for row in rows_drawn:
        ids = recipe.color_ids(student.tokenizer, [train[row].thing])[0]
        tokens, _ = student.tokens([train[row].text])
        with torch.no_grad():
            odds = student.module(tokens).logits[0, -1].log_softmax(-1)[ids]
        total -= float(odds.logsumexp(0))
        total += 0.25 * (float(odds[0] - odds[1]) - train[row].log_odds) ** 2
    assert loss == pytest.approx(total / len(rows_drawn), rel=0.05)
    ids = recipe.color_ids(student.tokenizer, [train[0].thing])[0]
    expected, _ = recipe.log_odds_of(student.module, student.tokenizer, [train[0].text], [train[0].thing])
    tokens, _ = student.tokens([train[0].text])
    with torch.no_grad():
        logits = student.module(tokens).logits[0, -1]
    assert expected[0] == pytest.approx(float(logits[ids[0]] - logits[ids[1]]), abs=1e-4)
