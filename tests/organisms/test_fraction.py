"""organism:fraction is its arithmetic: told in plain Python, run in plain numpy, and once more through the package."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from plain import Plain
from safetensors.torch import load_file

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal import Hypothesis
from mechcausal.data.tasks import fraction as task
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.models.abilities import abilities
from mechcausal.models.hooked import Source, forward
from mechcausal.organisms import folder
from mechcausal.recipes import fraction as recipe
from mechcausal.recipes.recipe import measured

END = 5
PLACE = {f"hit_{place}": ("L0.mlp_out", place, None) for place in (1, 2, 3, 4)}
PLACE |= {f"seen_{place}": ("L1.k", place, 0) for place in (1, 2, 3, 4)}
PLACE |= {"share": ("L1.z", END, 0), "word": ("L1.mlp_out", END, None)}
TEXTS = [" ".join([*row, "ask"]) for row in itertools.product("-xab", repeat=4)]


@pytest.fixture(scope="module")
def plain():
    return Plain(folder("fraction") / "weights")


@pytest.fixture(scope="module")
def fraction():
    return mc.load("organism:fraction")


def share(text, **forced):
    """Return the share when some variables are not what the text makes them."""
    words = text.split()[:4]
    hit = [forced.get(f"hit_{i}", word == "x") for i, word in enumerate(words, 1)]
    seen = [forced.get(f"seen_{i}", word != "-") for i, word in enumerate(words, 1)]
    counted = [h for h, s in zip(hit, seen, strict=True) if s]
    return forced.get("share", Fraction(sum(counted), len(counted)) if counted else Fraction(0))


def answer(text, **forced):
    return forced.get("word", str(share(text, **forced)))


def value(text, variable):
    """Say what the text makes of a variable."""
    name, _, place = variable.partition("_")
    word = text.split()[int(place) - 1] if place else None
    return {"hit": word == "x", "seen": word != "-", "share": share(text), "word": str(share(text))}[name]


def some(n, seed):
    return [TEXTS[i] for i in np.random.default_rng(seed).integers(len(TEXTS), size=n)]


def swapped(plain, texts, sources):
    """Run the texts with each variable's activation taken from its own source texts, at the rows in its mask."""
    taken = {}
    for variable, (others, mask) in sources.items():
        name, at, head = PLACE[variable]
        seen = plain.run(plain.tokens(others)[0])[1][name][:, at]
        taken.setdefault(name, []).append((seen if head is None else seen[:, head], at, head, mask))

    def swap(name, activation):
        activation = activation.copy()
        for new, at, head, mask in taken.get(name, ()):
            part = activation[:, at] if head is None else activation[:, at, head]
            part[mask] = new[mask]
        return activation

    tokens, last = plain.tokens(texts)
    logits, seen = plain.run(tokens, swap)
    return plain.answers(logits, last), seen["L1.z"][:, END, 0, 0]


@pytest.mark.slow
def test_what_ships_is_the_recipe():
    shipped, made = load_file(folder("fraction") / "weights" / "model.safetensors"), recipe.PROGRAM.weights()
    assert shipped.keys() == made.keys()
    assert all(torch.equal(shipped[name], made[name]) for name in made)
    assert json.loads((folder("fraction") / "weights" / "config.json").read_text()) == recipe.PROGRAM.config
    found = measured(folder("fraction") / "weights", recipe.truth())
    assert mc.truth("fraction") == json.loads(json.dumps(recipe.truth() | {"measured": found}))
    assert found["accuracy"] == 1
    assert set(found["iia_on_changed_answers"].values()) == {1}


def test_every_text_is_answered_and_its_share_is_in_the_head(plain):
    found, head = swapped(plain, TEXTS, {})
    assert found == [answer(text) for text in TEXTS]
    assert head.tolist() == pytest.approx([float(share(text)) for text in TEXTS], abs=1e-12)


@pytest.mark.parametrize("variable", PLACE)
def test_a_variable_taken_from_another_text_changes_the_answer_as_in_the_arithmetic(plain, variable):
    texts, others = some(1000, 1), some(1000, 2)
    found, _ = swapped(plain, texts, {variable: (others, np.ones(1000, dtype=bool))})
    expected = [answer(text, **{variable: value(other, variable)}) for text, other in zip(texts, others, strict=True)]
    assert found == expected
    assert sum(new != answer(text) for new, text in zip(expected, texts, strict=True)) > 100


def test_any_set_of_variables_each_from_a_text_of_its_own(plain):
    n, draw = 1500, np.random.default_rng(4)
    table = task.TASK.scm.sample(n, 3)
    texts = task.sentences(table)
    sources, forced = {}, [{} for _ in texts]
    for i, variable in enumerate(PLACE):
        other = task.TASK.scm.sample(n, 5 + i)
        others = task.sentences(other)
        mask = draw.random(n) < (0.1 if variable in ("share", "word") else 0.4)
        sources[variable] = (others, mask)
        for row in np.flatnonzero(mask):
            forced[row][variable] = value(others[row], variable)
        # Causes come first in PLACE, so what is set later stays set.
        table = task.TASK.scm.counterfactual(table, **{variable: np.where(mask, other[variable], table[variable])})
    expected = [answer(text, **changes) for text, changes in zip(texts, forced, strict=True)]
    assert swapped(plain, texts, sources)[0] == expected
    assert [task.ANSWERS[i] for i in table["answer"]] == expected


@pytest.mark.parametrize("kind", ["variables", "subspaces"])
@pytest.mark.parametrize("variable", ["hit_1", "hit_4", "seen_1", "seen_3", "share", "word"])
def test_the_stated_places_carry_the_variables(fraction, kind, variable):
    told = mc.truth("fraction")
    part = Place.parse(told["variables"][variable]["parts"][0] if kind == "variables" else told["subspaces"][variable])
    base, other = (task.TASK.prompts(fraction, 400, seed=seed) for seed in (1, 2))
    values = forward(fraction, other, read=[part.site.whole]).read[part.site.whole]
    source = Source(values, basis=part.columns(values))
    logits = forward(fraction, base, [Edit(part.site, Patch(), part.at)], sources=[source]).logits[:, -1]
    expected = [
        answer(text, **{variable: value(source, variable)})
        for text, source in zip(base.texts, other.texts, strict=True)
    ]
    assert [task.VOCABULARY[i] for i in logits.argmax(-1)] == expected
    assert sum(a != b for a, b in zip(expected, base.labels, strict=True)) > 40


def test_nothing_else_matters_at_all(plain):
    """All heads and MLPs but the stated ones, at all positions, and the stated ones elsewhere, taken from other texts."""
    tokens, _ = plain.tokens(TEXTS)
    logits, _ = plain.run(tokens)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    seen = plain.run(tokens[order])[1]

    def swap(name, activation):
        if name.split(".")[1] not in ("z", "mlp_out"):
            return activation
        new = seen[name].copy()
        for site, at, head in PLACE.values():
            if site == name:
                where = (slice(None), at) if head is None else (slice(None), at, head)
                new[where] = activation[where]
        return new

    mixed = plain.run(tokens, swap)[0]
    np.testing.assert_array_equal(mixed[:, END], logits[:, END])


def test_effects_of_other_nodes_are_exactly_zero(fraction):
    pairs = mc.contrast("fraction/share", fraction, n=60)
    circuit = set(mc.truth("fraction")["circuit"])
    frame = mc.patch(fraction, pairs, sites=["z", "mlp_out"], at="all").frame
    others = frame[~frame["site"].isin(circuit)]
    assert set(frame["site"]) > circuit
    assert len(others) == 2 * 2 + 2 - 3
    np.testing.assert_array_equal(others["change"], 0)
    effects = mc.patch(fraction, pairs, sites=["L1.z.H0", "L1.mlp_out"], at="@end").frame["effect"]
    assert effects.tolist() == pytest.approx([1, 1], abs=1e-5)


def test_what_is_decodable_and_unused(plain):
    tokens, _ = plain.tokens(TEXTS)
    seen = plain.run(tokens)[1]
    assert [task.TOKENS[i] for i in seen["L0.z"][:, END, 0].argmax(-1)] == [text[0] for text in TEXTS]
    others = [sum(word in "ab" for word in text.split()) / max(1, 4 - text.count("-")) for text in TEXTS]
    assert seen["L1.z"][:, END, 1, 0].tolist() == pytest.approx(others)


@pytest.mark.parametrize(
    ("pair", "low", "high"), [("x against -", "-", "x"), ("a against -", "-", "a"), ("x against a", "a", "x")]
)
def test_effects_of_the_first_token_along_value_and_key(plain, pair, low, high):
    """By a loop over the other three tokens, and by swapping values and keys in the network."""
    stated = mc.truth("fraction")["exact_effects_of_token_1_on_share"][pair]
    rest = [text[2:] for text in TEXTS[:64]]
    lows, highs = ([f"{word} {text}" for text in rest] for word in (low, high))
    everywhere = np.ones(64, dtype=bool)
    for path, variables in {"value": ["hit_1"], "key": ["seen_1"], "total": ["hit_1", "seen_1"]}.items():
        changed = [
            share(text, **{v: value(other, v) for v in variables}) for text, other in zip(lows, highs, strict=True)
        ]
        effect = float(sum(new - share(text) for new, text in zip(changed, lows, strict=True)) / 64)
        assert stated[path] == pytest.approx(effect, abs=1e-9)
        _, head = swapped(plain, lows, dict.fromkeys(variables, (highs, everywhere)))
        assert (head - swapped(plain, lows, {})[1]).mean() == pytest.approx(effect, abs=1e-9)


def test_the_hypothesis_can_be_made_of_it(fraction):
    hypothesis = Hypothesis.of("fraction")
    assert hypothesis.variables == tuple(PLACE)
    assert hypothesis.parents("share") == tuple(PLACE)[:8]
    hypothesis.check(abilities(fraction), task.TASK.prompts(fraction, 8))
