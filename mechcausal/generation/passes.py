"""One batch of texts while it grows: a forward for each new token, under the edits that are made there.

With a cache, a forward sees the new tokens alone, and what the edits made of earlier ones is in the keys and values.
Without one, the whole text is run again and every edit is made again where it was made. Both give the same text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import MechcausalError, UnsupportedError
from mechcausal.generation.fast import Fast
from mechcausal.interventions.specs import Edit, Scale
from mechcausal.metrics import is_finite
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.condition import condition
from mechcausal.models.counting import count, uncounted
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.finite import refuse_nan
from mechcausal.models.hooked import forward


class Growing:
    """A batch of prompts, padded on the left, that grows by one token a step.

    Args:
        model: The bridge.
        prompts: The prompts.
        edits: What is done, and when.
        cached: Whether keys and values of earlier tokens are kept.
        fast: The bare model, where it runs instead of the bridge; with a cache only.

    Attributes:
        forwards: How many forwards were run.
        made: In how many forwards each edit was made; each time, its hook was seen to fire.
        positions: At how many positions each edit was made.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        prompts: PromptSet,
        edits: Sequence[Edit],
        *,
        cached: bool,
        fast: Fast | None = None,
    ) -> None:
        self.model, self.edits, self.tokens, self.mask = model, tuple(edits), prompts.tokens, prompts.mask
        self.fast = fast if cached else None
        self.forwards, self.made, self.positions = 0, Counter[int](), Counter[int]()
        self._cache = _cache_of(model) if cached else None
        nowhere = torch.zeros_like(prompts.mask)
        # Where each edit is made, a column for each token of the text so far.
        self._where = [prompts.select(edit.at) & prompts.mask if edit.in_prompt else nowhere for edit in edits]
        self._lengths = prompts.mask.sum(1).clamp(min=1)
        self._new = prompts.tokens.shape[1]  # how many columns were not run yet

    def add(self, tokens: Tensor) -> None:
        """Add a token to each text."""
        column = torch.ones_like(self.mask[:, :1])
        self.tokens = torch.cat([self.tokens, tokens[:, None]], dim=1)
        self.mask = torch.cat([self.mask, column], dim=1)
        self._where = [
            torch.cat([where, column if edit.at_new else ~column], dim=1)
            for edit, where in zip(self.edits, self._where, strict=True)
        ]
        self._new = 1

    def taken(self, rows: Tensor) -> Growing:
        """Return some of these texts, each as often as it is named, to be grown apart; the counts start anew.

        Args:
            rows: The numbers of the texts.
        """
        part = copy(self)
        part.tokens, part.mask, part._lengths = self.tokens[rows], self.mask[rows], self._lengths[rows]
        part._where = [where[rows] for where in self._where]
        part.forwards, part.made, part.positions = 0, Counter[int](), Counter[int]()
        if self._cache is not None:  # layers select rows into new tensors, so these texts keep theirs
            cache: Any = copy(self._cache)
            layers: list[Any] = [copy(layer) for layer in self._cache.layers]
            for layer in layers:
                layer.batch_select_indices(rows)
            cache.layers = layers
            part._cache = cache
        return part

    def logits(self) -> Tensor:
        """Return the logits of what follows each text, [batch vocab]."""
        shown = self._new if self._cache is not None else self.tokens.shape[1]
        tokens, mask = self.tokens[:, -shown:], self.mask[:, -shown:]
        masks = [where[:, -shown:] for where in self._where]
        acting = [number for number, where in enumerate(masks) if bool(where.any())]
        given = [self.edits[number] for number in acting], [masks[number] for number in acting]
        if self.fast is not None:
            last = self.fast.step(tokens, self.mask, self._cache, *given)
        else:
            last = self._through_bridge(PromptSet(tokens=tokens, mask=mask, side="left"), *given)
        self.forwards += 1
        count(float((mask.sum(1) / self._lengths).sum()))
        if not bool(is_finite(last).all()):  # else something would be written all the same
            texts = PromptSet(tokens=self.tokens, mask=self.mask, side="left")
            refuse_nan(self.model, texts, abilities(self.model).components)
        for number in acting:
            self.made[number] += 1
            self.positions[number] += int(self._where[number][:, -self._new :].sum())
        return last.float() if last.dtype in (torch.float16, torch.bfloat16) else last

    def _through_bridge(self, batch: PromptSet, edits: Sequence[Edit], masks: Sequence[Tensor]) -> Tensor:
        run = partial(bridge.run, self.model, batch.tokens, batch.mask)
        if self._cache is not None:
            run = partial(bridge.step, self.model, batch.tokens, self.mask, self._cache)
        output = forward(self.model, batch, edits, masks=masks, keys=self.mask, run=run).logits
        return output if output.ndim == 2 else output[:, -1]


def _cache_of(model: Any) -> DynamicCache:  # noqa: ANN401
    config: Any = bridge.underlying(model).config
    return DynamicCache(config=config)


_cacheable: WeakKeyDictionary[Any, tuple[Any, str]] = WeakKeyDictionary()


def state_of(model: Any) -> Any:  # noqa: ANN401 - a TransformerBridge
    """Return a key of the weights and the settings of a model, under which is remembered what was measured."""
    return weights_fingerprint(model), condition(model)


def why_no_cache(model: Any, state: Any = None) -> str:  # noqa: ANN401 - a TransformerBridge
    """Say why a model is run without a cache; empty where it is known to give the same logits with one.

    That is measured once for each model, on a few tokens with padding. A model that cannot write at all is refused.

    Args:
        model: The bridge.
        state: What `state_of` gives, where it is known already.
    """
    state = state or state_of(model)
    abilities(model)  # which refuses a model that computes no numbers
    if model not in _cacheable or _cacheable[model][0] != state:
        _cacheable[model] = state, _measured(model)
    return _cacheable[model][1]


@uncounted()
@torch.no_grad()
def _measured(model: Any) -> str:  # noqa: ANN401
    if not bridge.has_head(model):
        raise UnsupportedError("this model has no language-model head, so it cannot write", fix="load one that has")
    draw = torch.Generator().manual_seed(0)
    length = min(6, int(model.cfg.n_ctx))
    tokens = torch.randint(0, model.cfg.d_vocab, (2, length), generator=draw).to(bridge.device_of(model))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, : length // 3] = False
    later, prompts = tokens.clone(), PromptSet(tokens=tokens, mask=mask, side="left")
    later[:, -1] = (later[:, -1] + 1) % model.cfg.d_vocab
    slow = forward(model, prompts).logits
    after = forward(model, PromptSet(tokens=later, mask=mask, side="left")).logits
    if not _alike(slow[:, :-1][mask[:, :-1]], after[:, :-1][mask[:, :-1]]):
        raise UnsupportedError(
            "this model sees later tokens (a masked language model), so it cannot write from left to right",
            fix="load a causal language model",
        )
    if bridge.is_native(model):
        return "a model of transformer-lens itself keeps no keys and values"
    if length < 4:
        return f"with a context of {length} tokens there is nothing to keep"
    first = length - 2
    growing = Growing(model, PromptSet(tokens=tokens[:, :first], mask=mask[:, :first], side="left"), (), cached=True)
    try:
        for column in (first, first + 1):
            if not _alike(growing.logits(), slow[:, column - 1]):
                return "with a cache the model gives other logits"
            growing.add(tokens[:, column])
        return "" if _alike(growing.logits(), slow[:, first + 1]) else "with a cache the model gives other logits"
    except (MechcausalError, AttributeError, TypeError, ValueError, RuntimeError, IndexError, KeyError) as error:
        return f"with a cache the model fails: {type(error).__name__}: {str(error)[:80]}"


_fast: WeakKeyDictionary[Any, tuple[Any, dict[frozenset[Site], Fast | None]]] = WeakKeyDictionary()


def fast_way(model: Any, edits: Sequence[Edit], state: Any = None) -> Fast | None:  # noqa: ANN401 - a TransformerBridge
    """Return the bare model if it writes as the bridge does with edits at these sites; None where it does not.

    Args:
        model: The bridge.
        edits: The edits.
        state: What `state_of` gives, where it is known already.
    """
    state = state or state_of(model)
    if model not in _fast or _fast[model][0] != state:
        _fast[model] = state, {}
    reasons, sites = _fast[model][1], frozenset(edit.site.whole for edit in edits)
    if sites not in reasons:
        reasons[sites] = _compared(model, sorted(sites, key=str))
    return reasons[sites]


@uncounted()
@torch.no_grad()
def _compared(model: Any, sites: Sequence[Site]) -> Fast | None:  # noqa: ANN401
    """Write two tokens both ways, with the activations at the sites made smaller, and compare the logits."""
    try:
        fast = Fast(model, sites)
        draw = torch.Generator().manual_seed(1)
        tokens = torch.randint(0, model.cfg.d_vocab, (2, min(4, int(model.cfg.n_ctx) - 2)), generator=draw).to(
            bridge.device_of(model)
        )
        mask = torch.ones_like(tokens, dtype=torch.bool)
        mask[1, :1] = False
        prompts = PromptSet(tokens=tokens, mask=mask, side="left")
        for edits in ((), [Edit(site, Scale(0.5)) for site in sites]):
            here, there = (Growing(model, prompts, edits, cached=True, fast=way) for way in (fast, None))
            for token in tokens.T[:2]:
                if not _alike(here.logits(), there.logits()):
                    return None
                here.add(token)
                there.add(token)
        return fast
    except (MechcausalError, AttributeError, TypeError, ValueError, RuntimeError, IndexError, KeyError):
        return None


def _alike(some: Tensor, others: Tensor) -> bool:
    tolerance = 1e-3 if some.dtype in (torch.float32, torch.float64) else 5e-2
    return bool((some.float() - others.float()).abs().max() <= tolerance * others.float().abs().max().clamp(min=1e-6))
