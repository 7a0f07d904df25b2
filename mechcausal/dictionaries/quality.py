"""What a dictionary is worth on your own prompts: measured on them, never read off how it was configured."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Site
from mechcausal.arguments import Count, Model
from mechcausal.data.batching import by_length, parts
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries.activations import begins_alike, counted
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import METRICS
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import Bound, resolved
from mechcausal.models.engine import Plan, check_prompts, evaluate, in_batches
from mechcausal.models.facts import facts
from mechcausal.models.hooked import Source, forward, readings
from mechcausal.models.replay.suffix import Suffix, layers_after, suffix_twin
from mechcausal.models.replay.twin import Twin
from mechcausal.results.intervals import Interval, mean_interval, ratio_interval
from mechcausal.results.provenance import Provenance
from mechcausal.results.storage import write_text

LOGITS = 192 * 2**20  # bytes that the logits of one run may take; two runs are held at once
_TOLD = {
    "l0": "active features a token",
    "dead": "share of features that are never active",
    "explained_variance": "share of the variance that is reconstructed",
    "loss_clean": "loss of the model as it is, nats",
    "loss_spliced": "loss with the reconstruction in the place of the activation, nats",
    "loss_ablated": "loss with the mean in the place of the activation, nats",
    "loss_recovered": "share of the loss that the reconstruction gives back",
    "kl_spliced": "KL divergence with the reconstruction, nats",
    "kl_recovered": "share of the KL divergence that the reconstruction gives back",
    "error_share": "share of the pairs' effect that passes through the error",
}


@dataclass(frozen=True, repr=False)
class Health:
    """What was measured of one dictionary on one set of prompts, each number with its clustered interval.

    `loss` and `kl` are taken where the answer is read if the prompts have answers, else at every token; `loss` is then
    that of the answer, else that of the next token. What is recovered is 1 where the reconstruction is as good as the
    activation and 0 where it is as bad as its mean. `error_share` needs pairs: it is the effect of patching the error
    alone as a share of patching the activation; above 0.2 a claim about single features says too little.

    Attributes:
        site: All features of the dictionary.
        measures: Each number by name.
        frequency: At which share of the tokens each feature is active.
        size: Its mean activation where it is active; NaN where it never is.
        n_tokens: How many tokens were looked at.
        where: Where loss and KL were taken: `answer` or `tokens`.
        provenance: Where it comes from.
    """

    site: str
    measures: dict[str, Interval]
    frequency: np.ndarray
    size: np.ndarray
    n_tokens: int
    where: str
    provenance: Provenance
    warnings: tuple[str, ...] = field(default_factory=tuple)

    def __getitem__(self, name: str) -> float:
        """Return the estimate of one measure: `health["explained_variance"]`."""
        if name not in self.measures:
            raise DataError(f"{name!r} was not measured", expected=", ".join(self.measures))
        return self.measures[name].estimate

    @property
    def frame(self) -> pd.DataFrame:
        """One row a measure."""
        rows = [{"measure": name, **asdict(interval), "what": _TOLD[name]} for name, interval in self.measures.items()]
        return pd.DataFrame(rows).rename(columns={"estimate": "value"})

    @property
    def features(self) -> pd.DataFrame:
        """One row a feature: how often and how strongly it is active."""
        return pd.DataFrame({"feature": range(len(self.frequency)), "frequency": self.frequency, "size": self.size})

    def summary(self) -> str:
        """Say it in words, one line a measure."""
        lines = [f"{self.site}: {len(self.frequency)} features on {self.n_tokens:,} tokens, loss at the {self.where}"]
        for name, interval in self.measures.items():
            within = "" if np.isnan(interval.low) else f"  [{interval.low:.3f}, {interval.high:.3f}]"
            lines.append(f"  {name:<18} {interval.estimate:8.3f}{within:<20}  {_TOLD[name]}")
        return "\n".join([*lines, *(f"  note: {text}" for text in self.warnings)])

    def __repr__(self) -> str:
        """Say it in words."""
        return self.summary()

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html.escape(text)}</p>" for text in self.warnings)
        title = f"<p>{html.escape(self.summary().splitlines()[0])}</p>"
        return title + self.frame.to_html(index=False, float_format=lambda x: f"{x:.3f}") + notes

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        return {
            "site": self.site, "n_tokens": self.n_tokens, "where": self.where, "warnings": list(self.warnings),
            "measures": {name: _plain(asdict(interval)) for name, interval in self.measures.items()},
            "frequency": np.round(self.frequency, 6).tolist(),
            "size": [None if np.isnan(x) else round(float(x), 6) for x in self.size],
            "provenance": json.loads(self.provenance.to_json()),
        }  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write it as one JSON file."""
        return write_text(path, json.dumps(self.to_json(), indent=1) + "\n")


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in fields.items()}


@dataclass(frozen=True, kw_only=True)
class HealthChecking(Method[PromptSet | Contrast, Health]):
    """Measure what a dictionary is worth on these prompts.

    Estimand of `loss_recovered`: the share of the loss that is restored where the reconstruction takes the place of the
    activation: 1 is as good as the activation, 0 as bad as its mean, negative is worse than that.

    Attributes:
        dictionary: The dictionary, or the name under which it is attached.
        pairs: Pairs for `error_share`; the prompts themselves if they are pairs.
        batch_size: How many prompts at a time.
        skip_first: Leave the first token of each prompt as it is and out of the counts; by default where the tokenizer
            puts a begin-of-text token there.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> small = mc.features.load(model, "organism:hiring")
        >>> measured = mc.features.health(model, mc.task("hiring").prompts(model, n=64, seed=9), small)
        >>> measured["explained_variance"] > 0.9
        True
    """

    word: ClassVar[str] = "health"
    dictionary: Bound | str = field(kw_only=False)
    pairs: Contrast | None = None
    batch_size: Count = 64
    skip_first: bool | None = None

    def run(self, model: Model, data: PromptSet | Contrast) -> Health:
        """Measure it."""
        started = time.perf_counter()
        prompts, dictionary = self._asked(model, data)
        reads = "answer" if prompts.answer is not None else "tokens"
        skips = begins_alike(model, prompts) if self.skip_first is None else self.skip_first
        mean = _mean(model, dictionary.written, prompts, skips, self.batch_size)
        counts = _Counts(model, dictionary, mean, reads, skips)
        bar = tqdm(total=len(prompts), desc="measuring", unit="prompt", disable=None, leave=False)

        order = by_length(prompts)

        def one_batch(index: Tensor) -> np.ndarray:
            sums = []
            for _, alike, _ in parts(prompts, order[index]):  # which come from the shortest to the longest
                sums += [
                    counts.of(alike.take(torch.arange(*part.indices(len(alike)))).to(bridge.device_of(model)))
                    for part in _that_fit(alike.lengths.tolist(), int(model.cfg.d_vocab))
                ]
            bar.update(len(index))
            return np.concatenate(sums, axis=1)

        sums, used = in_batches(len(prompts), self.batch_size, one_batch)
        bar.close()
        values = np.empty_like(sums)
        values[:, order.numpy()] = sums
        measures = _measures(dict(zip(_Counts.ROWS, values, strict=True)), counts, prompts.clusters)
        pairs = data if self.pairs is None and isinstance(data, Contrast) else self.pairs
        if pairs is not None:
            measures["error_share"] = _error_share(model, dictionary, pairs, self.batch_size)
        frequency = (counts.active / max(counts.n_tokens, 1)).cpu().numpy()
        size = torch.where(counts.active > 0, counts.total / counts.active, torch.nan).cpu().numpy()
        described = facts(model, data, started=started, forwards=-(-len(prompts) // used) * 3, batch_size=used)
        arguments = {"dictionary": dictionary.name, "digest": dictionary.digest}
        provenance = Provenance(method=self.word, arguments=arguments, **described)
        return Health(
            str(dictionary.features), measures, frequency, size, counts.n_tokens, reads, provenance,
            tuple(_notes(measures)),
        )  # fmt: skip

    def cost(self, model: Model, data: PromptSet | Contrast) -> Cost:
        """Return what it would take: three runs of each prompt, one up to the activation, and four of each pair.

        Where the layers after the activation can be run by themselves, two of the three are no more than these.
        """
        prompts, dictionary = self._asked(model, data)
        pairs = data if self.pairs is None and isinstance(data, Contrast) else self.pairs
        of_pairs = 0 if pairs is None else 4 * len(pairs)
        n_layers, site = abilities(model).shape.n_layers, dictionary.written
        below = ((site.layer or 0) + 1) / n_layers  # the run for the mean ends there
        again = 1.0 if _twin(model, dictionary) is None else layers_after(site, n_layers) / n_layers
        forwards = (1 + 2 * again + below) * len(prompts) + of_pairs
        return Cost(dictionary.n_features, len(prompts), forwards, 4 * len(prompts) + of_pairs)

    def _asked(self, model: Model, data: PromptSet | Contrast) -> tuple[PromptSet, Bound]:
        """Return the prompts and the dictionary; refuse one of another model."""
        prompts = data.clean if isinstance(data, Contrast) else data
        check_prompts(model, prompts)
        return prompts, resolved(model, self.dictionary)


health = function(HealthChecking, data="prompts", about="Prompts that it was not trained on; of pairs the clean side.")


def _mean(model: Model, site: Site, prompts: PromptSet, skips: bool, batch_size: int) -> Tensor:
    """Return the mean activation of the tokens that count, [...]; the model is run no further than there."""
    sums: list[tuple[Tensor, int]] = []
    order = by_length(prompts)

    def one_batch(index: Tensor) -> np.ndarray:
        made: list[tuple[Tensor, int]] = []
        for _, part, _ in parts(prompts, order[index]):
            batch = part.to(bridge.device_of(model))
            rows = readings(model, batch, [site])[site][counted(batch, skips)]
            made.append((rows.double().sum(0), len(rows)))
        sums.extend(made)  # only now: a batch that ran out of memory is tried again
        return np.zeros((0, len(index)))

    in_batches(len(prompts), batch_size, one_batch, progress="mean activation")
    return torch.stack([total for total, _ in sums]).sum(0) / max(1, sum(count for _, count in sums))


def _twin(model: Any, dictionary: Bound) -> Twin | None:  # noqa: ANN401
    """Return the bare model if the layers after the activation can be run by themselves."""
    return None if dictionary.site_out is not None else suffix_twin(model, dictionary.written)


def _that_fit(lengths: list[int], vocabulary: int) -> list[slice]:
    """Cut prompts in the order of length into parts whose logits may be held at once."""
    most = max(1, LOGITS // (4 * vocabulary))  # tokens
    parts, start = [], 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - start) * lengths[end] > most:
            parts.append(slice(start, end))
            start = end
    return parts


class _Counts:
    """Everything that is summed over tokens, batch by batch.

    Each batch is run three times: as it is, with the reconstruction and with the mean. Where the layers after the
    activation can be run by themselves, the last two begin there.
    """

    ROWS = ("l0", "tokens", "residual", "variance", "clean", "spliced", "ablated", "kl_spliced", "kl_ablated")

    def __init__(self, model: Model, dictionary: Bound, mean: Tensor, reads: str, skips: bool) -> None:
        self.model, self.dictionary, self.mean, self.reads, self.skips = model, dictionary, mean, reads, skips
        self.twin = _twin(model, dictionary)
        self.active = torch.zeros(dictionary.n_features, dtype=torch.float64)
        self.total = torch.zeros(dictionary.n_features, dtype=torch.float64)
        self.n_tokens = 0

    @torch.no_grad()
    def of(self, batch: PromptSet) -> np.ndarray:
        """Return the row of each sum, [sum prompt]."""
        mask = counted(batch, self.skips)
        (features, error, y), clean, edited = self._runs(batch, mask)
        mean = torch.broadcast_to(self.mean.to(y), y.shape)
        sums = [((features != 0).sum(-1) * mask).sum(1), mask.sum(1)]
        sums += [((part.flatten(2).double().square().sum(-1)) * mask).sum(1) for part in (error, y - mean)]
        losses, divergences = [self._loss(clean, batch)], []
        for spliced in (True, False):
            logits = edited(None if spliced else mean)
            losses.append(self._loss(logits, batch))
            divergences.append(self._kl(clean, logits, batch))
            del logits  # before the next run makes others
        rows = np.stack([value.double().cpu().numpy() for value in (*sums, *losses, *divergences)])
        # Only now: a batch that ran out of memory is tried again.
        shown = features[mask]
        self.active += torch.count_nonzero(shown, 0).cpu()
        self.total += shown.sum(0, dtype=torch.float64).cpu()
        self.n_tokens += len(shown)
        return rows

    def _runs(self, batch: PromptSet, mask: Tensor) -> tuple[list[Tensor], Tensor, Callable[[Tensor | None], Tensor]]:
        """Return features, error and activation, the logits, and those with another activation, the reconstruction if None."""
        dictionary = self.dictionary
        sites = (dictionary.features, dictionary.error, dictionary.written)
        if self.twin is None:
            run = forward(self.model, batch, read=list(sites))
            error = run.read[dictionary.error]

            def by_the_loop(value: Tensor | None) -> Tensor:
                site, new = (
                    (dictionary.written, value)
                    if value is not None
                    else (dictionary.error, error.new_zeros(error.shape))
                )
                return forward(self.model, batch, [Edit(site, Patch())], sources=[Source(new, mask)]).logits

            return [run.read[site] for site in sites], run.logits, by_the_loop
        suffix = Suffix(self.twin, batch, dictionary.written)
        x = suffix.value
        features = dictionary.encode(x)
        error = x - dictionary.like(dictionary.decode(features), x)

        def from_there(value: Tensor | None) -> Tensor:
            return suffix.logits_with(torch.where(mask[..., None], x - error if value is None else value, x))

        return [features, error, x], suffix.logits(), from_there

    def _loss(self, logits: Tensor, batch: PromptSet) -> Tensor:
        if self.reads == "answer":
            return -METRICS["logprob"](logits, batch)
        # Prompt by prompt, so that nothing as large as all logits is made beside them.
        return torch.cat([METRICS["loss"](row[None], batch.take([i])) for i, row in enumerate(logits)])

    def _kl(self, old: Tensor, new: Tensor, batch: PromptSet) -> Tensor:
        if self.reads == "answer":
            return METRICS["kl"](new, batch, old)
        rows = []
        for before, after, mask in zip(old, new, batch.mask, strict=True):
            before, after = (logits[mask].float().log_softmax(-1) for logits in (before, after))
            rows.append((before.exp() * (before - after)).sum(-1).mean())
        return torch.stack(rows)


def _measures(rows: dict[str, np.ndarray], counts: _Counts, clusters: Sequence[str]) -> dict[str, Interval]:
    def rest(numerator: np.ndarray, denominator: np.ndarray) -> Interval:
        """Return one minus a ratio of means."""
        lost = ratio_interval(numerator, denominator, clusters)
        return Interval(1 - lost.estimate, 1 - lost.high, 1 - lost.low, lost.n, lost.n_clusters)

    dead = float((counts.active == 0).double().mean())
    lost = rows["spliced"] - rows["clean"]
    return {
        "l0": ratio_interval(rows["l0"], rows["tokens"], clusters),
        "dead": Interval(dead, np.nan, np.nan, counts.dictionary.n_features, 1),
        "explained_variance": rest(rows["residual"], rows["variance"]),
        "loss_clean": mean_interval(rows["clean"], clusters),
        "loss_spliced": mean_interval(rows["spliced"], clusters),
        "loss_ablated": mean_interval(rows["ablated"], clusters),
        "loss_recovered": rest(lost, rows["ablated"] - rows["clean"]),
        "kl_spliced": mean_interval(rows["kl_spliced"], clusters),
        "kl_recovered": rest(rows["kl_spliced"], rows["kl_ablated"]),
    }


def _error_share(model: Any, dictionary: Bound, pairs: Contrast, batch_size: int) -> Interval:  # noqa: ANN401
    """Return the effect of patching the error alone as a share of patching the activation."""
    metric = METRICS["logit_diff" if pairs.clean.foil is not None else "logprob"]
    metric.check(pairs.clean)
    cells = [(Edit(dictionary.error, Patch()),), (Edit(dictionary.written, Patch()),)]
    plan = Plan(pairs.clean, cells, metric, rows=pairs.corrupt)
    measured = evaluate(model, plan, batch_size=batch_size, progress="error", unedited=True)
    base = measured.unedited["base"]
    return ratio_interval(measured.values[0] - base, measured.values[1] - base, pairs.clean.clusters)


def _notes(measures: dict[str, Interval]) -> list[str]:
    notes = []
    if measures["loss_ablated"].estimate - measures["loss_clean"].estimate < 1e-3:
        notes.append("the loss hardly depends on this activation, so the share recovered says nothing: see the KL")
    share = measures.get("error_share")
    if share is not None and abs(share.estimate) > 0.2:
        notes.append("more than a fifth of the effect passes through the error: single features say too little")
    return notes
