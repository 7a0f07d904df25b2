"""What a card reads off a model: the activations of one feature, and what it adds to the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Selection, Site
from mechcausal.data.batching import by_length, parts
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries.screening.attribution import BUDGET, counts
from mechcausal.interventions.specs import AddDelta, Edit, Zero
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import Bound
from mechcausal.models.engine import in_batches
from mechcausal.models.hooked import forward, readings
from mechcausal.models.readout import Readouts

PROMPTS = 32  # prompts on which logit effects are averaged


@dataclass
class Reading:
    """Reads one feature off a model.

    Attributes:
        model: The bridge.
        dictionary: The dictionary.
        site: The feature.
        at: Where it is looked for.
        batch_size: How many prompts at a time.
    """

    model: Any
    dictionary: Bound
    site: Site
    at: Selection
    batch_size: int

    @torch.no_grad()
    def activations(self, prompts: PromptSet) -> tuple[Tensor, np.ndarray]:
        """Return the activation of the feature at every token, [batch pos], and on how many tokens each feature is active."""
        activations = torch.zeros(prompts.tokens.shape)
        fired = np.zeros(self.dictionary.n_features, dtype=int)

        order = by_length(prompts)
        bar = tqdm(total=len(prompts), desc="reading the feature", unit="prompt", disable=None, leave=False)

        def one_batch(index: Tensor) -> np.ndarray:
            nonlocal fired
            newly = np.zeros_like(fired)
            for numbers, part, gone in parts(prompts, order[index]):
                batch = part.to(bridge.device_of(self.model))
                chosen = batch.select(self.at) & batch.mask
                x = readings(self.model, batch, [self.dictionary.site])[self.dictionary.site][chosen]
                values = torch.zeros(len(x))
                for some in torch.arange(len(x)).split(max(1, BUDGET // (12 * self.dictionary.n_features))):
                    f = self.dictionary.encode(x[some])
                    values[some] = f[:, self.site.feature].float().cpu()
                    newly = newly + counts(f).cpu().numpy()
                rows = torch.zeros(chosen.shape)
                rows[chosen.cpu()] = values
                activations[numbers, gone : gone + rows.shape[1]] = rows
            fired = fired + newly  # only now: a batch that ran out of memory is tried again
            bar.update(len(index))
            return np.zeros((0, len(index)))

        in_batches(len(prompts), self.batch_size, one_batch)
        bar.close()
        return activations, fired

    @torch.no_grad()
    def logits(self, prompts: PromptSet, activations: Tensor, k: int, exact: bool) -> pd.DataFrame:
        """Return the tokens whose logits the feature raises and lowers most, where it is active."""
        peaks = activations.abs().amax(1)
        rows = peaks.argsort(descending=True, stable=True)[:PROMPTS]
        rows = rows[peaks[rows] > 0]
        direct = self._has_direct_path
        ways = [*(["direct"] if direct else []), *(["exact"] if exact or not direct else [])]
        if not len(rows):
            return pd.DataFrame(columns=["token", *ways])
        sums: dict[str, Tensor] = {}
        total = 0
        for some in rows.split(min(8, self.batch_size)):
            batch = prompts.take(some).to(bridge.device_of(self.model))
            strength = activations[some].to(batch.tokens.device)
            live = strength != 0
            before = forward(self.model, batch).logits
            for way in ways:
                edit, source = self._removed(way, strength)
                change = before - forward(self.model, batch, [edit], sources=[source]).logits
                added = change[live].double().sum(0).cpu()
                sums[way] = sums.get(way, 0) + added
            total += int(live.sum())
        means = {way: (added - added.mean()) / total for way, added in sums.items()}
        ranked = means[ways[0]].argsort(descending=True, stable=True).tolist()
        k = min(k, len(ranked) // 2)
        shown = [*ranked[:k], *ranked[len(ranked) - k :]]
        return pd.DataFrame(
            {"token": [token_text(self.model, number) for number in shown]}
            | {way: mean[shown].numpy() for way, mean in means.items()}
        )

    @property
    def _has_direct_path(self) -> bool:
        """Whether what the feature adds is added to the stream, and stays there unchanged until the last norm."""
        writes = self.dictionary.written.component not in ("q", "k", "v")
        return abilities(self.model).additive and self.dictionary.linear and writes

    def _removed(self, way: str, strength: Tensor) -> tuple[Edit, Tensor | None]:
        """Return the edit that takes the feature away: from the last stream alone, or where it stands."""
        if way == "exact":
            return Edit(self.site, Zero(), self.at), None
        able, last = abilities(self.model), abilities(self.model).shape.n_layers - 1
        written = self.dictionary.written
        shape = able.components[written.component].shape[2:]
        lost = (-strength[..., None] * self.dictionary.W_dec[self.site.feature]).reshape(*strength.shape, *shape)
        into_stream = Readouts(self.model, able).contribution(written)
        return Edit(Site("resid_post", last), AddDelta()), into_stream(lost)


def token_text(model: Any, number: int) -> str:  # noqa: ANN401
    """Return a token as text; its number where there is no tokenizer, or where it is nothing."""
    text = "" if model.tokenizer is None else model.tokenizer.decode([number])
    return text.replace("\n", "\u23ce") or f"[{number}]"
