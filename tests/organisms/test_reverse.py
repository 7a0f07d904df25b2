"""organism:reverse is its algorithm: told in plain Python, run in plain numpy, and once more through the package."""

import json

import numpy as np
import pytest
import torch
from plain import Plain
from safetensors.torch import load_file

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal import Hypothesis
from mechcausal.data.tasks import reverse as task
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.models.abilities import abilities
from mechcausal.models.hooked import Source, forward
from mechcausal.organisms import folder
from mechcausal.recipes import reverse as recipe
from mechcausal.recipes.recipe import measured

PLACE = {"length": ("L0.z", 0), "said": ("L0.mlp_out", None), "target": ("L1.mlp_out", None), "fetched": ("L2.z", 0)}
SCM = task.TASK.scm


@pytest.fixture(scope="module")
def plain():
    return Plain(folder("reverse") / "weights")


@pytest.fixture(scope="module")
def reverse():
    return mc.load("organism:reverse")


def answer(text, **forced):
    """Say what the algorithm answers when some of its variables are not what the text makes them."""
    words = text.split()
    index = len(words)
    length = forced.get("length", words.index("rev"))
    said = forced.get("said", min(max(index - 1 - length, 0), 4))
    target = forced.get("target", max(length - said, 0))
    word = words[target - 1] if 0 < target <= len(words) else "rev"
    return forced.get("fetched", "end" if word == "rev" else word)


def value(text, variable):
    """Say what the text makes of a variable."""
    words = text.split()
    length, said = words.index("rev"), len(words) - 1 - words.index("rev")
    return {"length": length, "said": said, "target": length - said, "fetched": answer(text)}[variable]


def units(n, seed):
    table = SCM.sample(n, seed)
    return table, task.sentences(table)


def swapped(plain, texts, sources):
    """Run the texts with each variable's activation taken from its own source texts, at the rows in its mask."""
    tokens, last = plain.tokens(texts)
    rows, taken = np.arange(len(texts)), {}
    for variable, (others, mask) in sources.items():
        ids, end = plain.tokens(others)
        name, head = PLACE[variable]
        seen = plain.run(ids)[1][name][rows, end]
        taken.setdefault(name, []).append((seen if head is None else seen[:, head], head, mask))

    def swap(name, activation):
        activation = activation.copy()
        for new, head, mask in taken.get(name, ()):
            where = (rows[mask], last[mask]) if head is None else (rows[mask], last[mask], head)
            activation[where] = new[mask]
        return activation

    return plain.answers(plain.run(tokens, swap)[0], last)


@pytest.mark.slow
def test_what_ships_is_the_recipe():
    shipped, made = load_file(folder("reverse") / "weights" / "model.safetensors"), recipe.PROGRAM.weights()
    assert shipped.keys() == made.keys()
    assert all(torch.equal(shipped[name], made[name]) for name in made)
    assert json.loads((folder("reverse") / "weights" / "config.json").read_text()) == recipe.PROGRAM.config
    found = measured(folder("reverse") / "weights", recipe.truth())
    assert mc.truth("reverse") == json.loads(json.dumps(recipe.truth() | {"measured": found}))
    assert found["accuracy"] == 1
    assert set(found["iia_on_changed_answers"].values()) == {1}


def test_every_text_is_answered(plain):
    table, _ = SCM.enumerate()
    texts = sorted(set(task.sentences(table)))
    assert len(texts) == 3 * 9 + 4 * 27 + 5 * 81
    tokens, last = plain.tokens(texts)
    assert plain.answers(plain.run(tokens)[0], last) == [answer(text) for text in texts]


def test_it_goes_on_by_itself(reverse):
    for text, expected in (("a c b b rev", "b b c a end"), ("c a rev", "a c end")):
        told = text
        for _ in expected.split():
            prompt = mc.PromptSet.from_text(reverse, [told])
            told += " " + task.VOCABULARY[int(forward(reverse, prompt).logits[0, -1].argmax())]
        assert told == f"{text} {expected}"


@pytest.mark.parametrize("variable", PLACE)
def test_a_variable_taken_from_another_text_changes_the_answer_as_in_the_algorithm(plain, variable):
    _, texts = units(800, 1)
    _, others = units(800, 2)
    found = swapped(plain, texts, {variable: (others, np.ones(800, dtype=bool))})
    expected = [answer(text, **{variable: value(other, variable)}) for text, other in zip(texts, others, strict=True)]
    assert found == expected
    assert sum(new != answer(text) for new, text in zip(expected, texts, strict=True)) > 150


def test_any_set_of_variables_each_from_a_text_of_its_own(plain):
    n, draw = 1000, np.random.default_rng(4)
    table, texts = units(n, 3)
    sources, forced = {}, [{} for _ in texts]
    for i, variable in enumerate(PLACE):
        other, others = units(n, 5 + i)
        mask = draw.random(n) < 0.4
        sources[variable] = (others, mask)
        for row in np.flatnonzero(mask):
            forced[row][variable] = value(others[row], variable)
        # Causes come first in PLACE, so what is set later stays set.
        table = SCM.counterfactual(table, **{variable: np.where(mask, other[variable], table[variable])})
    expected = [answer(text, **changes) for text, changes in zip(texts, forced, strict=True)]
    assert swapped(plain, texts, sources) == expected
    assert [task.ANSWERS[i] for i in table["answer"]] == expected


def interchange(model, part, n=400, seed=8):
    """Return prompts, other prompts, and the package's answers to the first with a part from the second, end for end."""
    base, other = (task.TASK.prompts(model, n, seed=s) for s in (seed, seed + 1))
    part = Place.parse(part)
    site, row = part.site.whole, torch.arange(n)
    seen = forward(model, other, read=[site]).read[site]
    own = forward(model, base, read=[site]).read[site]
    values = own.clone()
    values[row, base.read_columns] = seen[row, other.read_columns]
    source = Source(values, basis=part.columns(own))
    run = forward(model, base, [Edit(part.site, Patch(), part.at)], sources=[source])
    logits = run.logits[row, base.read_columns]
    return base, other, [task.VOCABULARY[i] for i in logits.argmax(-1)]


@pytest.mark.parametrize("kind", ["variables", "subspaces"])
@pytest.mark.parametrize("variable", PLACE)
def test_the_stated_places_carry_the_variables(reverse, kind, variable):
    told = mc.truth("reverse")
    part = told["variables"][variable]["parts"][0] if kind == "variables" else told["subspaces"][variable]
    base, other, found = interchange(reverse, part)
    expected = [
        answer(text, **{variable: value(source, variable)})
        for text, source in zip(base.texts, other.texts, strict=True)
    ]
    assert found == expected
    assert sum(a != b for a, b in zip(expected, base.labels, strict=True)) > 80


def test_nothing_else_matters_at_all(plain):
    """All heads and MLPs but the stated ones, at all positions, and the stated ones elsewhere, taken from other texts."""
    _, texts = units(800, 9)
    by_length = {}
    for text in texts:
        by_length.setdefault(len(text.split()), []).append(text)
    for same in by_length.values():
        tokens, last = plain.tokens(same)
        logits, _ = plain.run(tokens)
        order = np.random.default_rng(0).permutation(len(same))
        seen = plain.run(tokens[order])[1]

        def swap(name, activation, seen=seen, last=last):
            if name.split(".")[1] not in ("z", "mlp_out"):
                return activation
            new, rows = seen[name].copy(), np.arange(len(activation))
            for site, head in PLACE.values():
                if site == name:
                    where = (rows, last) if head is None else (rows, last, head)
                    new[where] = activation[where]
            return new

        mixed = plain.run(tokens, swap)[0]
        rows = np.arange(len(same))
        np.testing.assert_array_equal(mixed[rows, last], logits[rows, last])


def test_effects_of_other_nodes_are_exactly_zero(reverse):
    pairs = mc.contrast("reverse/target", reverse, n=60)
    circuit = set(mc.truth("reverse")["circuit"])
    frame = mc.patch(reverse, pairs, sites=["z", "mlp_out"], at="all").frame
    others = frame[~frame["site"].isin(circuit)]
    assert set(frame["site"]) > circuit
    assert len(others) == 3 * 3 + 3 - 4
    np.testing.assert_array_equal(others["change"], 0)
    assert mc.patch(reverse, pairs, sites="L2.z.H0", at="@end").frame["effect"].item() == pytest.approx(1)


def test_what_is_decodable_and_unused(plain):
    _, texts = units(300, 11)
    tokens, last = plain.tokens(texts)
    seen = plain.run(tokens)[1]["L0.z"]
    rows = np.arange(len(texts))
    first = seen[rows, last, 1, :3].argmax(-1)
    assert [task.LETTERS[i] for i in first] == [text[0] for text in texts]
    # One attends to all of `<bos> ...` alike.
    share = [text.split().count("a") / (len(text.split()) + 1) for text in texts]
    assert seen[rows, last, 2, 0].tolist() == pytest.approx(share)


def test_effects_of_the_length_along_each_path(plain):
    """By loops over all texts, and by swapping places in the network."""
    table, weight = SCM.enumerate()
    chance = {}
    for text, w in zip(task.sentences(table), weight, strict=True):
        chance[text] = chance.get(text, 0.0) + w
    texts, chances = list(chance), np.array(list(chance.values()))
    tokens, last = plain.tokens(texts)
    rows = np.arange(len(texts))

    def by_algorithm(direct, through_said):
        """Let the length be `direct` where `target` reads it, and `through_said` where `said` does."""
        said = [min(max(len(text.split()) - 1 - through_said, 0), 4) for text in texts]
        return [answer(text, length=direct, said=number) for text, number in zip(texts, said, strict=True)]

    def run_with(length, said=None):
        ids, end = plain.tokens([" ".join(["a"] * length + ["rev"])])
        new = plain.run(ids)[1]["L0.z"][0, end[0], 0]

        def swap(name, activation):
            activation = activation.copy()
            if name == "L0.z":
                activation[rows, last, 0] = new
            if name == "L0.mlp_out" and said is not None:
                activation[rows, last] = said
            return activation

        return plain.run(tokens, swap)

    def by_place(direct, through_said):
        said = run_with(through_said)[1]["L0.mlp_out"][rows, last]
        return plain.answers(run_with(direct, said)[0], last)

    stated = mc.truth("reverse")["exact_effects_of_length_4_against_3"]
    base = by_algorithm(3, 3)
    for path, lengths in {"direct": (4, 3), "through said": (3, 4), "total": (4, 4)}.items():
        answers = by_algorithm(*lengths)
        assert by_place(*lengths) == answers
        for word in task.ANSWERS:
            effect = chances @ (np.array([float(a == word) for a in answers]) - [float(a == word) for a in base])
            assert stated[word][path] == pytest.approx(effect, abs=1e-9)


def test_the_hypothesis_can_be_made_of_it(reverse):
    hypothesis = Hypothesis.of("reverse")
    assert hypothesis.variables == ("length", "said", "target", "fetched")
    assert hypothesis.parents("target") == ("length", "said")
    assert hypothesis.edge("length", "target") == "direct"
    hypothesis.check(abilities(reverse), task.TASK.prompts(reverse, 8))
