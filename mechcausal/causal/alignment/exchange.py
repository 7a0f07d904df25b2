"""The run behind every interchange: parts of a prompt's run set to what they are in the runs of other prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Place, Site, vector
from mechcausal.arguments import Model, checked
from mechcausal.causal.alignment.moves import moved, position_axis
from mechcausal.causal.alignment.pairs import Pairs
from mechcausal.causal.hypothesis import Hypothesis, same_kind
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.metrics import at_read_position
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities
from mechcausal.models.engine import check_prompts, in_batches
from mechcausal.models.hooked import Source, forward
from mechcausal.models.sources import SourceRun, check_source

_STREAMS = ("embed", "resid_pre", "resid_mid", "resid_post")
Readings = Mapping[Site, Tensor]


@checked
def exchange(
    model: Model,
    base: PromptSet,
    *swaps: tuple[str | Place | Sequence[str | Place], PromptSet],
) -> Tensor:
    """Return the logits at the read position, [batch vocab], with parts set to what they are in other runs.

    Args:
        model: The model.
        base: The prompts that are run.
        *swaps: (parts, prompts): these parts take their values from the runs of these prompts, row by row.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:by_hand")
        >>> pairs = mc.contrast("by_hand/gender", model, n=4)
        >>> moved = exchange(model, pairs.corrupt, ("L0.z.H0@end", pairs.clean))
        >>> bool((moved.argmax(-1) == pairs.clean.answer).all())
        True
    """
    device = bridge.device_of(model)
    width = max(base.tokens.shape[1], *(prompts.tokens.shape[1] for _, prompts in swaps))
    base = base.padded(width).to(device)
    made = []
    for spec, prompts in swaps:
        parts = [Place.parse(part) for part in ([spec] if isinstance(spec, (str, Place)) else spec)]
        source = prompts.padded(width).to(device)
        made.append((parts, source, read_parts(model, source, parts)))
    return run_with(model, base, made)[0]


def read_parts(model: Any, prompts: PromptSet, parts: Sequence[Place], source_model: Any = None) -> Readings:  # noqa: ANN401
    """Run prompts as they are, by another model where one is given; return the activations that hold these parts."""
    wholes = list(dict.fromkeys(part.site.whole for part in parts))
    return SourceRun(source_model).recorded(model, prompts, prompts, wholes)[0]


def run_with(
    model: Any,  # noqa: ANN401
    base: PromptSet,
    swaps: Sequence[tuple[Sequence[Place], PromptSet, Readings]],
) -> tuple[Tensor, Tensor]:
    """Run the base with parts taken from source runs.

    Returns:
        The logits at the read position, and in which rows both prompts have the positions of every part.
    """
    edits, sources = [], []
    reached = torch.ones(len(base), dtype=torch.bool, device=base.tokens.device)
    for parts, prompts, taken in swaps:
        for part in parts:
            activation = taken[part.site.whole]
            axis = position_axis(part.site)
            values, mask, matched = _lined_up(activation, prompts.select(part.at), base.select(part.at), axis)
            edits.append(Edit(part.site, Patch(), part.at))
            sources.append(Source(values, mask, part.columns(activation)))
            reached = reached & matched
    return at_read_position(forward(model, base, edits, sources=sources).logits, base), reached


def _lined_up(values: Tensor, source_mask: Tensor, base_mask: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the values under the base's columns, the columns, and the rows in which both prompts have them."""
    if torch.equal(source_mask, base_mask):
        return values, base_mask, base_mask.any(1)
    fits = (source_mask.sum(1) == base_mask.sum(1)) & base_mask.any(1)
    source_mask, base_mask = source_mask & fits[:, None], base_mask & fits[:, None]
    return moved(values, source_mask, base_mask, axis=axis), base_mask, fits


@dataclass(frozen=True)
class Cell:
    """One thing to measure: pairs, and where each exchanged variable is said to be."""

    pairs: Pairs
    parts: Mapping[str, Sequence[Place]]


@dataclass(frozen=True)
class Scores:
    """What came out, [cell pair]; NaN where a prompt lacks a position.

    Attributes:
        hits: Whether the expected answer is the best of the answer words.
        strict: Whether it is the best of the whole vocabulary.
        toward: Its logit minus that of the base's own answer (of the next answer word where both are the same).
        unedited: The same three for the unedited base run.
        forwards: How many forwards were run.
        batch_size: The batch size that fitted.
    """

    hits: np.ndarray
    strict: np.ndarray
    toward: np.ndarray
    unedited: tuple[np.ndarray, np.ndarray, np.ndarray]
    forwards: int
    batch_size: int


def score(
    model: Any,  # noqa: ANN401
    prompts: PromptSet,
    cells: Sequence[Cell],
    words: Tensor,
    *,
    batch_size: int,
    progress: str = "interchange",
    source_model: Any = None,  # noqa: ANN401
) -> Scores:
    """Run every cell on every pair; all cells share the base rows.

    Args:
        model: The model.
        prompts: The prompts that pairs are rows of.
        cells: What to measure.
        words: The token of each answer.
        batch_size: How many pairs at a time.
        progress: What the progress bar says.
        source_model: The model that runs the source prompts; the model itself where None.
    """
    if source_model is not None:
        check_source(
            model, source_model, [part.site for cell in cells for some in cell.parts.values() for part in some]
        )
        check_prompts(source_model, prompts)
    base = cells[0].pairs.base
    assert all(np.array_equal(cell.pairs.base, base) for cell in cells)
    device = bridge.device_of(model)
    words = words.to(device)
    forwards = 0
    bar = tqdm(total=len(cells) * len(base), desc=progress, unit="pair", disable=None, leave=False)

    def one_batch(index: Tensor) -> np.ndarray:
        nonlocal forwards
        rows = index.numpy()
        batch = prompts.take(base[rows]).to(device)
        unedited = at_read_position(forward(model, batch).logits, batch)
        forwards += 1
        out = np.full((6, len(cells), len(rows)), np.nan)
        # One run for each source prompt set, whichever cells and variables read it.
        wanted: dict[int, list[Place]] = {}
        for cell in cells:
            for variable, source in cell.pairs.sources.items():
                wanted.setdefault(id(source), []).extend(cell.parts[variable])
        taken: dict[int, tuple[PromptSet, Readings]] = {}
        for number, cell in enumerate(cells):
            swaps = []
            for variable, source in cell.pairs.sources.items():
                if id(source) not in taken:
                    prompt = prompts.take(source[rows]).to(device)
                    taken[id(source)] = prompt, read_parts(model, prompt, wanted[id(source)], source_model)
                    forwards += 1
                swaps.append((cell.parts[variable], *taken[id(source)]))
            logits, reached = run_with(model, batch, swaps)
            forwards += 1
            pairs = cell.pairs.take(rows)
            out[:3, number] = np.where(reached.cpu().numpy(), _judged(logits, pairs, words), np.nan)
            out[3:, number] = np.where(reached.cpu().numpy(), _judged(unedited, pairs, words), np.nan)
            bar.update(len(rows))
        return out.reshape(-1, len(rows))

    measured, used = in_batches(len(base), batch_size, one_batch)
    bar.close()
    hits, strict, toward, *before = measured.reshape(6, len(cells), len(base))
    return Scores(hits, strict, toward, (before[0], before[1], before[2]), forwards, used)


def forwards_of(cells: Sequence[Cell]) -> int:
    """Return how many forwards `score` runs for each pair: the base, each set of source prompts once, and every cell."""
    return 1 + len({id(source) for cell in cells for source in cell.pairs.sources.values()}) + len(cells)


def _judged(logits: Tensor, pairs: Pairs, words: Tensor) -> np.ndarray:
    """Return hits, strict hits and the logit difference towards the expected answer, [3 pair]."""
    expected = torch.as_tensor(pairs.expected, device=words.device)
    before = torch.as_tensor(pairs.before, device=words.device)
    other = torch.where(before == expected, (expected + 1) % len(words), before)
    said = logits[:, words]
    hits = said.argmax(1) == expected
    strict = logits.argmax(1) == words[expected]
    toward = said.gather(1, expected[:, None])[:, 0] - said.gather(1, other[:, None])[:, 0]
    return torch.stack([hits.double(), strict.double(), toward.double()]).cpu().numpy()


def placebos(
    able: Abilities, parts: Sequence[Place], hypothesis: Hypothesis, count: int, draw: np.random.Generator
) -> list[tuple[Place, ...]]:
    """Return places like these that the hypothesis does not name, at most `count`, drawn at random.

    For a subspace they are random subspaces of the same size in the rest of the activation; for a head or a sublayer
    others of its kind; for a whole stream the streams of earlier layers, because later ones carry all that it carries.
    """
    named = [part for other in hypothesis.alignment.values() for part in other]
    choices: list[list[Place]] = []
    for part in parts:
        if part.basis:
            taken = [
                row for place in (*named, part) if (place.site, place.at) == (part.site, part.at) for row in place.basis
            ]
            drawn = [_random_subspace(part, np.array(taken), draw) for _ in range(count)]
            rooms = [room for room in drawn if room is not None]
        else:
            rooms = same_kind(able, part, [place.site for place in named] + [part.site])
            if part.site.component in _STREAMS:
                rooms = [room for room in rooms if room.depth < part.depth]
        choices.append([rooms[i] for i in draw.permutation(len(rooms))])
    out: list[tuple[Place, ...]] = []
    for number in range(min(count, *(len(rooms) for rooms in choices))):
        # Two parts of one variable go to two places.
        candidate = tuple(rooms[(number + shift) % len(rooms)] for shift, rooms in enumerate(choices))
        if len(set(candidate)) == len(candidate):
            out.append(candidate)
    return out


def _random_subspace(part: Place, taken: np.ndarray, draw: np.random.Generator) -> Place | None:
    span = np.linalg.qr(taken.T)[0]
    width, size = taken.shape[1], len(part.basis)
    if width - span.shape[1] < size:
        return None
    random = draw.normal(size=(width, size))
    columns = np.linalg.qr(random - span @ (span.T @ random))[0]
    return Place(part.site, part.at, tuple(vector(row) for row in columns.T))
