"""Training makes a hypothesis true: measured by plain torch hooks, not by what training measures itself with."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from adding import ANSWERS, ASK, PLACES, TASK, WORDS, bridge, lesson, network
from swaps import run, swapped

import mechcausal as mc
from mechcausal.causal import SCM, Hypothesis
from mechcausal.causal.training import train as training
from mechcausal.causal.training.lessons import Lesson
from mechcausal.causal.training.train import train
from mechcausal.errors import DataError, ModelError, NumericsError
from mechcausal.models.export import plain_weights

QUICK = {"batch_size": 48, "rate": 1e-2, "progress": False}
STEPS = 90


def taught(**options):
    module = network()
    model = bridge(module)
    trained = train(model, lesson(model), steps=STEPS, every=STEPS // 2, **QUICK, **options)
    bare = network()
    bare.load_state_dict(plain_weights(model))
    return model, trained, bare


@pytest.fixture(scope="module")
def strictly():
    return taught()


@pytest.fixture(scope="module")
def loosely():
    return taught(strict=0)


@pytest.fixture(scope="module")
def by_behavior():
    return taught(interchange=0, strict=0)


def texts(n, seed):
    table = TASK.scm.sample(n, seed)
    return table, torch.tensor([[WORDS["<bos>"], *map(WORDS.get, text.split())] for text in TASK.write(table)])


def answers(logits):
    words = [WORDS[word] for word in ANSWERS]
    return logits[:, ASK, words].argmax(-1).numpy()


def iia(bare, variable, n=300):
    """Return interchange accuracy on the pairs whose answer changes, by plain torch."""
    (table, tokens), (other, others) = texts(n, 1), texts(n, 2)
    columns = torch.full((n,), ASK)
    site = PLACES[variable].removesuffix("@ask")
    said = answers(swapped(bare, tokens, [(site, None, columns, others, columns)]))
    wanted = TASK.scm.counterfactual(table, **{variable: other[variable]})["answer"]
    changed = wanted != table["answer"]
    assert changed.sum() > 50
    return (said == wanted)[changed].mean()


def kept(bare, places, n=300):
    """Return how often the answer stays what it was when these places are taken from another prompt."""
    (table, tokens), (_, others) = texts(n, 3), texts(n, 4)
    taken = [(site, None, torch.full((n,), column), others, torch.full((n,), column)) for site, column in places]
    return (answers(swapped(bare, tokens, taken)) == table["answer"]).mean()


# What is learnt


def test_it_learns_the_task_and_where_each_variable_is(strictly):
    _, trained, bare = strictly
    table, tokens = texts(100, 0)
    assert (answers(run(bare, tokens)[0]) == table["answer"]).all()
    untrained = network()
    for variable in PLACES:
        assert iia(bare, variable) > 0.98
        assert iia(untrained, variable) < 0.6
    assert trained.steps == STEPS
    assert not trained.stopped
    assert "accuracy 1.000" in repr(trained)


def test_behavior_alone_says_nothing_about_places(by_behavior):
    _, _, bare = by_behavior
    table, tokens = texts(100, 0)
    assert (answers(run(bare, tokens)[0]) == table["answer"]).all()
    assert min(iia(bare, variable) for variable in PLACES) < 0.5


def test_strictness_forbids_what_interchange_alone_allows(strictly, loosely):
    free = [f"L0.z.H{h}" for h in (2, 3)] + ["L0.mlp_out", *(f"L1.z.H{h}" for h in range(4))]
    places = [(site, ASK) for site in free] + [(f"L0.z.H{h}", column) for h in range(4) for column in (1, 2)]
    assert min(iia(loosely[2], variable) for variable in PLACES) > 0.9
    assert min(kept(strictly[2], [place]) for place in places) > 0.98
    assert kept(strictly[2], places) > 0.95
    assert kept(loosely[2], places) < 0.85


@pytest.mark.slow
def test_variables_in_subspaces_and_at_two_places():
    draw = np.random.default_rng(0)
    rotation = np.linalg.qr(draw.normal(size=(16, 16)))[0].tolist()
    spread = {
        "left": {"site": "L0.resid_post", "at": "ask", "basis": rotation[:2]},
        "right": {"site": "L0.resid_post", "at": "ask", "basis": rotation[2:5]},
        "total": ["L1.z.H0@ask", "L1.mlp_out@ask"],
    }
    module = network(1)
    model = bridge(module)
    own = lesson(model, **spread)
    with pytest.raises(DataError, match=r"'y' reaches 'answer' around left, which has a place at L0\.resid_post"):
        train(model, lesson(model, left=spread["left"]), steps=1, **QUICK)
    train(model, own, steps=120, every=120, **QUICK)
    bare = network()
    bare.load_state_dict(plain_weights(model))
    n, columns = 300, torch.full((300,), ASK)
    (table, tokens), (other, others) = texts(n, 1), texts(n, 2)
    for variable, parts in {
        "left": [("L0.resid_post", rotation[:2])],
        "right": [("L0.resid_post", rotation[2:5])],
        "total": [("L1.z.H0", None), ("L1.mlp_out", None)],
    }.items():
        sources = [(site, basis, columns, others, columns) for site, basis in parts]
        wanted = TASK.scm.counterfactual(table, **{variable: other[variable]})["answer"]
        changed = wanted != table["answer"]
        assert (answers(swapped(bare, tokens, sources)) == wanted)[changed].mean() > 0.95
    rest = [("L0.resid_post", rotation[5:], columns, others, columns)]
    assert (answers(swapped(bare, tokens, rest)) == table["answer"]).mean() > 0.95


# How it goes on


def short(model, own, **options):
    return train(model, own, **{"steps": 20, "every": 5, "seed": 3, **QUICK, **options})


def weights(model):
    return {name: value.clone() for name, value in plain_weights(model).items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_training_that_was_interrupted_gives_the_same_bits(tmp_path, monkeypatch):
    whole, broken = (bridge(network(2)) for _ in range(2))
    trained = short(whole, lesson(whole))
    steps, step = [], training._step

    def until(last):
        def counted(*args):
            if len(steps) == last:
                raise KeyboardInterrupt
            steps.append(1)
            return step(*args)

        return counted

    file = tmp_path / "training.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(training, "_step", until(13))
        with pytest.raises(KeyboardInterrupt):
            short(broken, lesson(broken), checkpoint=file)
    assert not same(weights(whole), weights(broken))
    again = bridge(network(5))  # its first weights do not matter
    steps.clear()
    with monkeypatch.context() as patched:
        patched.setattr(training, "_step", until(None))
        resumed = short(again, lesson(again), checkpoint=file)
    assert len(steps) == 10  # the last evaluation, and so the file, was at step 10
    assert same(weights(whole), weights(again))
    assert resumed.history.equals(trained.history)
    assert short(again, lesson(again), checkpoint=file).steps == 20  # nothing left to do
    assert same(weights(whole), weights(again))


def test_another_seed_gives_other_weights():
    models = [bridge(network(2)) for _ in range(3)]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        short(model, lesson(model), steps=5, seed=seed)
    first, second, third = map(weights, models)
    assert same(first, second)
    assert not same(first, third)


@pytest.mark.slow
def test_it_stops_when_the_goal_was_reached_twice(strictly):
    model, _, _ = strictly
    again = bridge(network())
    again.original_model.load_state_dict(model.original_model.state_dict())
    options = {"rate": 1e-5, "stop_at": 0.95}
    trained = short(again, lesson(again), **options)
    assert trained.stopped
    assert trained.steps == 10
    never = short(bridge(network()), lesson(again), **options)
    assert not never.stopped
    assert never.steps == 20


def test_evaluation_is_on_the_prompts_held_out():
    model = bridge(network())
    history = short(model, lesson(model), evaluation=lesson(model, n=40, seed=9)).history
    assert set(history["step"]) == {5, 10, 15, 20}
    assert set(history.loc[history["measure"] == "accuracy", "n"]) == {40}
    loss = history.loc[history["measure"] == "loss", "value"]
    assert loss.iloc[-1] < loss.iloc[0]


def test_lessons_have_their_share_of_every_batch():
    model = bridge(network())
    twice = [lesson(model, n=50), Lesson(lesson(model).hypothesis, TASK.prompts(model, 80, seed=1), share=3.0)]
    pool = training.Pool(model, training.abilities(model), twice)
    chosen = training._chosen(pool, 48, np.random.default_rng(0))
    assert [(chosen < 50).sum(), (chosen >= 50).sum()] == [12, 36]
    assert chosen.max() < 130


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strict": -1}, "'strict'.*at least 0"),
        ({"interchange": float("nan")}, "'interchange'.*at least 0"),
        ({"behavior": 0, "interchange": 0, "strict": 0}, "nothing to learn"),
        ({"steps": 0}, "'steps'.*at least 1"),
        ({"every": 0}, "'every'.*at least 1"),
        ({"batch_size": 1}, "'batch_size'.*at least 2"),
        ({"seed": -1}, "'seed'"),
        ({"rate": 0.0}, "'rate'.*above 0"),
    ],
)
def test_numbers_that_make_no_sense(options, message):
    model = bridge(network())
    with pytest.raises(mc.MechcausalError, match=message):
        short(model, lesson(model), **options)


def test_weights_that_cannot_be_trained():
    frozen = bridge(network())
    frozen.requires_grad_(False)
    with pytest.raises(ModelError, match="no parameter of the model requires a gradient"):
        short(frozen, lesson(frozen))
    half = bridge(network().to(torch.bfloat16))
    with pytest.raises(ModelError, match=r"too little precision.*bfloat16; expected float32"):
        short(half, lesson(half))


def test_a_loss_that_is_no_number_is_told():
    model = bridge(network())
    with pytest.raises(NumericsError, match="the loss is nan after 5 steps"):
        short(model, lesson(model), rate=1e30)


@pytest.mark.slow
def test_values_given_as_token_ids_need_no_tokenizer():
    """The same steps, once with the words of the answers and once with their ids."""
    named, bare = bridge(network(seed=5)), bridge(network(seed=5))
    taught = lesson(named)
    ids = SCM(
        "ids",
        noise=TASK.scm.noise,
        mechanisms=TASK.scm.mechanisms,
        values=TASK.scm.values | {"answer": [WORDS[word] for word in ANSWERS]},
    )
    hypothesis = Hypothesis(ids, taught.hypothesis.alignment, outcome="answer")
    bare.tokenizer = None
    first = short(named, taught)
    second = short(bare, Lesson(hypothesis, replace(taught.prompts, texts=())))
    pd.testing.assert_frame_equal(first.history.drop(columns="lesson"), second.history.drop(columns="lesson"))
