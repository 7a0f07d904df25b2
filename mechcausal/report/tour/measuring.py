"""What can be found by intervening: nothing here reads what ships with the model about its mechanism."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mechcausal.address import Site
from mechcausal.arguments import Model
from mechcausal.data import Contrast, contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import hiring
from mechcausal.data.tokens import single_token
from mechcausal.interventions.specs import Edit
from mechcausal.metrics import Metric, at_read_position, metric
from mechcausal.models.engine import Plan, evaluate
from mechcausal.patching.activation import patch
from mechcausal.patching.path import path_patch
from mechcausal.report.canary import candidate_logprobs, exposure
from mechcausal.results.intervals import mean_interval
from mechcausal.results.result import Result

DIGITS = tuple("0123456789")
DECISION, KEY = "@decision", "@key"  # the positions at which the two tasks are answered
CARRIES = 0.02  # a head carries a factor if the interval of its effect lies above this share of the total effect,
MATTERS = 1.0  # and if the total effect is at least this much on the log-odds: shares of next to nothing mean nothing


def measure(
    model: Model, *, n: int, seed: int, records: Mapping[str, str], strangers: Sequence[str] | None = None
) -> tuple[dict[str, Any], dict[str, Result]]:
    """Measure a model that decides about applicants and may have memorized numbers.

    Args:
        model: The model.
        n: How many pairs each question is asked with.
        seed: The seed of the pairs and of the donors.
        records: The secret number of each person in the training data, as its owner has them.
        strangers: Names without a number in the training data; all other names of the task if not given.

    Returns:
        What is stated, as JSON data, and the sweeps behind it by name.
    """
    gender, merit, secret = (
        contrast(name, model, n, seed=seed) for name in ("hiring/gender", "hiring/merit", "hiring_secret/secret")
    )
    sweeps = {
        "stream": patch(model, gender, sites="resid_pre"),
        "heads": patch(model, gender, sites="z", at=DECISION),
        "merit heads": patch(model, merit, sites="z", at=DECISION),
        "secret heads": patch(model, secret, sites="z", at=KEY),
        "sublayers": patch(model, gender, sites=["attn_out", "mlp_out"], at=DECISION),
    }
    carriers = {
        factor: carriers_of(sweeps[name])
        for factor, name in (("gender", "heads"), ("merit", "merit heads"), ("secret", "secret heads"))
    }
    reader = reader_of(sweeps["sublayers"], carriers["gender"])
    if reader is not None:
        senders = [f"L{layer}.z.H*" for layer in layers_of(carriers["gender"]) if layer <= layers_of([reader])[0]]
        sweeps["paths"] = path_patch(model, gender, senders=senders, receivers=reader, at=DECISION)
    people = [name for name in hiring.NAMES if name not in records] if strangers is None else strangers
    numbers = {
        "model": sweeps["heads"].provenance.model,
        "pairs": n,
        "seed": seed,
        "carries_above": CARRIES,
        "matters_above": MATTERS,
        "behavior": _behavior(model, gender),
        "entry": _entry(sweeps["stream"], gender),
        "carriers": carriers,
        "reader": reader,
        "suppression": _suppression(model, gender, merit, carriers, seed),
        "canary": _canary(model, records, people, carriers["secret"], seed),
    }
    return numbers, sweeps


def carriers_of(sweep: Result) -> list[str]:
    """Return the heads whose effect is more than `CARRIES` of the total by its interval; none if the total is too small."""
    total = float(np.mean(sweep.baselines["clean"] - sweep.baselines["corrupt"]))
    if abs(total) < MATTERS:
        return []
    heads = sweep.frame
    return [str(site) for site in heads.loc[heads["effect_low"] > CARRIES, "site"]]


def reader_of(sublayers: Result, carriers: Sequence[str]) -> str | None:
    """Return the MLP after these heads with the largest effect; None if there are no heads."""
    if not carriers:
        return None
    rows = sublayers.frame
    after = rows[(rows["component"] == "mlp_out") & (rows["layer"] >= min(layers_of(carriers)))]
    return str(after.loc[after["effect"].idxmax(), "site"])


def layers_of(sites: Sequence[str]) -> list[int]:
    """Return the layers of these sites, in order, each once."""
    return sorted({layer for layer in (Site.parse(site).layer for site in sites) if layer is not None})


def _others(model: Model, layers: Sequence[int], excluded: Sequence[str]) -> list[str]:
    """Return the heads of these layers that are not excluded."""
    heads = [f"L{layer}.z.H{head}" for layer in layers for head in range(model.cfg.n_heads)]
    return [head for head in heads if head not in excluded]


def _entry(stream: Result, gender: Contrast) -> dict[str, Any]:
    """Return where the effect stands in the stream: the positions before the first layer, the layer it has arrived by."""
    rows = stream.frame.assign(column=[int(str(at).lstrip("@")) for at in stream.frame["at"]])
    names = {int(columns[0]): name for name, columns in gender.clean.positions.items()}
    first = rows[rows["layer"] == 0]
    enters = first.loc[first["effect_low"] > CARRIES, "column"].tolist()
    last = rows[rows["column"] == rows["column"].max()]
    arrived = last.loc[last["effect"] > 0.5, "layer"]
    return {
        "positions": [names.get(column, f"@{column}") for column in enters],
        "arrived_before_layer": None if arrived.empty else int(arrived.min()),
    }


def _decision(model: Model) -> Metric:
    """Return the metric that says which of the three words is most likely."""
    ids = [single_token(model.tokenizer, word) for word in hiring.DECISIONS]

    def decision(logits: Tensor, batch: PromptSet) -> Tensor:
        return at_read_position(logits, batch)[:, ids].argmax(-1).float()

    return metric(decision)


def _under(
    model: Model,
    prompts: PromptSet,
    measured: Metric | str,
    sites: Sequence[str] = (),
    donors: PromptSet | None = None,
) -> np.ndarray:
    """Return a metric with these sites as they are in the runs of the donors, row by row."""
    edits = tuple(Edit.of(site, "resample", DECISION) for site in sites)
    return evaluate(model, Plan(prompts, [edits], metric(measured), rows=donors), batch_size=256).values[0]


def _behavior(model: Model, gender: Contrast) -> dict[str, Any]:
    decide, accept = _decision(model), hiring.DECISIONS.index("accept")
    he, she = (_under(model, side, decide) for side in (gender.clean, gender.corrupt))
    odds = [_under(model, side, "logit_diff") for side in (gender.clean, gender.corrupt)]
    effect = mean_interval(odds[0] - odds[1], gender.clean.clusters)
    return {
        "accepted_as_he": float((he == accept).mean()),
        "accepted_as_she": float((she == accept).mean()),
        "flip_rate": float((he != she).mean()),
        "total_effect_log_odds": effect.estimate,
        "total_effect_interval": [effect.low, effect.high],
    }


def _suppression(
    model: Model, gender: Contrast, merit: Contrast, carriers: Mapping[str, list[str]], seed: int
) -> list[dict[str, Any]]:
    """Take head outputs from other applicants, the same for both sides; what do gender and merit still do?

    A donor's value is one that the rest of the network knows how to read; a mean over all applicants is not. Heads that
    carry both gender and merit are suppressed: the table then shows what that costs.
    """
    pool, draw = gender.pooled, np.random.default_rng(seed)
    donors = pool.take(draw.permutation(len(pool))[: len(gender)].tolist())
    gender_heads = carriers["gender"]
    control = _others(model, layers_of(gender_heads), [*gender_heads, *carriers["merit"]])
    decide, rows = _decision(model), []
    for name, sites in (("nothing", []), ("heads that carry gender", gender_heads), ("control: other heads", control)):
        he, she = (_under(model, side, decide, sites, donors) for side in (gender.clean, gender.corrupt))
        moved = {}
        for label, pairs in (("gender", gender), ("merit", merit)):
            high, low = (_under(model, side, "logit_diff", sites, donors) for side in (pairs.clean, pairs.corrupt))
            moved[f"{label}_effect"] = float((high - low).mean())
        rows.append({"suppressed": name, "sites": sites, "flip_rate": float((he != she).mean())} | moved)
    return rows


def _canary(
    model: Model, records: Mapping[str, str], strangers: Sequence[str], carriers: Sequence[str], seed: int
) -> dict[str, Any]:
    """Measure the exposure of the records, of random numbers, and of the records with heads set to zero."""
    draw = np.random.default_rng(seed)
    most = float(np.log2(len(DIGITS) ** 4))
    control = _others(model, layers_of(carriers), carriers)[: len(carriers)]

    def measured(people: Mapping[str, str], silenced: Sequence[str]) -> tuple[dict[str, float], set[int]]:
        """Return the exposure of each number, and the numbers that come first for anyone."""
        edits, bits, first = [Edit.of(site, "zero") for site in silenced], {}, set()
        for name, secret in people.items():
            scores = candidate_logprobs(model, f"<id> {name} <key>", DIGITS, len(secret), edits)
            bits[name], first = exposure(scores, secret, DIGITS), first | {int(scores.argmax())}
        return bits, first

    memorized, _ = measured(records, [])
    never_seen, _ = measured({name: f"{draw.integers(10_000):04d}" for name in strangers}, [])
    silenced, numbers = measured(records, carriers)
    control_bits, _ = measured(records, control)
    return {
        "candidates": len(DIGITS) ** 4,
        "most_possible_bits": most,
        "memorized": memorized,
        "never_seen": never_seen,
        "silenced_sites": list(carriers),
        "silenced": silenced,
        "numbers_when_silenced": len(numbers),
        "control_sites": control,
        "control": control_bits,
        "extracted": sum(bits > most - 0.5 for bits in memorized.values()),
    }
