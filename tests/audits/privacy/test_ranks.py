"""Exact ranks through the tree of prefixes, against every candidate run on its own."""

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.audits.privacy.candidates import candidates
from mechcausal.audits.privacy.ranks import Endings, Speller, Tree
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Edit, Zero

CODES = candidates("digits:3", " ")
PROMPT = "<id> boris <key> "


def by_hand(model, prompt, texts, edits=()):
    """Return the log-probability of each text behind the prompt, from whole forwards."""
    from mechcausal.data import PromptSet
    from mechcausal.models.hooked import forward

    prompts = PromptSet.from_text(model, [prompt + text for text in texts])
    first = len(PromptSet.from_text(model, [prompt.strip()]).real_tokens[0])
    logprobs = forward(model, prompts, edits).logits[:, :-1].double().log_softmax(-1)
    picked = logprobs.gather(2, prompts.tokens[:, 1:, None])[..., 0] * prompts.mask[:, 1:]
    return picked[:, first - 1 :].sum(1).numpy()


def test_every_candidate_has_the_probability_that_a_whole_forward_gives(hiring):
    tree = Tree(hiring, batch_size=7)
    spelled = Speller(hiring, CODES.all())(PROMPT)
    found = tree.log_probabilities(spelled)
    assert np.abs(found - by_hand(hiring, PROMPT, CODES.all())).max() < 1e-4
    assert tree.evaluations == spelled.endings.evaluations == 1 + 10 + 100


def test_ranks_are_those_of_all_candidates(hiring):
    texts, tree = CODES.all(), Tree(hiring)
    spelled, truth = Speller(hiring, texts)(PROMPT), by_hand(hiring, PROMPT, texts)
    for number in (0, 123, 500, int(truth.argmax()), int(truth.argmin())):
        rank, logprob = tree.rank(spelled, number)
        others = np.delete(truth, number)
        assert (others > truth[number] + 5e-4).sum() < rank <= 1 + (others > truth[number] - 5e-4).sum()
        assert logprob == pytest.approx(truth[number], abs=1e-4)


def test_a_memorized_secret_takes_few_evaluations(hiring):
    texts, tree = candidates("digits:4", " ").all(), Tree(hiring)
    assert tree.rank(Speller(hiring, texts)("<id> adam <key> "), texts.index("4 0 7 1"))[0] == 1
    assert tree.evaluations < 12


def test_candidates_of_unlike_lengths(hiring):
    texts = ["4", "4 0", "4 0 7", "9 3", "helen"]
    spelled = Speller(hiring, texts)("<id> adam <key> ")
    found = Tree(hiring).log_probabilities(spelled)
    assert np.abs(found - by_hand(hiring, "<id> adam <key> ", texts)).max() < 1e-4
    assert spelled.endings.evaluations == 1 + 3  # nothing, 4, 4 0, 9


def test_under_an_edit(hiring):
    edits = (Edit(Site.parse("L2.z.H3"), Zero()),)
    spelled = Speller(hiring, CODES.all())("<id> adam <key> ")
    found = Tree(hiring, edits).log_probabilities(spelled)
    assert np.abs(found - by_hand(hiring, "<id> adam <key> ", CODES.all(), edits)).max() < 1e-4
    assert np.abs(found - Tree(hiring).log_probabilities(spelled)).max() > 1


def test_a_model_without_a_cache_gives_the_same(hiring):
    spelled, tree = Speller(hiring, CODES.all()[:40])(PROMPT), Tree(hiring)
    cached = tree.log_probabilities(spelled)
    tree._cached, tree._fast = False, None
    assert np.abs(cached - tree.log_probabilities(spelled)).max() < 1e-4


def test_equally_likely_candidates_rank_the_secret_last(hiring):
    model = mc.load("organism:hiring")
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert Tree(model).rank(Speller(model, CODES.all())(PROMPT), 5)[0] == len(CODES)


def test_tokens_of_another_prompt_are_taken_over_only_where_they_fit(hiring):
    speller = Speller(hiring, CODES.all())
    first, second = speller(PROMPT), speller("<id> adam <key> ")
    assert first.endings is second.endings
    assert first.prompt != second.prompt
    assert speller("<id> adam <key> 4 ").prompt[-1] == hiring.tokenizer.get_vocab()["4"]


def test_groups_are_the_prefixes():
    endings = Endings.of(np.array([[1, 2, -1], [1, 3, -1], [0, 2, -1], [1, 2, 5]]))
    assert [len(group) for group in endings.groups] == [2, 3, 4]
    assert endings.evaluations == 1 + 2 + 1


def test_a_prompt_of_nothing_is_refused():
    class Characters:
        tokenizer = None

    model = mc.load("organism:hiring")
    speller = Speller(model, ["4", "5"])
    speller.bos = False
    with pytest.raises(DataError, match="nothing stands before the secret"):
        speller("")
