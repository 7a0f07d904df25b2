"""Which of many places carry a variable? A mask over them, trained to exchange the variable and nothing else.

Every place is moved between runs by a share; the shares are trained so that the answers are those of the causal model
with the variable exchanged, and as few places as possible are moved (desiderata-based masking, Davies et al. 2023).
Base and source differ in everything else as well, so a place that carries another variable is not worth its price.
Descent leaves places in that only help a little, so in the end those are left out that no answer needs.

What stands for a place may be a head, a neuron, a feature of a dictionary, or a principal direction of an activation.
"""

from __future__ import annotations

import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from mechcausal.address import Place, Selection, expand
from mechcausal.arguments import Count, Model, NotNegative, OpenShare, Positive, Seed
from mechcausal.causal.alignment.exchange import Cell, Scores, score
from mechcausal.causal.alignment.interchanged import ALIGNED, METRIC, Interchange, Line, assembled, row_of
from mechcausal.causal.alignment.pairs import Pairs, base_rows, check_exchange, draw_pairs, refuse_unchanged
from mechcausal.causal.alignment.search import Harvest, Split, minimize, practice, split_for_search
from mechcausal.causal.alignment.units import Over, Soft, merged, principal, searched
from mechcausal.causal.answers import answer_tokens
from mechcausal.causal.fields import hypothesis_about, read_question, write_question
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.places import SiteSpec, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks.definition import Task
from mechcausal.method import Cost, Method, function
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Judged

EVERY, ANY = "all places", "random choice"


@dataclass(frozen=True)
class Masked(Judged):
    """The places that a mask selects, judged on prompts that it never saw.

    Attributes:
        variable: The variable.
        parts: The places selected; together they can stand in the alignment of a `Hypothesis`. Directions of one
            activation are one subspace of it.
        weights: For each place the share of it that is moved at the end of training, largest first, and whether it is
            among those selected; for directions also `direction`, their number by variance.
        result: A row for the places selected, for all places, and for as many at random, in the columns of
            `interchange`; `train` and `train_iia` are `value` and `iia` on the prompts searched on.
        losses: The loss at every step, the price of the places included.
    """

    variable: str
    parts: tuple[Place, ...]
    weights: pd.DataFrame
    result: Interchange
    losses: tuple[float, ...]

    def told(self) -> tuple[Interchange, dict[str, Any]]:
        """Return the result, and what was searched and selected as JSON data."""
        return self.result, {
            "variable": self.variable, "parts": [part.to_json() for part in self.parts],
            "weights": self.weights.to_dict("list"), "losses": list(self.losses),
        }  # fmt: skip

    @classmethod
    def restored(cls, path: Path, fields: Mapping[str, Any], extras: Mapping[str, Any]) -> Masked:
        """Make one from what a file holds."""
        del path  # one file holds all there is
        parts = tuple(Place.parse(part) for part in extras["parts"])
        return cls(
            extras["variable"], parts, pd.DataFrame(extras["weights"]), fields["result"], tuple(extras["losses"])
        )

    @property
    def changed(self) -> float:
        """IIA over held-out pairs whose answer changes, with the selected places exchanged whole."""
        return float(self.result.frame["value"].iloc[0])

    @property
    def test_iia(self) -> float:
        """IIA over all held-out pairs."""
        return float(self.result.frame["iia"].iloc[0])

    @property
    def train_changed(self) -> float:
        """IIA over the pairs searched on whose answer changes."""
        return float(self.result.frame["train"].iloc[0])

    @property
    def verdict(self) -> str:
        """Say in one sentence what was selected, and how it does."""
        row = self.result.frame.iloc[0]
        noun = "directions" if "direction" in self.weights else "places"
        if not self.parts:
            return (
                f"no {noun.removesuffix('s')} is worth its price for {self.variable}: {len(self.weights)} were searched"
            )
        estimate = f"{row['value']:.2f} [{row['value_low']:.2f}, {row['value_high']:.2f}]"
        said = f"{_listed(self.parts)} of {len(self.weights)} {noun}: {estimate} of the answers that {self.variable} changes"
        above = row["value_low"] > row["chance"] and row["iia_low"] > row["blind"]
        return said + (" on held-out prompts" if above else ", which is not above chance")

    def __repr__(self) -> str:
        """Say what was selected, and the rows behind it."""
        return f"{self.verdict}\n{self.result.summary()}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.verdict)}</p>{self.result._repr_html_()}"


@dataclass(frozen=True, kw_only=True)
class Masking(Method[PromptSet, Masked]):
    """Select, of many places, those that carry a variable.

    Estimand: the IIA of `interchange` over pairs of held-out prompts, for the selected places exchanged together: 1 where
    they give every answer that the variable changes, 0 where they give none.

    Attributes:
        hypothesis: The causal model: a task (or its name), a causal model or a hypothesis.
        variable: The variable that is looked for.
        sites: The places: heads (`"z"`), neurons (`"L1.mlp_post.N*"`), dimensions (`"L1.resid_post.N*"`), whole sites
            (`"mlp_out"`), features of an attached dictionary (`"L1.resid_post.sae:NAME.F*"`), which are moved as the
            difference that they decode to, or a list of these.
        at: The positions; the last token unless said.
        over: `"places"`, or `"directions"`: the principal directions of each place over the prompts searched on.
        components: How many of these, those of largest variance first; all in which the place varies unless given.
        price: What moving one place whole costs, in nats of the answer's log-probability.
        slack: How much of the IIA on the prompts searched on may be lost by leaving places out in the end.
        steps: How many steps of Adam.
        rate: Its rate at first, in which it falls to zero.
        batch_size: How many pairs at each step.
        holdout: The share of the units that is judged on; no unit and no text is on both sides.
        n: How many pairs are judged on.
        seed: The seed of split and draws.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> prompts = mc.task("hiring").prompts(model, 256, environment="broad")
        >>> masked = mc.causal.mask(model, prompts, "hiring", "merit", sites="L1.z.H*", at="@decision", steps=60)
        >>> [str(part) for part in masked.parts]
        ['L1.z.H0@decision']
    """

    word: ClassVar[str] = "mask"
    hypothesis: Hypothesis | SCM | Task = field(
        kw_only=False, metadata={"read": read_question, "write": write_question}
    )
    variable: str = field(kw_only=False)
    sites: SiteSpec = "z"
    at: Selection = field(default=Selection(-1), metadata={"read": Selection.parse, "write": str})
    over: Over = "places"
    components: Count | None = None
    price: NotNegative = 0.05
    slack: NotNegative = 0.01
    steps: Count = 200
    rate: Positive = 0.1
    batch_size: Count = 64
    holdout: OpenShare = 0.5
    n: Count = 512
    seed: Seed = 0

    def run(self, model: Model, data: PromptSet) -> Masked:
        """Search for the shares, leave out what no answer needs, and judge the rest on held-out prompts."""
        started = time.perf_counter()
        places, question, table, rows = self._search(model, data)
        words = answer_tokens(model, question)
        pairs = practice(question, table, self.variable, rows.train, self.steps * self.batch_size, self.seed)
        refuse_unchanged(pairs, [self.variable])
        with torch.inference_mode(False):  # what is made in inference mode cannot be searched
            values = Harvest(model, data, rows.train, places, batch_size=self.batch_size)
            units = places if self.over == "places" else principal(places, values, self.components)
            soft = Soft(units, values)
        losses = self._descend(model, values, soft, pairs, words)
        share = soft.shares(1.0).detach().cpu().numpy()
        draw = np.random.default_rng([self.seed, 5])
        trim = _Trim(
            model, data, self.variable, pairs.take(np.arange(min(self.n, len(pairs)))), words, values, self.batch_size
        )
        chosen = trim.needed([units[i] for i in np.flatnonzero(share > 0.5)], self.slack)
        rooms = {
            ALIGNED: chosen,
            EVERY: units,
            ANY: [units[i] for i in draw.choice(len(units), size=len(chosen), replace=False)],
        }
        forwards, judged = values.forwards + self.steps + trim.forwards, {}
        for side, side_rows in (("train", rows.train), ("test", rows.test)):
            base = base_rows(self.n, side_rows, draw)
            drawn = draw_pairs(question, table, [self.variable], base, draw, pool=side_rows)
            refuse_unchanged(drawn, [self.variable])
            cells = [Cell(drawn, {self.variable: merged(parts, values)}) for parts in rooms.values()]
            judged[side] = score(model, data, cells, words, batch_size=self.batch_size), drawn
            forwards += judged[side][0].forwards
        selected = tuple(chosen if self.over == "places" else merged(chosen, values))
        result = assembled(
            Interchange, self._lines(rooms, values, judged), data,
            chance=1 / len(words),
            provenance=Provenance(
                method=self.word,
                arguments={
                    "metric": METRIC, "scm": question.scm.name, "variable": self.variable, "sites": plain(self.sites),
                    "at": str(self.at), "over": self.over, "price": self.price, "slack": self.slack,
                    "steps": self.steps, "rate": self.rate, "holdout": self.holdout,
                    **({} if self.over == "places" else {"components": self.components}),
                    "found": [str(part) for part in selected],
                },
                seed=self.seed,
                **facts(
                    model, data, started=started, forwards=forwards, batch_size=self.batch_size,
                    n_train=len(rows.train), n_test=len(rows.test),
                ),
            ),
        )  # fmt: skip
        weights = pd.DataFrame({"site": [str(part.site) for part in units]})
        if self.over == "directions":
            weights["direction"] = weights.groupby("site").cumcount()
        weights["share"], weights["selected"] = share.astype(float), [part in chosen for part in units]
        weights = weights.sort_values(["selected", "share"], ascending=False, ignore_index=True, kind="stable")
        return Masked(self.variable, selected, weights, result, losses)

    def cost(self, model: Model, data: PromptSet) -> Cost:
        """Return how many runs it takes without what leaving places out needs, a backward pass counted as two more."""
        _, _, _, rows = self._search(model, data)
        total = len(rows.train) + 3 * self.steps * self.batch_size + 2 * self.n * 5
        return Cost(3, self.n, total, total)

    def _search(self, model: Model, prompts: PromptSet) -> tuple[list[Place], Hypothesis, Table, Split]:
        """Refuse what cannot be searched; return places, question, variables, and the rows to search and judge on."""
        able = abilities(model)
        places = searched([Place(site, self.at) for site in expand(self.sites, able.shape)], self.over, self.components)
        question = hypothesis_about(self.hypothesis, self.variable, places[0])
        everywhere = hypothesis_about(self.hypothesis, self.variable, *places)
        table = check_exchange(model, everywhere, prompts, [self.variable])
        answer_tokens(model, question)
        return places, question, table, split_for_search(prompts, self.holdout, self.seed)

    def _descend(self, model: Model, values: Harvest, soft: Soft, pairs: Pairs, words: Tensor) -> tuple[float, ...]:
        """Search for the share of every unit; return the losses."""
        tokens = words.to(values.device)

        def objective(step: int) -> Tensor:
            batch = pairs.take(np.arange(step * self.batch_size, (step + 1) * self.batch_size))
            shares = soft.shares(step / max(self.steps - 1, 1))
            logits = values.logits(batch.base, batch.sources[self.variable], soft.moves(shares))
            expected = torch.as_tensor(batch.expected, device=tokens.device)
            return F.cross_entropy(logits.float(), tokens[expected]) + self.price * shares.sum()

        return minimize(model, [(soft.raw, self.rate)], objective, self.steps, progress="mask")

    def _lines(
        self, rooms: Mapping[str, Sequence[Place]], values: Harvest, judged: Mapping[str, tuple[Scores, Pairs]]
    ) -> list[Line]:
        """Return a row for the places selected, for all places, and for as many at random."""
        (before, practiced), (after, drawn) = judged["train"], judged["test"]
        lines = []
        for number, (role, parts) in enumerate(rooms.items()):
            hits = before.hits[number]
            columns = {
                "train": float(hits[practiced.changed].mean()),
                "train_iia": float(hits.mean()),
                "places": len(parts),
            }
            shown = parts if self.over == "places" else merged(parts, values)
            name = None if 0 < len(shown) <= 3 else f"{len(parts)} {self.over}"
            lines.append(Line.of(row_of(shown, [self.variable], role, site=name) | columns, drawn, after, [number]))
        return lines


@dataclass(eq=False)
class _Trim:
    """Places left out as long as the answers stay: the least needed first, as many as possible."""

    model: Any
    prompts: PromptSet
    variable: str
    pairs: Pairs
    words: Tensor
    values: Harvest
    batch_size: int
    forwards: int = 0

    def needed(self, places: Sequence[Place], slack: float) -> list[Place]:
        """Return the places that cannot be left out, in their own order."""
        if len(places) < 2:
            return list(places)
        spared = [[part for part in places if part is not left_out] for left_out in places]
        hits, toward = self._scores([list(places), *spared])
        # Without a place that is not needed the answer stays, and its logit is highest without one that is in the way.
        order = sorted(range(len(places)), key=lambda number: (hits[number + 1], toward[number + 1]), reverse=True)
        fewest, most = 0, len(places) - 1  # of places left out: this many are fine, and perhaps up to so many
        while fewest < most:
            middle = (fewest + most + 1) // 2
            kept = [places[number] for number in sorted(order[middle:])]
            fewest, most = (middle, most) if self._scores([kept])[0][0] >= hits[0] - slack else (fewest, middle - 1)
        return [places[number] for number in sorted(order[fewest:])]

    def _scores(self, rooms: Sequence[Sequence[Place]]) -> tuple[np.ndarray, np.ndarray]:
        """Return for each set of places the share of expected answers, and their mean logit difference."""
        cells = [Cell(self.pairs, {self.variable: merged(parts, self.values)}) for parts in rooms]
        scores = score(
            self.model, self.prompts, cells, self.words, batch_size=self.batch_size, progress="mask, trimmed"
        )
        self.forwards += scores.forwards
        return scores.hits.mean(1), scores.toward.mean(1)


def _listed(parts: Sequence[Place], most: int = 5) -> str:
    named = ", ".join(str(part) for part in parts[:most])
    return named if len(parts) <= most else f"{named} and {len(parts) - most} more"


mask = function(Masking, data="prompts", about="The prompts, with the value of every variable.")
