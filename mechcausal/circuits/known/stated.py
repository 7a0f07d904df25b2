"""What the construction of an organism says of its edges: which place reads which, by its causal model.

`truth.json` puts each variable of the causal model at a place and says what the variable is computed from. An edge from
one place to another is true in a set of pairs if what it carries matters there: if the reader's variable changes when it
is computed from what the edge carries in the other prompt of some pair, all else being that of one prompt. Both prompts
of a pair are tried as this one. So an edge counts that has a backup: it does nothing while the backup is intact, and all
of it once the backup is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechcausal.address import Site
from mechcausal.address.components import STREAM
from mechcausal.data.table import Table
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError

Link = tuple[Site, Site]
EMBED, LOGITS = Site("embed"), Site("logits")


@dataclass(frozen=True)
class Mechanism:
    """Where the variables of one task are in one organism, and what each is computed from.

    Attributes:
        task: The task, with its causal model.
        sites: The sites of each variable.
        sources: The variables and inputs that each variable is computed from.
    """

    task: Task
    sites: Mapping[str, tuple[Site, ...]]
    sources: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, organism: str, stated: Mapping[str, Any], task: Task) -> Mechanism:
        """Read the mechanism of a task off the statement of an organism.

        Args:
            organism: The name of the organism.
            stated: Its statement, `mechcausal.organisms.truth(organism)`.
            task: The task.
        """
        entries = {name: entry for name, entry in stated["variables"].items() if entry["task"] == task.name}
        if not entries:
            raise DataError(
                f"organism:{organism} has no circuit for the task {task.name!r} that is known",
                fix="use an organism that was built or trained to have one, such as hiring, ioi or reverse",
            )
        sites = {name: tuple(_site(part) for part in entry["parts"]) for name, entry in entries.items()}
        places = [site for some in sites.values() for site in some]
        if any(site.component in STREAM and site != EMBED for site in places):
            raise DataError(
                f"the variables of organism:{organism} are in the residual stream, and which heads and MLPs write and read "
                "them is not known",
                fix="use an organism whose variables are at heads and MLPs, such as hiring",
            )
        # A variable that is itself an input has no parents: it is read from the text.
        sources = {name: tuple(entry["parents"]) or (name,) for name, entry in entries.items()}
        return cls(task, sites, sources)

    @property
    def read_by_answer(self) -> tuple[str, ...]:
        """The variables from which the answer is computed, those between being computed through."""
        names: dict[str, None] = {}
        open_ends = list(self.task.scm.parents(self.task.outcome))
        while open_ends:
            name = open_ends.pop(0)
            if name in self.sites:
                names[name] = None
            else:
                open_ends += self.task.scm.parents(name)
        return tuple(names)

    def links(self, clean: Table, corrupt: Table) -> set[Link]:
        """Return which site reads which in these pairs: (sender, reader), the logits among the readers.

        Args:
            clean: The variables of the clean prompts.
            corrupt: Those of their counterparts.
        """
        readers = {site for sites in self.sites.values() for site in sites} - {EMBED}
        true = {
            (sender, reader)
            for reader in readers
            for sender in {site for variable in self._at(reader) for site in self._senders(variable)}
            if any(self._reads(sender, reader, *sides) for sides in ((clean, corrupt), (corrupt, clean)))
        }
        for variable in self.read_by_answer:
            if _differ(clean[variable], corrupt[variable]):
                true |= {(site, LOGITS) for site in self.sites[variable]}
        return true

    def _at(self, site: Site) -> list[str]:
        return [variable for variable, sites in self.sites.items() if site in sites]

    def _senders(self, variable: str) -> set[Site]:
        return {site for source in self.sources[variable] for site in self._from(source, variable)}

    def _from(self, source: str, reader: str) -> tuple[Site, ...]:
        """Return from where a variable gets one of its sources; what is at no place of its own is a word of the text."""
        return (EMBED,) if source == reader else self.sites.get(source, (EMBED,))

    def _reads(self, sender: Site, reader: Site, base: Table, other: Table) -> bool:
        """Say whether a variable of the reader changes with what comes from the sender, all else as in `base`."""
        for variable in self._at(reader):
            sources = self.sources[variable]
            carried = [source for source in sources if sender in self._from(source, variable)]
            if variable in carried:
                if _differ(base[variable], other[variable]):
                    return True
                continue
            interventions = {source: (other if source in carried else base)[source] for source in sources}
            if _differ(self.task.scm.counterfactual(base, **interventions)[variable], base[variable]):
                return True
        return False


def _site(part: Any) -> Site:  # noqa: ANN401 - a printed place, or its JSON
    return Site.parse(part["site"] if isinstance(part, dict) else part.partition("@")[0])


def _differ(first: np.ndarray, second: np.ndarray) -> bool:
    return bool((np.asarray(first) != np.asarray(second)).any())
