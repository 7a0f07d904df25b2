"""Assessment counts what plain torch counts: on a model whose variables are half where the hypothesis puts them."""

import numpy as np
import pytest
import torch
from adding import bridge, lesson, network
from swaps import swapped
from transformers import GPT2LMHeadModel

import mechcausal as mc
from mechcausal.causal import Hypothesis
from mechcausal.causal.training.assessment import assess
from mechcausal.causal.training.batches import Batch, Pool
from mechcausal.causal.training.lessons import Lesson
from mechcausal.data.tasks import hiring as task
from mechcausal.models.abilities import abilities
from mechcausal.organisms import folder

N, WIDTH = 600, 8
IDS = [task.VOCABULARY.index(word) for word in task.DECISIONS]


@pytest.fixture(scope="module")
def model():
    return mc.load("organism:hiring_natural")


@pytest.fixture(scope="module")
def bare():
    return GPT2LMHeadModel.from_pretrained(folder("hiring_natural") / "weights").eval()


@pytest.fixture(scope="module")
def prompts(model):
    return task.TASK.prompts(model, N, seed=1, environment="mixed")


@pytest.fixture(scope="module")
def own(prompts):
    return Lesson(Hypothesis.of("hiring"), prompts)


@pytest.fixture(scope="module")
def found(model, own):
    return assess(model, own, batch_size=N).set_index(["measure", "of"])


@pytest.fixture(scope="module")
def partners(model, own):
    """Return who takes from whom, as the assessment draws it: for what variables hold, and for what must not matter."""
    draw = np.random.default_rng(0)
    chosen = draw.permutation(N)
    batch = Batch(Pool(model, abilities(model), [own]), chosen)
    out = []
    for strictly in (False, True):
        whose = np.empty(N, dtype=int)
        whose[chosen] = chosen[batch.partners(draw, strictly=strictly)]
        out.append(whose)
    return out


def decided(bare, prompts, places, others):
    """Return the decisions with these sites taken from the other prompts at these columns."""
    taken, tokens = [], prompts.tokens[others]
    for site, columns in places.items():
        taken += [(site, None, torch.full((N,), column), tokens, torch.full((N,), column)) for column in columns]
    return swapped(bare, prompts.tokens, taken)[:, -1, IDS].argmax(-1).numpy()


@pytest.mark.parametrize("variable", ["merit", "proxy", "bias", "score"])
def test_interchange(bare, prompts, found, partners, variable):
    table, others = {name: column.numpy() for name, column in prompts.variables.items()}, partners[0]
    site = str(Hypothesis.of("hiring").alignment[variable][0].site)
    said = decided(bare, prompts, {site: [WIDTH - 1]}, others)
    wanted = task.TASK.scm.counterfactual(table, **{variable: table[variable][others]})["decision"]
    right, changed, apart = said == wanted, wanted != table["decision"], others != np.arange(N)
    # A logit that all but ties may fall otherwise in the last bit.
    assert found.loc[("iia", variable), "value"] == pytest.approx(right[apart].mean(), abs=0.004)
    assert found.loc[("iia_changed", variable), "value"] == pytest.approx(right[changed].mean(), abs=0.02)
    assert found.loc[("iia_changed", variable), "n"] == changed.sum()
    assert found.loc[("iia", variable), "n"] == apart.sum()


def kept(bare, prompts, places, others):
    same = decided(bare, prompts, places, others) == prompts.variables["decision"].numpy()
    return same[others != np.arange(N)].mean()


@pytest.mark.parametrize(
    ("site", "columns"),
    [
        ("L0.z.H1", range(WIDTH)), ("L0.mlp_out", range(WIDTH)), ("L3.z.H2", range(WIDTH)),
        ("L1.z.H2", range(WIDTH - 1)), ("L2.mlp_out", range(WIDTH - 1)),
    ],
)  # fmt: skip
def test_strictness_of_one_place(bare, prompts, found, partners, site, columns):
    told = found.loc[("strict", site), "value"]
    assert told == pytest.approx(kept(bare, prompts, {site: columns}, partners[1]), abs=0.004)


def test_strictness_of_all_at_once(bare, prompts, found, partners):
    named = {str(parts[0].site) for parts in Hypothesis.of("hiring").alignment.values()}
    sites = [f"L{layer}.{what}" for layer in range(4) for what in ("z.H0", "z.H1", "z.H2", "z.H3", "mlp_out")]
    places = {site: range(WIDTH - 1) if site in named else range(WIDTH) for site in sites}
    told = found.loc[("strict_all", ""), "value"]
    assert told == pytest.approx(kept(bare, prompts, places, partners[1]), abs=0.004)
    assert 0.2 < told < 0.6  # neither nothing nor everything
    assert set(found.loc["strict"].index) == set(sites)


def test_what_is_counted(model, own, found):
    assert found.loc[("accuracy", ""), "value"] == 1.0
    assert found.loc[("accuracy", ""), "n"] == N
    fewer = assess(model, own, n=100, strict=False)
    assert set(fewer["measure"]) == {"accuracy", "iia", "iia_changed"}
    assert fewer.set_index("measure").loc["accuracy", "n"] == 100
    again, other = (assess(model, own, n=100, strict=False, seed=seed) for seed in (0, 1))
    assert again.equals(fewer)
    assert not other.equals(fewer)


def test_a_prompt_without_a_partner_tells_nothing():
    model = bridge(network())
    alone = assess(model, lesson(model), n=1).set_index("measure")
    assert (alone.loc[["iia", "iia_changed", "strict", "strict_all"], "n"] == 0).all()
    assert alone.loc[["iia", "strict"], "value"].isna().all()
    assert alone.loc["accuracy", "n"] == 1
