"""A hypothesis: a causal model, and where in the network each of its variables lives.

One hypothesis serves scrubbing, interchange interventions, mediation and training alike:

    Hypothesis(
        task("hiring").scm,
        {"merit": "L1.z.H0@decision", "bias": "L1.z.H2@decision", "score": "L2.mlp_out@decision"},
    )

Variables that are not aligned are computed in between: what `score` reads is found through them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from mechcausal.address import HEAD_COMPONENTS, Place, Site
from mechcausal.arguments import check
from mechcausal.data.drawing import draw
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks import name_of, task
from mechcausal.errors import ArgumentError, DataError, SiteError, did_you_mean, shortened
from mechcausal.models.abilities import Abilities
from mechcausal.models.anatomy import belongs, heads, mlps
from mechcausal.organisms import truth

EdgeKind = Literal["all", "direct"]
EDGES = ("all", "direct")
_PLAIN = ("task", "alignment", "outcome", "edges", "given")


class Hypothesis:
    """A causal model and an alignment of its variables to parts of a network.

    Attributes:
        scm: The causal model.
        alignment: For each aligned variable its parts, all of which carry it together.
        outcome: The variable the network's answer expresses.
        edges: For an edge (parent, child) between aligned variables (or the outcome), `"all"` (the parent acts on the
            child through everything between) or `"direct"` (along the residual stream alone); `"all"` unless said.
        given: Inputs that variables read from places which are no part of the hypothesis; where one is read, it is not
            resampled.
    """

    def __init__(
        self,
        scm: SCM,
        alignment: Mapping[str, Any],
        *,
        outcome: str | None = None,
        edges: Mapping[tuple[str, str], EdgeKind] | None = None,
        given: Sequence[str] = (),
    ) -> None:
        for name, value, hint in (
            ("scm", scm, SCM), ("alignment", alignment, Mapping), ("outcome", outcome, str | None),
            ("edges", edges, Mapping[tuple[str, str], Any] | None), ("given", given, Sequence[str]),
        ):  # fmt: skip
            check(f"Hypothesis cannot take this {name!r}", value, hint)
        self.scm = scm
        self.given = tuple(given)
        scm.require(*([outcome] if outcome else []), *alignment, *given)
        self.outcome = outcome or _outcome(scm, alignment)
        if self.outcome in alignment:
            raise DataError(f"{self.outcome!r} is the outcome: the network's answer expresses it", fix="leave it out")
        places = {variable: _parts(spec) for variable, spec in alignment.items()}
        self.alignment: dict[str, tuple[Place, ...]] = {v: places[v] for v in (*scm.order, *scm.noise) if v in places}
        self.edges: dict[tuple[str, str], EdgeKind] = dict(edges or {})
        self._check()

    @classmethod
    def of(cls, organism: str, name: str | None = None) -> Hypothesis:
        """Return the true hypothesis of an organism; `name` picks one of its tasks, the first unless said."""
        return cls.stated(truth(organism), name)

    @classmethod
    def stated(cls, statement: Mapping[str, Any], name: str | None = None) -> Hypothesis:
        """Return the hypothesis that the truth of an organism states about one of its tasks."""
        tasks = statement.get("tasks")
        if not tasks:
            raise DataError(
                f"organism {statement['name']!r} states effects, and no hypothesis", fix="read mc.truth(...)"
            )
        name = name or tasks[0]
        if name not in tasks:
            raise DataError(f"organism {statement['name']!r} has no task {name!r}", fix=did_you_mean(name, tasks))
        places = {v: variable["parts"] for v, variable in statement["variables"].items() if variable["task"] == name}
        definition = task(name)
        ends = {*places, definition.outcome}
        edges = {(a, b): kind for a, b, kind in statement.get("edge_kinds", ()) if a in places and b in ends}
        given = statement.get("given", {}).get(name, ())
        return cls(definition.scm, places, outcome=definition.outcome, edges=edges, given=given)

    def to_json(self) -> dict[str, Any]:
        """Return the plain form that `from_json` reads: the name of the task, the alignment and what differs from defaults."""
        name = name_of(self.scm)
        if name is None:
            raise ArgumentError(
                f"a hypothesis about the causal model {self.scm.name!r} cannot be written to a file",
                expected="the causal model of a task that ships",
                fix="run it from Python",
            )
        alignment = {
            v: [part.to_json() if part.basis else str(part) for part in parts] for v, parts in self.alignment.items()
        }
        plain: dict[str, Any] = {"task": name, "alignment": alignment, "outcome": self.outcome}
        plain |= {"edges": [[*pair, kind] for pair, kind in self.edges.items()]} if self.edges else {}
        return plain | ({"given": list(self.given)} if self.given else {})

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Hypothesis:
        """Read `{"task": "hiring", "alignment": {"score": "L2.mlp_out@decision"}}`, with `outcome`, `edges`, `given`."""
        if not isinstance(plain, Mapping):
            plain = {"task": plain}
        edges = plain.get("edges", ())
        unknown = [name for name in plain if name not in _PLAIN]
        wrong = not isinstance(edges, Sequence) or not all(isinstance(e, Sequence) and len(e) == 3 for e in edges)
        if unknown or wrong or "task" not in plain or not isinstance(plain.get("alignment"), Mapping):
            raise ArgumentError(
                "this is not a hypothesis",
                got=shortened(repr(dict(plain))),
                expected='{"task": NAME, "alignment": {VARIABLE: PLACE}}, and perhaps outcome, edges, given',
                fix="give edges as [parent, child, kind]" if wrong else None,
            )
        about = task(plain["task"])
        return cls(
            about.scm,
            plain["alignment"],
            outcome=plain.get("outcome", about.outcome),
            edges={(parent, child): kind for parent, child, kind in edges},
            given=plain.get("given", ()),
        )

    def __eq__(self, other: object) -> bool:
        """Say whether two hypotheses claim the same of the same causal model."""
        return isinstance(other, Hypothesis) and self._claims == other._claims

    def __hash__(self) -> int:
        return hash((id(self.scm), tuple(self.alignment.items()), self.outcome))

    @property
    def _claims(self) -> tuple[Any, ...]:
        edges = {pair: kind for pair, kind in self.edges.items() if kind != "all"}
        return id(self.scm), self.alignment, self.outcome, edges, self.given

    def __repr__(self) -> str:
        """Say which variable is where."""
        places = ", ".join(f"{v}: {' + '.join(map(str, parts))}" for v, parts in self.alignment.items())
        return f"Hypothesis({self.scm.name!r}, {places} -> {self.outcome})"

    def _repr_svg_(self) -> str:
        return draw(self.scm, notes={v: " + ".join(map(str, parts)) for v, parts in self.alignment.items()})

    @property
    def variables(self) -> tuple[str, ...]:
        """The aligned variables, causes first."""
        return tuple(self.alignment)

    def parents(self, variable: str) -> tuple[str, ...]:
        """Return the aligned variables that a variable reads: its parents, or what they read in turn."""
        parents: dict[str, None] = {}
        for parent in self.scm.parents(variable):
            parents |= {parent: None} if parent in self.alignment else dict.fromkeys(self.parents(parent))
        return tuple(parents)

    def read_besides(self, variable: str) -> tuple[str, ...]:
        """Return the given inputs that a variable reads other than through aligned variables."""
        inputs: set[str] = set()
        for parent in self.scm.parents(variable):
            if parent in self.given:
                inputs.add(parent)
            elif parent not in self.alignment:
                inputs.update(self.read_besides(parent))
        return tuple(name for name in self.given if name in inputs)

    def edge(self, parent: str, child: str) -> EdgeKind:
        """Return the kind of an edge."""
        return self.edges.get((parent, child), "all")

    def answers(self, table: Table, **do: np.ndarray) -> np.ndarray:
        """Return the value of the outcome for each unit with these variables set."""
        return self.scm.counterfactual(table, **do)[self.outcome]

    def replaced(
        self,
        *,
        scm: SCM | None = None,
        alignment: Mapping[str, Any] | None = None,
        edges: Mapping[tuple[str, str], EdgeKind] | None = None,
    ) -> Hypothesis:
        """Return the hypothesis with something changed."""
        new = self.alignment if alignment is None else alignment
        kept = {pair: kind for pair, kind in (self.edges if edges is None else edges).items() if pair[0] in new}
        kept = {pair: kind for pair, kind in kept.items() if pair[1] in new or pair[1] == self.outcome}
        return Hypothesis(scm or self.scm, new, outcome=self.outcome, edges=kept, given=self.given)

    def without(self, variable: str) -> Hypothesis:
        """Return the hypothesis without one variable's place."""
        return self.replaced(alignment={v: p for v, p in self.alignment.items() if v != variable})

    def moved(self, variable: str, spec: Any) -> Hypothesis:  # noqa: ANN401 - what an alignment takes
        """Return the hypothesis with one variable elsewhere."""
        return self.replaced(alignment={**self.alignment, variable: spec})

    def check(self, able: Abilities, prompts: PromptSet) -> None:
        """Refuse, before any compute, sites the model lacks, positions and variables the prompts lack."""
        for parts in self.alignment.values():
            able.require([part.site for part in parts])
            for part in parts:
                prompts.select(part.at)
        for variable in (*self.alignment, *self.given, self.outcome):
            column_of(prompts, variable)

    def _check(self) -> None:
        if not self.alignment:
            raise DataError("no variable of the hypothesis has a place", fix='align one, as {"score": "L2.mlp_out@-1"}')
        for pair, kind in self.edges.items():
            parent, child = pair
            if kind not in EDGES:
                raise DataError(f"an edge is 'all' or 'direct', not {kind!r}")
            readers = [*self.alignment, self.outcome]
            if parent not in self.alignment or child not in readers or parent not in self.parents(child):
                raise DataError(
                    f"the hypothesis has no edge {parent} -> {child}",
                    expected=", ".join(f"{p} -> {c}" for c in readers for p in self.parents(c)),
                )
        for child in self.alignment:
            for parent in self.parents(child):
                late = max(self.alignment[parent], key=lambda part: part.depth)
                early = min(self.alignment[child], key=lambda part: part.depth)
                if late.depth >= early.depth:
                    raise SiteError(
                        f"{parent!r} at {late} is not computed before {child!r} at {early}, which reads it",
                        fix="align a variable to a place upstream of its children",
                    )


def _outcome(scm: SCM, alignment: Mapping[str, Any]) -> str:
    """Return the one variable with named values that nothing reads and that an aligned variable acts on."""
    reached = {*alignment}.union(*(scm.descendants(v) for v in alignment)) if alignment else {*scm.order}
    ends = [v for v in scm.order if not scm.descendants(v) and v in scm.values and v in reached]
    if len(ends) != 1:
        raise DataError(
            f"{scm.name!r} has {len(ends)} last variables with named values, so the outcome is not clear",
            fix='say which: Hypothesis(..., outcome="decision")',
        )
    return ends[0]


def _parts(spec: Any) -> tuple[Place, ...]:  # noqa: ANN401 - one part or several
    several = isinstance(spec, Sequence) and not isinstance(spec, str)
    parts = tuple(Place.parse(part) for part in (spec if several else [spec]))
    if not parts:
        raise SiteError("a variable is aligned to no place", fix="name at least one site")
    if any(part.site.component == "logits" for part in parts):
        raise SiteError("the logits are the outcome's, no variable's", fix="align the variable to a site inside")
    return parts


def table_of(prompts: PromptSet) -> Table:
    """Return the variables of prompts as a table."""
    return {name: column.cpu().numpy() for name, column in prompts.variables.items()}


def column_of(prompts: PromptSet, variable: str) -> np.ndarray:
    """Return one variable of prompts."""
    column = prompts.given.get(variable)
    if column is not None and variable not in prompts.variables:  # a column of a file: words, of which each is a value
        return np.unique(list(map(str, column)), return_inverse=True)[1]
    if variable not in prompts.variables:
        raise DataError(
            f"these prompts do not say what {variable!r} is",
            fix="draw them from a task, or pass variables={...} to PromptSet.from_text",
        )
    return prompts.variables[variable].cpu().numpy()


def complement(able: Abilities, hypotheses: Sequence[Hypothesis]) -> list[Site]:
    """Return the heads and MLPs that no hypothesis names: what must not matter if they are complete.

    Whoever names a whole attention, or a place inside a head or an MLP, has named the heads or the MLP.
    """
    named = [part.site for h in hypotheses for parts in h.alignment.values() for part in parts]
    return sorted(s for s in (*heads(able), *mlps(able)) if not any(belongs(other, s) for other in named))


def same_kind(able: Abilities, part: Place, avoid: Sequence[Site]) -> list[Place]:
    """Return the parts of the same component that are not to be avoided: candidates for a placebo."""
    component, shape = part.site.component, able.shape
    if part.site.dictionary is not None:  # others of the same dictionary; its features at once have no like
        units = range(shape.dictionaries[part.site.dictionary].n_features) if part.site.feature is not None else ()
        features = [replace(part.site, feature=unit) for unit in units]
        return [replace(part, site=site) for site in features if site not in avoid]
    heads: Sequence[int | None] = range(shape.heads(component)) if part.site.head is not None else [None]
    assert component in HEAD_COMPONENTS or heads == [None]
    layers = range(shape.n_layers) if part.site.layer is not None else [None]
    sites = [replace(part.site, layer=layer, head=head) for layer in layers for head in heads]
    return [replace(part, site=site) for site in sites if site not in avoid]
