"""A circuit: the edges of a model that are kept, with the score of each, and everything that was asked for it.

Circuits are found by `mc.discover`, read from files of other tools, or made from a hypothesis. All say the same: which
edges stay as they are, while those outside carry something else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mechcausal.address import ALL, Place, Selection
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.graph import Graph, load_document, save_document
from mechcausal.errors import ResultError, SiteError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from mechcausal.circuits.certifying.certified import Certificate
    from mechcausal.circuits.evaluation.evaluated import Evaluation
    from mechcausal.circuits.unique.uniqueness import Uniqueness
    from mechcausal.data.contrast import Contrast

FORMAT = 1
CONVENTION = (
    "score > 0: leaving the edge as it is raises the metric of the clean run over that with the edge replaced; the larger "
    "the absolute value, the more the edge matters"
)
"""What a score says, whatever method it comes from."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """Which edges of a model are kept, and their scores.

    Attributes:
        wiring: All edges that the model has.
        kept: The edges of the circuit, [sender receiver position].
        scores: What each edge contributes, [sender receiver position]; NaN where there is no edge, or no score.
        nodes: What each sender contributes, [sender position], where senders were scored; else None.
        positions: The selections that are told apart; one that selects all positions where none are.
        about: How it was found, as JSON data: method, model, pairs, metric, ablation, seed.
        spread: The standard error of each score over clusters of pairs, in their shape; None where it is not known.
    """

    wiring: Wiring
    kept: np.ndarray
    scores: np.ndarray
    nodes: np.ndarray | None = None
    positions: tuple[Selection, ...] = (ALL,)
    about: Mapping[str, Any] = field(default_factory=dict)
    spread: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (*self.wiring.possible.shape, len(self.positions))
        for name in ("kept", "scores"):
            if getattr(self, name).shape != shape:
                raise SiteError(f"{name} of a circuit has another shape", got=getattr(self, name).shape, expected=shape)
        object.__setattr__(self, "kept", self.kept & self.wiring.possible[..., None])
        for name in ("scores", "spread"):
            if getattr(self, name) is not None:
                here = np.where(self.wiring.possible[..., None], getattr(self, name), np.nan)
                object.__setattr__(self, name, here)

    @classmethod
    def of(cls, wiring: Wiring, edges: Iterable[tuple[Any, Any]], about: Mapping[str, Any] | None = None) -> Circuit:
        """Make a circuit of printed edges: `Circuit.of(wiring, [("L0.z.H1", "L1.q.H0"), ("L1.z.H0", "logits")])`."""
        kept = np.zeros((*wiring.possible.shape, 1), dtype=bool)
        for sender, receiver in edges:
            edge = wiring.sender(sender), wiring.receiver(receiver)
            if not wiring.possible[edge]:
                raise SiteError(f"no edge leads from {sender} to {receiver}", expected="a sender before its receiver")
            kept[edge] = True
        return cls(wiring, kept, np.full(kept.shape, np.nan), about=about or {})

    def __len__(self) -> int:
        """Return the number of edges that are kept."""
        return int(self.kept.sum())

    def __eq__(self, other: object) -> bool:
        """Say whether two circuits keep the same edges of the same wiring, with the same scores."""
        return (
            isinstance(other, Circuit)
            and self.wiring == other.wiring
            and self.positions == other.positions
            and np.array_equal(self.kept, other.kept)
            and np.array_equal(self.scores, other.scores, equal_nan=True)
        )

    __hash__ = None

    @property
    def hash(self) -> str:
        """A digest of the circuit and of all that it says of itself."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def share(self) -> float:
        """Which share of all edges is kept."""
        return len(self) / (self.wiring.count * len(self.positions))

    @property
    def edges(self) -> list[tuple[Place, Place]]:
        """The edges that are kept, as places; the position is that of the receiver."""
        return [self._edge(*index) for index in np.argwhere(self.kept)]

    def _edge(self, sender: int, receiver: int, position: int) -> tuple[Place, Place]:
        at = self.positions[position]
        return Place(self.wiring.senders[sender], at), Place(self.wiring.receivers[receiver], at)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row for each edge with a score or in the circuit, what matters most first."""
        sender, receiver, position = np.nonzero(self.kept | ~np.isnan(self.scores))
        score = self.scores[sender, receiver, position]
        order = np.argsort(-np.nan_to_num(np.abs(score), nan=-1.0), kind="stable")
        senders, receivers = (
            np.array([str(s) for s in sites]) for sites in (self.wiring.senders, self.wiring.receivers)
        )
        at = np.array([str(selection) for selection in self.positions])
        kept = self.kept[sender, receiver, position]
        error = np.full(len(score), np.nan) if self.spread is None else self.spread[sender, receiver, position]
        columns = {
            "sender": senders[sender], "receiver": receivers[receiver], "at": at[position], "score": score, "error": error, "kept": kept,
        }  # fmt: skip
        return pd.DataFrame({name: values[order] for name, values in columns.items()})

    @cached_property
    def kept_senders(self) -> np.ndarray:
        """Which senders have an edge in the circuit, [sender]."""
        return np.asarray(self.kept.any((1, 2)))

    def keep(self, kept: np.ndarray, **about: Any) -> Circuit:  # noqa: ANN401 - JSON data
        """Return the circuit of other edges with the same scores.

        Args:
            kept: The edges, [sender receiver position].
            **about: What is to be said of it besides.
        """
        return replace(self, kept=kept, about={**self.about, **about})

    def top(self, n: int) -> Circuit:
        """Return the circuit of the n edges with the largest scores in absolute terms, connected or not."""
        size = np.nan_to_num(np.abs(self.scores), nan=-1.0).ravel()
        kept = np.zeros(size.shape, dtype=bool)
        kept[np.argsort(-size, kind="stable")[:n]] = True
        return self.keep(kept.reshape(self.scores.shape) & ~np.isnan(self.scores), search="top", size=n)

    def threshold(self, score: float) -> Circuit:
        """Return the circuit of all edges whose scores are at least so large, whatever their sign."""
        return self.keep(np.nan_to_num(np.abs(self.scores), nan=-1.0) >= score, search="threshold", threshold=score)

    def connected(self) -> Circuit:
        """Return the edges that lie on a way from the embedding to the logits inside the circuit."""
        from mechcausal.circuits.edges.ways import connected

        return self.keep(connected(self.wiring, self.kept))

    @cached_property
    def graph(self) -> Graph:
        """The circuit as a graph of places: what a head reads (`L3.q.H1`) stands before the head (`L3.z.H1`)."""
        edges = {self._edge(*index): float(self.scores[tuple(index)]) for index in np.argwhere(self.kept)}
        nodes = dict.fromkeys((place for edge in edges for place in edge), math.nan)
        within: dict[tuple[Place, Place], float] = {}
        for _, read in edges:
            for owner in self.wiring.owners(read.site):
                sender = Place(self.wiring.senders[owner], read.at)
                if sender != read and sender in nodes:
                    within[read, sender] = math.nan
        if self.nodes is not None:
            for place in nodes:
                if place.site in self.wiring.senders and (at := self._position(place.at)) is not None:
                    nodes[place] = float(self.nodes[self.wiring.sender(place.site), at])
        return Graph(nodes, {**edges, **within}, self.about)

    def _position(self, at: Selection) -> int | None:
        return self.positions.index(at) if at in self.positions else None

    def to_json(self) -> dict[str, Any]:
        """Return JSON data from which `from_json` makes an equal circuit."""
        listed = np.argwhere(self.kept | ~np.isnan(self.scores))
        scores = self.scores[tuple(listed.T)]
        return {
            "format": FORMAT,
            "kind": "circuit",
            "convention": CONVENTION,
            "wiring": self.wiring.to_json(),
            "positions": [str(at) for at in self.positions],
            "senders": [str(site) for site in self.wiring.senders],
            "receivers": [str(site) for site in self.wiring.receivers],
            "edges": listed.tolist(),
            "scores": _plain(scores),
            "spread": None if self.spread is None else _plain(self.spread[tuple(listed.T)]),
            "kept": self.kept[tuple(listed.T)].tolist(),
            "nodes": None if self.nodes is None else [_plain(row) for row in self.nodes],
            "about": dict(self.about),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Circuit:
        """Make a circuit from its JSON data."""
        if data.get("format") != FORMAT or data.get("kind") != "circuit":
            raise ResultError(
                "this is not a circuit, or one of another format", got=data.get("format"), expected=FORMAT
            )
        try:
            wiring = Wiring.from_json(data["wiring"])
            positions = tuple(Selection.parse(at) for at in data["positions"])
            shape = (*wiring.possible.shape, len(positions))
            kept, scores = np.zeros(shape, dtype=bool), np.full(shape, np.nan)
            index = tuple(np.asarray(data["edges"], dtype=int).reshape(-1, 3).T)
            scores[index] = _array(data["scores"])
            spread = None
            if data.get("spread") is not None:
                spread = np.full(shape, np.nan)
                spread[index] = _array(data["spread"])
            kept[index] = data["kept"]
            nodes = data.get("nodes")
            table = None if nodes is None else np.stack([_array(row) for row in nodes])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ResultError("this circuit is incomplete", got=str(error)[:100]) from error
        return cls(wiring, kept, scores, table, positions, data.get("about", {}), spread)

    def save(self, path: str | Path) -> Path:
        """Write the circuit to a JSON file with a checksum, atomically."""
        return save_document(Path(path), self.to_json(), "circuit")

    @classmethod
    def load(cls, path: str | Path) -> Circuit:
        """Read what `save` wrote."""
        return cls.from_json(load_document(Path(path), "circuit"))

    def write(self, path: str | Path, **options: Any) -> Path:  # noqa: ANN401 - those of formats.reading.write
        """Write the circuit for another tool, such as `format="eap-ig"` or `"graphml"`; `mc.circuits.write` has the options."""
        from mechcausal.circuits.formats.reading import write

        return write(self, path, **options)

    def summary(self, k: int = 5) -> str:
        """Say how large the circuit is, how it was found, and which edges matter most."""
        at = "" if self.positions == (ALL,) else f" at {len(self.positions)} positions"
        lines = [
            f"circuit: {len(self):,} of {self.wiring.count * len(self.positions):,} edges ({self.share:.1%}){at}, "
            f"{int(self.kept_senders.sum())} of {len(self.wiring.senders)} senders"
        ]
        if "method" in self.about:
            settings = (f"{word} {self.about[word]}" for word in ("metric", "ablation", "n") if word in self.about)
            lines.append(f"  found by {self.about['method']}: {', '.join(settings)}")
        for word in ("certified", "unique"):
            if word in self.about:
                lines.append(f"  {word}: {self.about[word]['sentence']}")
        for _, row in self.frame[self.frame["kept"]].head(k).iterrows():
            position = "" if self.positions == (ALL,) else f" {row['at']}"
            lines.append(f"  {row['sender']} -> {row['receiver']}{position}  {row['score']:+.3f}")
        return "\n".join(lines)

    def evaluate(self, model: Any, pairs: Contrast, **options: Any) -> Evaluation:  # noqa: ANN401 - a TransformerBridge
        """Measure how faithful, complete and minimal the circuit is; `mc.circuits.evaluate` describes the options."""
        from mechcausal.circuits.evaluation.evaluate import evaluate

        return evaluate(model, pairs, self, **options)

    def certify(self, model: Any, pairs: Contrast, **options: Any) -> Certificate:  # noqa: ANN401 - a TransformerBridge
        """Measure the best edges and a random sample of the rest exactly; `mc.circuits.certify` describes the options."""
        from mechcausal.circuits.certifying.certify import certify

        return certify(model, pairs, self, **options)

    def rediscover(self, model: Any, pairs: Contrast, **options: Any) -> Uniqueness:  # noqa: ANN401 - a TransformerBridge
        """Find the circuit again on other halves, by other methods, and without its edges; see `mc.circuits.rediscover`."""
        from mechcausal.circuits.unique.rediscover import rediscover

        return rediscover(model, pairs, self, **options)

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        import html

        from mechcausal.circuits.picture import still

        return f"<div>{still(self)}<pre>{html.escape(self.summary())}</pre></div>"

    def plot(
        self,
        truth: Any = None,  # noqa: ANN401 - a circuit, or what holds one
        *,
        by_head: bool | None = None,
        most_edges: int = 1000,
    ) -> go.Figure:
        """Draw the circuit, each node where the model has it, and the truth with it where that is known.

        All circuits of a model have one layout, so pictures of two of them can be compared node by node. Positions are joined;
        `circuit.graph.plot()` draws them side by side.

        Args:
            truth: The circuit that is known to be true, as `mc.circuits.truth` or `mc.claims.circuit` return it.
            by_head: Whether a head counts as one reader beside the truth; None where the truth does not tell its inputs apart.
            most_edges: How many edges are drawn at most, those with the largest scores.
        """
        from mechcausal.circuits.picture import figure

        return figure(self, truth, by_head=by_head, most_edges=most_edges)


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _array(values: Iterable[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def require_wiring(circuit: Circuit, wiring: Wiring) -> None:
    """Refuse a circuit of another model."""
    if replace(circuit.wiring, split=wiring.split) != wiring:
        raise SiteError(
            "this circuit is of another model",
            got=f"{circuit.wiring.n_layers} layers of {circuit.wiring.n_heads} heads",
            expected=f"{wiring.n_layers} layers of {wiring.n_heads} heads",
        )
