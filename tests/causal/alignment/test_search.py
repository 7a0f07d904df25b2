"""What searches share: the split, the values taken once, the descent."""

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal.alignment.exchange import exchange
from mechcausal.causal.alignment.search import (
    Harvest,
    Moved,
    frozen,
    minimize,
    practice,
    split_for_search,
    untrained,
)
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data import PromptSet, pad
from mechcausal.errors import DataError, NumericsError
from mechcausal.models import bridge
from mechcausal.models.fingerprint import weights_fingerprint


def prompts_of(rows, clusters=()):
    return PromptSet(*pad(rows), clusters=tuple(clusters))


def test_no_unit_and_no_text_is_on_both_sides():
    draw = np.random.default_rng(0)
    rows = [[1, int(a), int(b)] for a, b in draw.integers(5, 30, size=(200, 2))]
    clusters = [f"unit {i}" for i in draw.integers(0, 150, size=200)]
    found = split_for_search(prompts_of(rows, clusters), 0.4, seed=1)
    assert sorted([*found.train, *found.test]) == list(range(200))
    for told in (clusters, list(map(tuple, rows))):
        assert not {told[i] for i in found.train} & {told[i] for i in found.test}
    assert 0.25 < len(found.test) / 200 <= 0.41
    again = split_for_search(prompts_of(rows, clusters), 0.4, seed=1)
    np.testing.assert_array_equal(found.test, again.test)
    assert not np.array_equal(found.test, split_for_search(prompts_of(rows, clusters), 0.4, seed=2).test)


def test_texts_that_share_units_hang_together():
    """Rows 0, 1 share a unit and 1, 2 a text, so 0, 1, 2 are one."""
    rows = [[1, 5], [1, 6], [1, 6], [1, 7], [1, 8], [1, 9], [1, 10]]
    clusters = ["a", "a", "b", "c", "d", "e", "f"]
    for seed in range(6):
        found = split_for_search(prompts_of(rows, clusters), 0.5, seed)
        assert len({i in found.test for i in (0, 1, 2)}) == 1


def test_padding_makes_no_other_text():
    rows = [[1, 5], [1, 5], [1, 6], [1, 6], [1, 7, 8], [1, 7, 8], [1, 9], [1, 9]]
    for seed in range(4):
        found = split_for_search(prompts_of(rows), 0.5, seed)
        assert all((i in found.test) == (i + 1 in found.test) for i in range(0, 8, 2))


def test_what_cannot_be_split():
    with pytest.raises(DataError, match=r"too few independent prompts.*got 1 cluster of 6 prompts"):
        split_for_search(prompts_of([[1, 5]] * 6), 0.5, 0)
    for share in (0, 1, 1.5):
        with pytest.raises(DataError, match="between 0 and 1"):
            split_for_search(prompts_of([[1, 5], [1, 6]]), share, 0)


# Values


@pytest.fixture(scope="module")
def uneven():
    """Return ten prompts of unequal length with a named position that moves."""
    lengths = (5, 7, 6, 7, 5, 6, 7, 5, 6, 7)
    prompts = make_pairs(lengths).clean
    where = torch.tensor([length - 3 for length in lengths])
    return PromptSet(prompts.tokens, prompts.mask, positions={"word": where})


@pytest.mark.parametrize("spec", ["L1.resid_post@word", "L1.z.H2@word", "L0.mlp_out@-1"])
@pytest.mark.parametrize("k", [None, 2])
def test_a_run_with_harvested_values_is_an_exchange(uneven, spec, k):
    model = loaded("gpt2")
    part = Place.parse(spec)
    width = 8 if part.site.head is not None else 32
    columns = torch.linalg.qr(torch.randn(width, k or width, generator=torch.Generator().manual_seed(0)))[0]
    rows = np.array([1, 2, 5, 8, 9])
    values = Harvest(model, uneven, rows, [part], batch_size=2)
    assert values.forwards == 3
    assert values.width(part) == width
    base, source = np.array([0, 3, 9, 4]), np.array([2, 9, 1, 8])
    got = values.logits(base, source, [Moved(part, columns)])
    basis = {} if k is None else {"basis": columns.T}
    whole = Place.parse(part.to_json() | basis)
    expected = exchange(model, uneven.take(torch.tensor(base)), (whole, uneven.take(torch.tensor(source))))
    torch.testing.assert_close(got.detach(), expected, rtol=0, atol=1e-4)


def test_the_run_can_be_differentiated(uneven):
    part = Place.parse("L1.resid_post@word")
    values = Harvest(loaded("gpt2"), uneven, np.arange(10), [part], batch_size=10)
    columns = torch.linalg.qr(torch.randn(32, 2, generator=torch.Generator().manual_seed(0)))[0].requires_grad_(True)

    def loss(at):
        return values.logits(np.arange(5), np.arange(5, 10), [Moved(part, at)]).square().sum()

    (slope,) = torch.autograd.grad(loss(columns), columns)
    step = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        numeric = (loss(columns + 1e-2 * step) - loss(columns - 1e-2 * step)) / 2e-2
    assert float((slope * step).sum()) == pytest.approx(float(numeric), rel=1e-2)


def test_the_span_is_where_values_vary(uneven):
    """The stream at BOS is the same in every prompt; at a word of three kinds it varies in two directions."""
    model = loaded("gpt2")
    rows = [[1, 5 + i % 3, 9, 9] for i in range(12)]
    values = Harvest(model, prompts_of(rows), np.arange(12), [Place.parse("L0.resid_post@1")], batch_size=4)
    span = values.span(Place.parse("L0.resid_post@1"))
    assert span.shape == (32, 2)
    torch.testing.assert_close(span.T @ span, torch.eye(2), rtol=0, atol=1e-5)
    whole = values.values[Place.parse("L0.resid_post").site, Place.parse("L0.resid_post@1").at][:, 0]
    gaps = whole - whole[0]
    torch.testing.assert_close(gaps @ span @ span.T, gaps, rtol=0, atol=1e-4)
    constant = Harvest(model, prompts_of(rows), np.arange(12), [Place.parse("L0.resid_post@0")], batch_size=4)
    assert constant.span(Place.parse("L0.resid_post@0")).shape == (32, 0)


# Pairs to practice on


def test_every_second_pair_changes_the_answer():
    hypothesis = Hypothesis.of("hiring")
    table = mc.task("hiring").table(100, environment="broad")
    rows = np.arange(10, 60)
    pairs = practice(hypothesis, table, "merit", rows, 500, seed=0)
    assert len(pairs) == 500
    assert pairs.changed[1::2].all()
    assert 0.2 < pairs.changed[::2].mean() < 0.8
    assert set(pairs.base) | set(pairs.sources["merit"]) <= set(rows)


# Descent


def test_descent_finds_the_least(hiring):
    x = torch.zeros(3, requires_grad=True)
    goal = torch.tensor([1.0, -2.0, 0.5])
    losses = minimize(hiring, [(x, 0.1)], lambda step: (x - goal).square().sum(), 200, progress="test")
    torch.testing.assert_close(x.detach(), goal, rtol=0, atol=1e-2)
    assert len(losses) == 200
    assert losses[-1] < 1e-3 < losses[0]


def test_descent_works_where_gradients_are_off(hiring):
    x = torch.zeros(1, requires_grad=True)
    with torch.no_grad():
        minimize(hiring, [(x, 0.1)], lambda step: (x - 1).square().sum(), 3, progress="test")
    assert float(x.detach()) > 0


def test_a_loss_that_is_no_number(hiring):
    x = torch.ones(1, requires_grad=True)
    with pytest.raises(NumericsError, match="the loss of step 0 is nan"):
        minimize(hiring, [(x, 0.1)], lambda step: x.sum() * float("nan"), 3, progress="test")
    assert all(weight.requires_grad for weight in bridge.underlying(hiring).parameters())


def test_weights_are_frozen_and_freed(hiring):
    weights = list(bridge.underlying(hiring).parameters())
    weights[0].requires_grad_(False)
    with frozen(hiring):
        assert not any(weight.requires_grad for weight in weights)
    assert [weight.requires_grad for weight in weights] == [False] + [True] * (len(weights) - 1)
    weights[0].requires_grad_(True)


def test_an_untrained_copy_after_a_run_with_gradients(hiring):
    """Such a run leaves tensors with a graph on the modules, which cannot be copied with it."""
    fresh = weights_fingerprint(untrained(hiring))
    with torch.enable_grad():
        hiring(mc.task("hiring").prompts(hiring, 2).tokens)
    assert weights_fingerprint(untrained(hiring)) == fresh
    with torch.no_grad():
        hiring(mc.task("hiring").prompts(hiring, 2).tokens)


def test_an_untrained_copy(hiring):
    before = weights_fingerprint(hiring)
    fresh = untrained(hiring)
    assert weights_fingerprint(hiring) == before != weights_fingerprint(fresh)
    assert weights_fingerprint(untrained(hiring)) == weights_fingerprint(fresh)
    assert weights_fingerprint(untrained(hiring, seed=1)) != weights_fingerprint(fresh)
    assert fresh.cfg.model_name.endswith(", untrained")
    assert not hiring.cfg.model_name.endswith(", untrained")
    weights = [list(bridge.underlying(model).parameters()) for model in (hiring, fresh)]
    largest = {}
    for weight in weights[0]:  # queries, keys and values are parts of one tensor
        storage = weight.untyped_storage().data_ptr()
        largest[storage] = max(largest.get(storage, 0), weight.numel())
    for old, new in zip(*weights, strict=True):
        is_part = old.numel() < largest[old.untyped_storage().data_ptr()]
        old, new = old.detach().flatten(), new.detach().flatten()
        if len(old) > 500 and not is_part:
            assert float(new.std()) == pytest.approx(float(old.std()), rel=0.2)
            assert abs(float(torch.corrcoef(torch.stack([old, new]))[0, 1])) < 0.2
    prompts = mc.task("hiring").prompts(hiring, 16)
    with torch.no_grad():
        assert (fresh(prompts.tokens) - hiring(prompts.tokens)).abs().max() > 1
