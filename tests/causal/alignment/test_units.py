"""Masks over principal directions and over features of a dictionary: what is known to carry a variable, and nothing else."""

import linear
import numpy as np
import planted
import pytest
import torch
from plain_dictionaries import TopK, attached_to
from saved import assert_kept
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Place, Selection, expand
from mechcausal.causal.alignment.interchange import interchange
from mechcausal.causal.alignment.interchanged import ALIGNED
from mechcausal.causal.alignment.masks import ANY, EVERY, mask
from mechcausal.causal.alignment.search import Harvest, Moved
from mechcausal.causal.alignment.units import Soft, principal
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.errors import ArgumentError, DataError, SiteError
from mechcausal.models.abilities import abilities
from mechcausal.models.hooked import forward

QUICK = {"steps": 50, "batch_size": 48, "n": 120}


@pytest.fixture(scope="module")
def subspace():
    return mc.load("organism:hiring_subspace")


@pytest.fixture(scope="module")
def applicants(subspace):
    """Return so many that principal directions are those of the variables and not of the sample."""
    return mc.task("hiring").prompts(subspace, 1200, environment="broad")


@pytest.fixture(scope="module")
def merit(subspace, applicants):
    return mask(
        subspace,
        applicants,
        mc.task("hiring"),
        "merit",
        sites="L1.resid_post",
        at="decision",
        over="directions",
        **QUICK,
    )


@pytest.fixture(scope="module")
def adder(tmp_path_factory):
    return linear.load(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def sums(adder):
    return linear.everyone(adder)


# Directions


def test_directions_at_the_place_of_the_variable(merit):
    """Few of 48 do, they lie in the known subspace, and all or random ones of the same place do not."""
    (part,) = merit.parts
    assert (str(part.site), str(part.at)) == ("L1.resid_post", "@decision")
    assert merit.changed >= 0.95
    assert merit.verdict.startswith(f"L1.resid_post@decision[{len(part.basis)}d] of 48 directions: ")
    rows = merit.result.frame.set_index("role")
    assert rows.loc[EVERY, "value"] < 0.7
    assert rows.loc[ANY, "value"] < 0.1
    known = np.array(Hypothesis.of("hiring_subspace").alignment["merit"][0].basis)
    first = np.array(part.basis[0])
    assert np.linalg.norm(known @ first) > 0.9
    assert merit.weights["direction"].sort_values().tolist() == list(range(48))
    assert merit.weights["selected"].sum() == len(part.basis) <= 4
    assert merit.result.provenance.arguments["over"] == "directions"


def test_they_are_kept_in_a_file_and_stand_in_a_hypothesis(merit, subspace, applicants, tmp_path):
    (part,) = assert_kept(merit, tmp_path / "mask.parquet").parts
    hypothesis = Hypothesis(mc.task("hiring").scm, {"merit": part}, outcome="decision")
    again = interchange(subspace, applicants.take(range(300)), hypothesis, n=200, placebo=False)
    assert again.frame["value"][0] > 0.9


def test_no_directions_where_the_variable_is_not(subspace, applicants):
    found = mask(
        subspace, applicants, mc.task("hiring"), "merit", sites="L1.resid_post", at="name", over="directions", **QUICK
    )
    assert found.parts == ()
    assert found.verdict.startswith("no direction is worth its price for merit")
    assert found.result.frame.set_index("role").loc[EVERY, "value"] == 0


def test_principal_directions_are_those_of_the_covariance():
    model = loaded("gpt2")
    prompts = make_pairs((6,) * 16).clean
    parts = [Place.parse(spec) for spec in ("L1.resid_post@-1", "L0.z.H2@1")]
    values = Harvest(model, prompts, np.arange(16), parts, batch_size=5)
    for part, width in zip(parts, (32, 8), strict=True):
        read = forward(model, prompts, read=[part.site.whole]).read[part.site.whole]
        x = read[:, -1] if part.site.head is None else read[:, 1, part.site.head]
        covariance = np.cov(x.double().numpy().T)
        units = principal([part], values, None)
        rows = np.array([unit.basis[0] for unit in units])
        np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-5)
        variances = np.einsum("kd,de,ke->k", rows, covariance, rows)
        np.testing.assert_allclose(variances, np.linalg.eigvalsh(covariance)[::-1][: len(rows)], rtol=1e-3, atol=1e-7)
        assert len(rows) <= min(15, width)  # one less than there are prompts
        assert principal([part], values, 2) == units[:2]


# Features


def test_the_two_features_that_hold_the_direction_and_no_others(adder, sums):
    """The planted direction is split in two; one that goes along with the variable in no pair is never worth its price."""
    stream = forward(adder, sums, read=[planted.SITE]).read[planted.SITE][sums.select("@end")]
    for seed in (0, 1):
        dictionary = planted.Split(stream, seed)
        with attached_to(adder, dictionary, planted.SITE, "split"):
            sites = ["L0.resid_post.sae:split.F*", "L0.resid_post.sae:split.error"]
            found = mask(adder, sums, linear.TASK, "a", sites=sites, at="end", seed=seed, **QUICK)
        assert {part.site.feature for part in found.parts} == dictionary.used
        assert found.changed == 1
        assert len(found.weights) == 97
        rows = found.result.frame.set_index("role")
        assert rows.loc[EVERY, "value"] < 0.5
        assert rows.loc[ANY, "value"] < 0.5
        assert rows.loc[ALIGNED, "places"] == 2


# Shares


@pytest.fixture
def small():
    """A dictionary that reconstructs badly, so that whatever is not moved as a difference would be seen."""
    with attached_to(loaded("gpt2"), TopK(32), "L1.resid_post", "small"):
        yield


SPECS = ["L1.resid_post.sae:small.F*", "L1.resid_post.N*", "L1.z.H*", "L1.mlp_out", "directions"]


def soft(spec):
    model, prompts = loaded("gpt2"), make_pairs((6,) * 8).clean
    sites = expand("L1.resid_post" if spec == "directions" else spec, abilities(model).shape)
    places = [Place(site, Selection(-1)) for site in sites]
    values = Harvest(model, prompts, np.arange(8), places, batch_size=8)
    return model, prompts, values, Soft(principal(places, values, None) if spec == "directions" else places, values)


@pytest.mark.parametrize("spec", SPECS)
def test_shares_of_zero_leave_the_network_exactly_as_it_is(spec, small):
    model, prompts, values, made = soft(spec)
    base, source = np.array([0, 1, 2]), np.array([5, 6, 7])
    plain = forward(model, prompts.take([0, 1, 2])).logits[torch.arange(3), -1]
    moves = made.moves(torch.zeros(len(made.units)))
    assert (values.logits(base, source, moves).detach() - plain).abs().max() == 0
    moves = made.moves(torch.ones(len(made.units)))
    whole = values.logits(base, source, [Moved(part) for part in made.groups])
    assert (values.logits(base, source, moves) - whole).abs().max() < 1e-4
    assert (whole.detach() - plain).abs().max() > 1e-3


@pytest.mark.parametrize("spec", SPECS)
def test_the_gradient_by_shares_is_that_of_differences(spec, small):
    _, _, values, made = soft(spec)
    base, source = np.array([0, 1, 2]), np.array([5, 6, 7])

    def loss(shares):
        return values.logits(base, source, made.moves(shares)).double().square().sum()

    shares = torch.full((len(made.units),), 0.4).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(loss(shares), shares)
    step = torch.randn(len(shares), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ahead, behind = (float(loss(shares + sign * 1e-2 * step)) for sign in (1, -1))
    assert float(slope.double() @ step.double()) == pytest.approx((ahead - behind) / 2e-2, rel=2e-2, abs=1e-3)


# Wrong input


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"over": "angles"}, ArgumentError, "'places' or 'directions'"),
        ({"components": 3}, DataError, "places have no components"),
        ({"over": "directions", "components": 0}, ArgumentError, "'components'.*at least 1"),
        ({"over": "directions", "sites": "L0.resid_post.N3"}, SiteError, "has no directions to search"),
        ({"over": "directions", "sites": "L0.z"}, SiteError, "all heads at once"),
        ({"over": "directions", "sites": "L0.resid_pre", "at": 0}, DataError, "none of these places varies"),
    ],
)
def test_wrong_input(adder, sums, options, error, said):
    with pytest.raises(error, match=said):
        mask(adder, sums, linear.TASK, "a", **{"sites": "L0.resid_post", "at": "end", **QUICK, **options})
