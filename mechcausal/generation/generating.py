"""Generation under edits: the specification and the loop over batches."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from mechcausal.arguments import Count, Kind, Model, NotNegative, Seed, Share, Text, Texts
from mechcausal.data.batching import batches
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.generation.edits import Edits, edits_of, in_few_words, ready, written_edits
from mechcausal.generation.ends import END, LENGTH, STOP, decoded, end_tokens, first_stop
from mechcausal.generation.generated import Generated
from mechcausal.generation.passes import Growing, fast_way, state_of, why_no_cache
from mechcausal.generation.sampling import draws, next_tokens
from mechcausal.interventions.specs import Edit
from mechcausal.method import Cost, Method, function
from mechcausal.models import bridge
from mechcausal.models.engine import check_prompts
from mechcausal.models.facts import facts
from mechcausal.results.provenance import Provenance

Stops = Annotated[
    tuple[str, ...],
    Kind(
        "a text or a list of texts, none of them empty",
        lambda value: isinstance(value, tuple) and all(isinstance(text, str) and text for text in value),
    ),
]


def _as_stops(value: Any) -> Any:  # noqa: ANN401
    return (value,) if isinstance(value, str) else value


@dataclass
class _Text:
    """One text while it is written."""

    prompt: int
    sample: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    ended: str = ""


@dataclass(frozen=True, kw_only=True)
class Generating(Method[PromptSet | Texts | Text, Generated]):
    """Write text after prompts, token by token, under edits.

    An edit says by `when` whether it is made in the prompt (`"prompt"`, at the positions it names), at every new token
    (`"new"`) or both (`"both"`). Without it, an edit of all positions is made in both, an edit of some positions in the
    prompt. Every edit proves in every forward that its hook fired. The text does not depend on the batch, and is
    the same with and without a cache; without edits and at temperature 0 it is that of `transformers`.

    Attributes:
        edits: What is done: edits, or their JSON objects, in which `direction` may name a safetensors file with one vector.
            `mean` takes `reference`; other interventions that need another run are refused.
        tokens: How many tokens are written at most.
        temperature: At 0 the most likely token is taken; above, tokens are drawn from the softmax of logits / temperature.
        top_k: Only this many of the most likely tokens can be drawn.
        top_p: Only the smallest set of most likely tokens with this probability can be drawn.
        samples: How many texts are written after each prompt.
        stop: Texts at which writing ends; they are not part of the text.
        cache: Whether keys and values of earlier tokens are kept; without, every forward runs the whole text.
        reference: The prompts that `mean` is taken over.
        batch_size: How many texts are written at a time.
        seed: The seed of what is drawn; each text has its own numbers.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:induction")
        >>> mc.generate(model, "red blue gold white blue gray red", tokens=1).texts
        ['blue']
        >>> zero = {"site": "L1.z.H1", "do": "zero", "when": "both"}
        >>> mc.generate(model, "red blue gold white blue gray red", tokens=1, edits=[zero]).edits["forwards"].tolist()
        [1]
    """

    word: ClassVar[str] = "generate"
    edits: Edits = field(default=(), metadata={"read": edits_of, "write": written_edits})
    tokens: Count = 64
    temperature: NotNegative = 0.0
    top_k: Count | None = None
    top_p: Share | None = None
    samples: Count = 1
    stop: Stops = field(default=(), metadata={"read": _as_stops})
    cache: bool = True
    reference: PromptSet | Contrast | None = field(default=None, repr=False)
    batch_size: Count = 32
    seed: Seed = 0

    def run(self, model: Model, data: PromptSet | Texts | Text) -> Generated:
        """Write the texts."""
        started = time.perf_counter()
        prompts = self._prompts(model, data)
        state = state_of(model)
        reason = why_no_cache(model, state)
        reason = reason if self.cache else "asked for"
        edits = ready(model, self._edits, prompts, self.reference, self.batch_size)
        fast = None if reason else fast_way(model, edits, state)
        made, positions, forwards = Counter[int](), Counter[int](), 0
        texts = [_Text(row, sample) for row in range(len(prompts)) for sample in range(self.samples)]
        rows = torch.tensor([text.prompt for text in texts])
        bar = tqdm(total=len(texts) * self.tokens, desc="writing", unit="token", disable=None, leave=False)
        for batch in batches(prompts.lengths[rows], self.batch_size):
            part = prompts.take(rows[batch])
            part = part.padded(int(part.lengths.max()), "left").to(bridge.device_of(model))
            growing = Growing(model, part, edits, cached=not reason, fast=fast)
            self._write(model, growing, [texts[number] for number in batch.tolist()], bar)
            made, positions, forwards = made + growing.made, positions + growing.positions, forwards + growing.forwards
        bar.close()
        fired = [
            {
                "edit": str(edit), "when": _when(edit), "forwards": made[number], "positions": positions[number],
            }
            for number, edit in enumerate(edits)
        ]  # fmt: skip
        provenance = Provenance(
            method=self.word,
            arguments=self._arguments(),
            seed=self.seed if self.temperature else None,
            **facts(
                model, prompts, started=started, forwards=forwards, batch_size=self.batch_size,
                engine="naive" if reason else "cached" if fast is None else "cached, without the bridge",
                **({"no_cache_because": reason} if reason else {}),
            ),
        )  # fmt: skip
        return self._result(model, prompts, texts, provenance, fired)

    def cost(self, model: Model, data: PromptSet | Texts | Text) -> Cost:
        """Return what it would take; with a cache a new token costs as much as one token of a prompt."""
        prompts = self._prompts(model, data)
        n, length = len(prompts) * self.samples, float(prompts.lengths.float().mean())
        naive = sum((length + step) / length for step in range(self.tokens))
        each = 1 + (self.tokens - 1) / length if self.cache and not why_no_cache(model) else naive
        return Cost(cells=n, examples=len(prompts), forwards=n * each, naive_forwards=n * naive)

    @property
    def _edits(self) -> tuple[Edit, ...]:
        return edits_of(self.edits)

    def _prompts(self, model: Model, data: PromptSet | Texts | Text) -> PromptSet:
        """Return the prompts, after checking that they and what is written fit into the context."""
        bridge.require_bridge(model)
        if isinstance(data, PromptSet):
            prompts = data
        else:
            prompts = PromptSet.from_text(model, [data] if isinstance(data, str) else list(data))
        check_prompts(model, prompts)
        longest, most = int(prompts.lengths.max()), int(model.cfg.n_ctx)
        if longest + self.tokens > most + 1:  # the last token is not read
            raise DataError(
                "a prompt and what is to be written do not fit into the model's context",
                got=f"{longest} and {self.tokens} tokens", expected=f"at most {most + 1} together",
                fix=f"tokens={max(1, most + 1 - longest)}",
            )  # fmt: skip
        return prompts

    @torch.no_grad()
    def _write(self, model: Model, growing: Growing, texts: list[_Text], bar: Any) -> None:  # noqa: ANN401
        """Write the texts of one batch to their ends."""
        ends, tokenizer = end_tokens(model), getattr(model, "tokenizer", None)
        drawn = np.stack([draws(self.seed, text.prompt, text.sample, self.tokens) for text in texts])
        for step in range(self.tokens):
            logits = growing.logits()
            tokens = next_tokens(logits, self.temperature, self.top_k, self.top_p, drawn[:, step])
            logprobs = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0].tolist()
            for text, token, logprob in zip(texts, tokens.tolist(), logprobs, strict=True):
                if not text.ended:
                    self._add(text, token, logprob, ends, tokenizer)
                    bar.update(1)
            if all(text.ended for text in texts):
                return
            growing.add(tokens)

    def _add(self, text: _Text, token: int, logprob: float, ends: frozenset[int], tokenizer: Any) -> None:  # noqa: ANN401
        """Add a token to a text, and see whether it ends there."""
        text.tokens.append(token)
        text.logprobs.append(logprob)
        text.text = decoded(tokenizer, text.tokens) if self.stop else ""
        place = first_stop(text.text, self.stop)
        if place is not None:
            text.text, text.ended = text.text[:place], STOP
            return
        if token in ends:
            text.ended = END
        elif len(text.tokens) == self.tokens:
            text.ended = LENGTH
        if text.ended:
            text.text = decoded(tokenizer, text.tokens)

    def _arguments(self) -> dict[str, Any]:
        names = ("tokens", "temperature", "top_k", "top_p", "samples", "cache")
        settings = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return settings | {"stop": list(self.stop), "edits": [in_few_words(edit) for edit in self._edits]}

    def _result(
        self,
        model: Model,
        prompts: PromptSet,
        texts: list[_Text],
        provenance: Provenance,
        fired: list[dict[str, Any]],
    ) -> Generated:
        tokenizer = getattr(model, "tokenizer", None)
        before = prompts.texts or [decoded(tokenizer, row) for row in prompts.real_tokens]
        frame = pd.DataFrame(
            {
                "prompt": [text.prompt for text in texts],
                "sample": [text.sample for text in texts],
                "before": [before[text.prompt] for text in texts],
                "text": [text.text for text in texts],
                "ended": [text.ended for text in texts],
                "n_tokens": [len(text.tokens) for text in texts],
                "tokens": [np.array(text.tokens) for text in texts],
                "logprob": [sum(text.logprobs) for text in texts],
            }
        )
        longest = max(len(text.tokens) for text in texts)
        logprobs = np.full((len(texts), longest), np.nan)
        for number, text in enumerate(texts):
            logprobs[number, : len(text.logprobs)] = text.logprobs
        return Generated(frame, provenance, logprobs, tables={"edits": fired})


def _when(edit: Edit) -> str:
    return "both" if edit.in_prompt and edit.at_new else "prompt" if edit.in_prompt else "new"


generate = function(
    Generating,
    data="prompts",
    about="A text, a list of texts, or prompts (`PromptSet.from_chat` makes them of a chat).",
)
