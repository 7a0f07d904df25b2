"""What a batch exchanges, against plain torch hooks and plain loops."""

import numpy as np
import pytest
import torch
from adding import ASK, TASK, VOCABULARY, bridge, lesson, network
from swaps import run, swapped

import mechcausal as mc
from mechcausal.causal import Hypothesis
from mechcausal.causal.training.batches import Batch, Pool, nodes
from mechcausal.causal.training.lessons import Lesson
from mechcausal.data.tasks import hiring
from mechcausal.models.abilities import abilities
from mechcausal.models.hooked import forward

ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0].tolist()


@pytest.fixture(scope="module")
def model():
    return bridge(network(initializer_range=0.4))


@pytest.fixture(scope="module")
def bare():
    return network(initializer_range=0.4)


def pool_of(model, *lessons, **options):
    return Pool(model, abilities(model), lessons, **options)


def exchanged(model, pool, batch):
    recorded = forward(model, batch.prompts, read=pool.read_sites()).read
    edits, sources = batch.edits(recorded)
    return forward(model, batch.prompts, edits, sources=sources).logits


@pytest.mark.parametrize(
    "place",
    [
        "L0.z.H2@ask", "L0.mlp_out@ask", "L0.resid_post@ask",
        {"site": "L0.resid_post", "at": "ask", "basis": ROTATION[:3]},
    ],
    ids=str,
)  # fmt: skip
def test_a_variable_is_taken_where_it_is_and_nowhere_else(model, bare, place):
    own = lesson(model, left=place, right="L1.z.H0@ask")
    pool = pool_of(model, own, strict=False)
    batch, draw = Batch(pool, np.arange(30)), np.random.default_rng(1)
    partners, mine = batch.partners(draw), np.arange(0, 30, 2)
    batch.take(0, "left", mine, partners[mine])
    source = torch.arange(30)
    source[mine] = torch.from_numpy(partners[mine])
    part, tokens, columns = own.hypothesis.alignment["left"][0], batch.prompts.tokens, torch.full((30,), ASK)
    basis = place["basis"] if isinstance(place, dict) else None
    expected = swapped(bare, tokens, [(str(part.site), basis, columns, tokens[source], columns)])
    torch.testing.assert_close(exchanged(model, pool, batch), expected, atol=1e-4, rtol=1e-4)
    assert (expected - run(bare, tokens)[0]).abs().max() > 0.01


def test_a_subspace_inside_a_head(model, bare):
    small = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    own = lesson(model, left={"site": "L0.z.H2", "at": "ask", "basis": small[:2].tolist()})
    pool = pool_of(model, own, strict=False)
    batch = Batch(pool, np.arange(30))
    partners = batch.partners(np.random.default_rng(1))
    batch.take(0, "left", np.arange(30), partners)
    inside = np.zeros((2, 16))
    inside[:, 8:12] = small[:2]  # the third head's part of what the output map reads
    tokens, columns = batch.prompts.tokens, torch.full((30,), ASK)
    expected = swapped(bare, tokens, [("L0.z", inside.astype(np.float32).tolist(), columns, tokens[partners], columns)])
    torch.testing.assert_close(exchanged(model, pool, batch), expected, atol=1e-4, rtol=1e-4)


def test_what_must_not_matter_is_everything_else(model, bare):
    own = lesson(model)
    pool = pool_of(model, own)
    batch = Batch(pool, np.arange(30))
    partners = batch.partners(np.random.default_rng(2), strictly=True)
    batch.resample(np.arange(30), partners)
    tokens = batch.prompts.tokens
    named = {("L0.z.H0", ASK), ("L0.z.H1", ASK), ("L1.mlp_out", ASK)}
    sites = [f"L{layer}.{what}" for layer in (0, 1) for what in ("z.H0", "z.H1", "z.H2", "z.H3", "mlp_out")]
    taken = [
        (site, None, torch.full((30,), column), tokens[partners], torch.full((30,), column))
        for site in sites for column in range(4) if (site, column) not in named
    ]  # fmt: skip
    torch.testing.assert_close(exchanged(model, pool, batch), swapped(bare, tokens, taken), atol=1e-4, rtol=1e-4)
    assert [str(site) for site in nodes(abilities(model))] == sorted(sites, key=lambda s: ("mlp" in s, s))


def test_outside_the_subspaces_is_the_rest_of_the_stream(model, bare):
    places = {
        variable: {"site": "L0.resid_post", "at": "ask", "basis": basis}
        for variable, basis in (("left", ROTATION[:2]), ("right", ROTATION[2:5]))
    }
    own = lesson(model, **places)
    pool = pool_of(model, own)
    batch = Batch(pool, np.arange(30))
    partners = batch.partners(np.random.default_rng(2), strictly=True)
    batch.resample(np.arange(30), partners)
    tokens = batch.prompts.tokens
    taken = [
        ("L0.resid_post", ROTATION[5:] if column == ASK else None, torch.full((30,), column), tokens[partners],
         torch.full((30,), column))
        for column in range(4)
    ]  # fmt: skip
    torch.testing.assert_close(exchanged(model, pool, batch), swapped(bare, tokens, taken), atol=1e-4, rtol=1e-4)


def test_everyone_gets_a_partner_of_the_same_lesson_and_length(hiring_pool):
    pool = hiring_pool
    batch = Batch(pool, np.random.default_rng(0).permutation(len(pool))[:120])
    draw = np.random.default_rng(1)
    for strictly in (False, True):
        partners = batch.partners(draw, strictly=strictly)
        assert sorted(partners) == list(range(120))
        assert (batch.lesson[partners] == batch.lesson).all()
        assert (partners != np.arange(120)).mean() > 0.8
    lengths, place = pool.real.sum(1)[batch.chosen], column(pool, batch, "place")
    assert (lengths[partners] == lengths).all()
    assert (place[partners] == place)[batch.lesson == 1].all()
    free = batch.partners(draw)
    assert (place[free] != place)[batch.lesson == 1].any()  # a variable may come from a prompt of another length


def test_the_answer_is_that_of_the_causal_model(hiring_pool):
    pool = hiring_pool
    batch = Batch(pool, np.arange(len(pool)))
    mine = np.flatnonzero(batch.lesson == 1)
    partners = batch.partners(np.random.default_rng(3))
    wanted = batch.answers(1, mine, {"secret": partners[mine]})
    names, places = column(pool, batch, "name"), column(pool, batch, "place")
    for row, token in zip(mine, wanted, strict=True):
        secret = hiring.SECRETS[hiring.NAMES[names[partners[row]]]]
        assert hiring.VOCABULARY[token] == secret[places[row]]
    decisions = np.flatnonzero(batch.lesson == 0)
    assert (batch.answers(0, decisions, {}) == batch.targets[decisions]).all()
    read = torch.from_numpy(batch.prompts.mask.numpy().sum(1)) - 1
    assert torch.equal(batch.read, read)


def test_a_fresh_batch_has_nothing_exchanged(model):
    pool = pool_of(model, lesson(model))
    batch = Batch(pool, np.arange(10))
    batch.resample(np.arange(10), batch.partners(np.random.default_rng(0), strictly=True))
    assert batch.edits(forward(model, batch.prompts, read=pool.read_sites()).read)[0]
    assert batch.fresh().edits({}) == ([], [])
    assert any(mask.any() for mask in batch.masks)


def test_gradients_flow_into_what_is_taken(model):
    pool = pool_of(model, lesson(model))
    batch = Batch(pool, np.arange(10))
    batch.take(0, "total", np.arange(10), batch.partners(np.random.default_rng(0)))
    run_ = forward(model, batch.prompts, read=pool.read_sites(), grad=True)
    edits, sources = batch.edits(run_.read)
    assert sources[0].values.requires_grad
    logits = forward(model, batch.prompts, edits, sources=sources, grad=True).logits
    weights = [p for p in model.original_model.parameters() if p.requires_grad]
    found = torch.autograd.grad(logits[:, ASK].pow(2).sum(), weights, allow_unused=True)
    assert sum(value is not None and bool(value.abs().max() > 0) for value in found) > 10


@pytest.fixture(scope="module")
def hiring_pool(hiring_model):
    prompts = [
        task.prompts(hiring_model, 80, seed=0, environment=environment)
        for task, environment in ((hiring.TASK, "mixed"), (hiring.SECRET_TASK, None))
    ]
    names = ("hiring", "hiring_secret")
    lessons = [Lesson(Hypothesis.of("hiring", name), one) for name, one in zip(names, prompts, strict=True)]
    return pool_of(hiring_model, *lessons)


@pytest.fixture(scope="module")
def hiring_model():
    return mc.load("organism:hiring")


def column(pool, batch, name):
    """Return a variable of a batch, -1 where the lesson has none of that name."""
    return np.array(
        [
            pool.tables[i][name][row] if name in pool.tables[i] else -1
            for i, row in zip(batch.lesson, batch.local, strict=True)
        ]
    )


def test_the_vocabulary_is_the_tokenizers(model):
    assert model.tokenizer.convert_ids_to_tokens(range(len(VOCABULARY))) == list(VOCABULARY)
    assert TASK.answers == VOCABULARY[-4:]
