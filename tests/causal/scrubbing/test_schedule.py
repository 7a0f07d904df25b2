"""What a schedule announces is what is run."""

import numpy as np
import pytest
from scrubbing_trees import both, make_prompts, plain, random_tree

from mechcausal.causal.scrubbing.evaluation import Tree
from mechcausal.causal.scrubbing.sampling import Sampler


@pytest.mark.slow
def test_what_is_run_is_what_was_announced_and_no_more_than_there_are_distinct_inputs(token_layers):
    draw = np.random.default_rng(2)
    prompts = make_prompts(n=8)
    rows = np.tile(np.arange(8), 4)
    model, written_out = both()
    fast = 0
    for seed in range(12):
        root = random_tree(draw, equal=True, masks=False)
        tree = Tree(model, root, prompts, batch_size=5)
        unimportant = ("joint", "together", "independent")[seed % 3]
        draws = Sampler(root, prompts, unimportant=unimportant).draw(rows, seed, components=tree.components)
        schedule = tree.schedule(draws)
        tree.run(schedule, draws, lambda logits, which: logits.double().T.numpy())  # what is measured once, is measured
        token_layers.clear()
        before = tree.executed
        tree.run(schedule, draws, lambda logits, which: logits.double().T.numpy())
        assert tree.executed - before == schedule.token_layers == sum(token_layers), str(root)
        assert schedule.forwards <= plain.distinct_inputs(root, draws), str(root)
        fast += schedule.keep
        # What it is compared with is never made dearer than it is.
        assert schedule.plain <= plain.evaluate_batched(written_out, root, prompts, draws, rows).forwards, str(root)
    assert 0 < fast < 12
