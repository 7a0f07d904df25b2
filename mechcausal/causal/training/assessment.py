"""How true a hypothesis is of a network: exchange activations between random prompts and count the right answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.arguments import Count, Model, Seed, checked
from mechcausal.causal.training.batches import Batch, Pool
from mechcausal.causal.training.lessons import Lessons, listed
from mechcausal.errors import DataError
from mechcausal.models.abilities import abilities
from mechcausal.models.hooked import forward


@checked
def assess(
    model: Model,
    lessons: Lessons,
    *,
    n: Count | None = None,
    seed: Seed = 0,
    strict: bool = True,
    batch_size: Count = 512,
) -> pd.DataFrame:
    """Measure how true hypotheses are of a model, by exchanging activations between random prompts.

    Args:
        model: The bridge.
        lessons: The hypotheses, and prompts to measure on.
        n: How many prompts of each; all of them without it.
        seed: The seed of the choice and of the exchange.
        strict: Whether to exchange what must not matter as well.
        batch_size: How many prompts at a time; they are exchanged within a batch.

    Returns:
        One row per lesson and measure, `lesson measure of value n`: `accuracy`; `iia` of each variable, and
        `iia_changed` on the prompts whose answer the exchange changes (where it changes few answers, a useless place has
        a high `iia` too); `strict` of each thing that must not matter, exchanged alone; `strict_all` with all of them.
    """
    taught, able, rows = listed(lessons), abilities(model), []
    if not taught:
        raise DataError("there is nothing to assess", fix="give at least one Lesson(hypothesis, prompts)")
    for lesson in taught:
        pool = Pool(model, able, [lesson], strict=strict)
        draw = np.random.default_rng(seed)
        chosen = draw.permutation(len(pool))[:n]
        hits: dict[tuple[str, str], list[np.ndarray]] = {}
        for begin in range(0, len(chosen), batch_size):
            for key, right in _assess_batch(model, pool, chosen[begin : begin + batch_size], draw, strict):
                hits.setdefault(key, []).append(right)
        for (measure, of), parts in hits.items():
            right = np.concatenate(parts)
            value = float(right.mean()) if len(right) else float("nan")
            rows.append(
                {"lesson": lesson.hypothesis.scm.name, "measure": measure, "of": of, "value": value, "n": len(right)}
            )
    return pd.DataFrame(rows)


def _assess_batch(
    model: Any,  # noqa: ANN401
    pool: Pool,
    chosen: np.ndarray,
    draw: np.random.Generator,
    strict: bool,
) -> list[tuple[tuple[str, str], np.ndarray]]:
    everyone = np.arange(len(chosen))
    plain = Batch(pool, chosen)
    run = forward(model, plain.prompts, read=pool.read_sites())
    partners, alike = plain.partners(draw), plain.partners(draw, strictly=True)
    apart, strangers = partners != everyone, alike != everyone  # nothing is exchanged with oneself

    def right(logits: Tensor, batch: Batch, wanted: np.ndarray) -> np.ndarray:
        said = logits[torch.arange(len(batch), device=logits.device), batch.read].argmax(-1)
        return said.cpu().numpy() == wanted

    def exchanged(batch: Batch, wanted: np.ndarray) -> np.ndarray:
        edits, sources = batch.edits(run.read)
        return right(forward(model, batch.prompts, edits, sources=sources).logits, batch, wanted)

    out = [(("accuracy", ""), right(run.logits, plain, plain.targets))]
    for variable in pool.lessons[0].hypothesis.variables:
        batch = plain.fresh()
        batch.take(0, variable, everyone, partners)
        wanted = batch.answers(0, everyone, {variable: partners})
        hit = exchanged(batch, wanted)
        out += [(("iia", variable), hit[apart]), (("iia_changed", variable), hit[wanted != plain.targets])]
    if strict:
        for number, slot in enumerate(pool.slots):
            for unit in range(slot.units):
                batch = plain.fresh()
                batch.resample(everyone, alike, only=(number, unit))
                if batch.masks[number].any():
                    out.append((("strict", slot.unit_name(unit)), exchanged(batch, plain.targets)[strangers]))
        batch = plain.fresh()
        batch.resample(everyone, alike)
        out.append((("strict_all", ""), exchanged(batch, plain.targets)[strangers]))
    return out
