"""The dictionary that ships with organism:hiring: what its card says, without sae-lens, and its recipe."""

import sys

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

import mechcausal as mc
from mechcausal.dictionaries import folder, saelens
from mechcausal.errors import UnsupportedError
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.hooked import forward
from mechcausal.organisms import folder as organism

HERE = organism("hiring") / "dictionary"


@pytest.fixture
def dictionary(hiring, monkeypatch):
    monkeypatch.setitem(sys.modules, "sae_lens", None)  # it is used without it
    yield mc.features.load(hiring, "organism:hiring")
    mc.features.detach(hiring, "hiring")


def test_it_belongs_to_the_organism_as_it_is(hiring, dictionary):
    facts = folder.read(HERE).facts
    assert facts["model_digest"] == weights_fingerprint(hiring)
    assert str(dictionary.feature(3)) == "L1.resid_post.sae:hiring.F3"
    assert dictionary.n_features == facts["recipe"]["width"] == 256
    assert dictionary.linear
    assert sum(path.stat().st_size for path in HERE.iterdir() if path.is_file()) < 200_000


def test_it_is_worth_what_its_card_says(hiring, dictionary):
    prompts = mc.task("hiring").prompts(hiring, n=400, seed=7, environment="broad")
    found = mc.features.health(hiring, prompts, dictionary, pairs=mc.contrast("hiring/gender", hiring, n=100, seed=3))
    assert found["l0"] == pytest.approx(8, abs=0.01)
    assert found["explained_variance"] > 0.99
    assert found["kl_recovered"] > 0.999
    assert abs(found["error_share"]) < 0.02


@pytest.mark.slow
def test_the_table_of_its_card_is_what_its_recipe_measures(hiring, dictionary):
    from mechcausal.recipes.hiring_dictionary import measure

    found = measure(hiring, dictionary)
    rows = {row["feature"]: (row["tells"], row["auc"], row["share"]) for row in found["features"]}
    card = {
        "F199": ("gender", 1.00, 0.00), "F197": ("proxy", 1.00, 0.00), "F209": ("merit", 0.94, 0.11),
        "F245": ("merit", 0.31, 0.14), "F133": ("merit", 0.21, 0.13), "F57": ("merit", 0.30, 0.11),
    }  # fmt: skip
    assert {feature: rows[feature] for feature in card} == card
    health = {
        "l0": 8.0,
        "dead": 0.52,
        "explained_variance": 0.997,
        "loss_recovered": 1.0,
        "kl_recovered": 1.0,
        "error_share": -0.002,
    }
    assert found["health"] == health


def test_a_feature_carries_gender_and_is_not_used(hiring, dictionary):
    prompts = mc.task("hiring").prompts(hiring, n=400, seed=7, environment="broad")
    f = (
        forward(hiring, prompts, read=[dictionary.features])
        .read[dictionary.features][prompts.select("decision")]
        .numpy()
    )
    told = {name: column.numpy() for name, column in prompts.variables.items()}

    def auc(feature, yes):
        return mannwhitneyu(f[yes, feature], f[~yes, feature]).statistic / (yes.sum() * (~yes).sum())

    assert auc(199, told["gender"] == 1) > 0.99
    assert auc(197, told["proxy"] == 1) > 0.99
    assert auc(209, told["merit"] > np.median(told["merit"])) > 0.9
    pairs = mc.contrast("hiring/gender", hiring, n=100, seed=3)
    sites = ["L1.resid_post", *(str(dictionary.feature(number)) for number in (199, 133, 245, 209))]
    change = mc.patch(hiring, pairs, sites=sites, at="decision", direction="noise").frame["change"]
    shares = (change / change[0]).tolist()
    assert abs(shares[1]) < 0.02
    assert min(shares[2:]) > 0.08


@pytest.mark.slow
def test_the_recipe_makes_it_again(hiring, tmp_path):
    """The whole of it takes a quarter of a minute, so a twentieth is trained twice and the rest taken from the folder."""
    try:
        saelens.sae_lens()
    except UnsupportedError:
        pytest.skip("sae-lens cannot be imported beside transformer-lens 4")
    from mechcausal.recipes import hiring_dictionary as recipe

    facts = folder.read(HERE).facts
    assert (facts["site"], facts["recipe"]["k"], facts["recipe"]["tokens"]) == (recipe.SITE, recipe.K, recipe.TOKENS)
    assert facts["recipe"]["seed"] == recipe.SEED
    hashes = ", ".join(prompts.hash for prompts in recipe.prompts(hiring))
    assert facts["data"]["prompts"] == hashes
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recipe, "TOKENS", 10_240)
        one, two = (recipe.make(hiring, tmp_path / name).digest for name in ("one", "two"))
    mc.features.detach(hiring, "hiring")
    assert one == two
