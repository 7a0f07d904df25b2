"""Answers of several tokens: each step is a plain recursion over prompts to which the tokens before it are appended."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scrubbing_trees import both, make_prompts, plain

import mechcausal as mc
from mechcausal.causal.scrubbing.sampling import Sampler
from mechcausal.causal.scrubbing.tree import Node
from mechcausal.causal.scrubbing.written import Written, at_output
from mechcausal.data import pad
from mechcausal.data.targets import filled
from mechcausal.errors import SiteError

TEXTS = [[[5, 6]], [[7], [8, 9, 10]], [[11, 12, 13]], [[5]]]
FOILS = [[[20]], [[21, 22]], [[23], [24, 25]], [[20, 21, 22]]]
TREES = {
    "direct": [
        Node("mlp", "L2.mlp_out@late", "a", "direct", [Node("head", "L1.z.H2@late", "a", "all", [Node("in", "embed@subject")])])
    ],
    "all paths": [Node("stream", "L1.resid_post@late", "a", children=[Node("head", "L0.z.H1@subject", "b")])],
    "everywhere": [Node("sublayer", "L1.attn_out@all", "a"), Node("head", "L2.z.H0@all", "b")],
}  # fmt: skip


def asked(texts, foils, n=12, side="right"):
    prompts = make_prompts(n=n, side=side)
    answers, others = ([rows[number % len(rows)] for number in range(n)] for rows in (texts, foils))
    return replace(prompts, answer=None, answers=filled(answers), foils=filled(others)), answers, others


def log_chance(root, prompts, draws, members, row):
    """Return the log of the summed probability of texts after the scrubbed prompt of a reference."""
    chances = []
    for text in members:
        total = 0.0
        for step, token in enumerate(text):
            rows = [[*tokens, *text[:step]] for tokens in prompts.real_tokens]
            longer = replace(
                prompts, answers=None, foils=None, side="right", **dict(zip(("tokens", "mask"), pad(rows), strict=True))
            )
            logits = plain.evaluate(both()[1], root, longer, draws, range(row + 1)).logits[row]
            total += float(logits.log_softmax(-1)[token])
        chances.append(total)
    return float(torch.tensor(chances).logsumexp(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "side", "texts", "foils"),
    [
        ("direct", "right", TEXTS, FOILS),
        ("all paths", "left", TEXTS, FOILS),
        ("everywhere", "right", [[[5, 6]], [[7, 8]]], [[[20, 21]], [[22, 23], [24, 25]]]),
    ],
)
def test_every_number_is_that_of_the_plain_recursion(shape, side, texts, foils):
    prompts, answers, others = asked(texts, foils, side=side)
    root = Node("output", children=TREES[shape])
    options = {
        "seeds": 1,
        "n": 4,
        "lonely": "keep",
        "report": False,
        "controls": False,
        "batch_size": 5,
    }
    found, likely, looped, also_looped = (
        mc.scrub(both()[0], prompts, root, metric=metric, exact=exact, **options)
        for exact in ("replay", "naive")
        for metric in ("logit_diff", "logprob")
    )
    draws = Sampler(root, prompts).draw(np.arange(len(prompts)), 0)
    first = Sampler(root, prompts).draw(np.arange(4), 0)
    for name, draw in first.items():  # the same random numbers, whatever the number of references
        assert np.array_equal(draw.x, draws[name].x[:4])
    for row in range(4):
        right, wrong = (log_chance(root, prompts, draws, members[row], row) for members in (answers, others))
        for odds, chance in ((found, likely), (looped, also_looped)):
            assert odds.examples[0][row] == pytest.approx(right - wrong, abs=5e-6)
            assert chance.examples[0][row] == pytest.approx(right, abs=5e-6)
    unedited = mc.measure(both()[0], prompts, ["logit_diff", "logprob"]).examples[:, :4]
    for odds, chance in ((found, likely), (looped, also_looped)):
        np.testing.assert_allclose([odds.baselines["clean"], chance.baselines["clean"]], unedited, atol=5e-6)


def test_accuracy_is_that_of_whole_answers():
    prompts, _, _ = asked(TEXTS, FOILS)
    root = Node("output", children=[Node("all of it", "L2.resid_post@-1", "exact")])  # nothing is exchanged
    found = mc.scrub(both()[0], prompts, root, metric="accuracy", seeds=1, report=False, controls=False)
    np.testing.assert_allclose(found.baselines["clean"], mc.measure(both()[0], prompts, "accuracy").examples[0])


def test_a_prompt_with_each_answer_is_a_row():
    prompts, answers, others = asked(TEXTS, FOILS)
    written = Written.of(prompts)
    assert written.count == len({tuple(text) for rows in (answers, others) for row in rows for text in row})
    assert len(written.pool) == len(prompts) * written.count
    made, texts = written.examples(np.array([3, 1]))
    assert made.owner.tolist() == [0, 0, 1, 1, 1]
    assert made.answers.tolist() == [[0, -1], [2, 3]]
    assert made.foils.tolist() == [[1], [4]]
    row = written.pool.take([5 * written.count + int(texts[3])])
    assert list(row.real_tokens[0]) == [*prompts.real_tokens[5], 8, 9]
    columns = torch.arange(row.tokens.shape[1])[None]
    assert at_output(columns, row)[0, :3].tolist() == [6, 7, 8]
    assert at_output(torch.arange(prompts.tokens.shape[1]).expand(len(prompts), -1), prompts).tolist() == [6] * len(
        prompts
    )


def test_answers_of_different_length_have_no_everywhere():
    prompts, _, _ = asked(TEXTS, FOILS)
    with pytest.raises(SiteError, match="covers different numbers of positions"):
        mc.scrub(both()[0], prompts, Node("output", children=TREES["everywhere"]), lonely="keep", controls=False)
