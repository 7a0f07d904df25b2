"""Read activations of unedited runs, with named dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection, Site, expand
from mechcausal.arguments import Count, Model
from mechcausal.data.places import At, SiteSpec, as_text
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import SiteError
from mechcausal.interventions.apply import view
from mechcausal.method import Cost, Method, function
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import check_prompts, in_batches
from mechcausal.models.hooked import readings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Readings(Mapping[str, Tensor]):
    """The activations of some sites, each a tensor with named dimensions; a mapping from the names of the sites.

    The first dimension is `prompt`. The second is `pos` where positions can be more than one for a prompt: the selected
    positions in their order, NaN where a prompt has fewer. Heads of a whole site are a dimension `head`.

    Attributes:
        tensors: The activations, by the name of their site.
        dims: The names of their dimensions, by the name of their site.
        positions: Which position of its prompt each entry of `pos` is, [prompt pos]; -1 where a prompt has fewer.
    """

    tensors: Mapping[str, Tensor]
    dims: Mapping[str, tuple[str, ...]]
    positions: np.ndarray = field(repr=False)

    def __getitem__(self, site: str | Site) -> Tensor:
        """Return the activations of a site."""
        if str(site) not in self.tensors:
            raise SiteError(f"{site} was not read", expected=", ".join(self.tensors))
        return self.tensors[str(site)]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the sites."""
        return iter(self.tensors)

    def __len__(self) -> int:
        """Return the number of sites."""
        return len(self.tensors)

    def __repr__(self) -> str:
        """Say what was read, a line for each site."""
        return "\n".join(
            f"{site}: " + " x ".join(f"{dim} {size}" for dim, size in zip(self.dims[site], value.shape, strict=True))
            for site, value in self.tensors.items()
        )

    @property
    def frame(self) -> pd.DataFrame:
        """The numbers as a tidy table: one row for each number, with its site and its index along each dimension."""
        import pandas as pd

        parts = []
        for site, value in self.tensors.items():
            indices = np.indices(value.shape).reshape(value.ndim, -1)
            columns: dict[str, Any] = {"site": site} | dict(zip(self.dims[site], indices, strict=True))
            if "pos" in columns:
                columns["pos"] = self.positions[columns["prompt"], columns["pos"]]
            parts.append(pd.DataFrame(columns | {"value": value.reshape(-1).double().cpu().numpy()}))
        table = pd.concat(parts, ignore_index=True)
        table = table[table["value"].notna()].reset_index(drop=True)
        names = [name for name in table.columns if name not in ("site", "value")]
        return table.astype(dict.fromkeys(names, "Int64"))[["site", *names, "value"]]


@dataclass(frozen=True, kw_only=True)
class Reading(Method[PromptSet, Readings]):
    """Read the activations of unedited runs.

    Attributes:
        sites: What to read: a component word, a pattern such as `"L1.z.H*"`, a site, or a list of these.
        at: At which positions: all of them, one such as `"@-1"` or `"@subject"`, or a range. One position for each prompt
            leaves out the dimension `pos`.
        batch_size: How many prompts at a time.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> prompts = mc.contrast("hiring/gender", model, n=8).clean
        >>> mc.read(model, prompts, "L1.z.H2", at="@-1")
        L1.z.H2: prompt 8 x unit 12
        >>> mc.read(model, prompts, "L1.resid_post")["L1.resid_post"].shape
        torch.Size([8, 8, 48])
    """

    word: ClassVar[str] = "read"
    sites: SiteSpec = field(default="resid_post", metadata={"read": as_text}, kw_only=False)
    at: At = field(default=None, metadata={"read": as_text})
    batch_size: Count = 64

    def run(self, model: Model, data: PromptSet) -> Readings:
        """Read the activations."""
        sites, at = self._sites(model, data), Selection.parse(self.at)
        prompts = data.padded(data.tokens.shape[1], "right")  # so that columns are positions
        selected = prompts.select(at)
        size = int(selected.sum(1).max())
        # The selected columns of each prompt in their order, then others that are masked below.
        columns = (~selected).long().argsort(dim=1, stable=True)[:, :size]
        present = selected.gather(1, columns)
        parts: dict[Site, list[Tensor]] = {site: [] for site in sites}
        wholes = list(dict.fromkeys(site.whole for site in sites))

        def one_batch(index: Tensor) -> np.ndarray:
            run = readings(model, prompts.take(index).to(bridge.device_of(model)), wholes)
            rows = torch.arange(len(index))[:, None]
            here = {site: _positions_first(view(run[site.whole], site), site).cpu() for site in sites}
            for site, value in here.items():
                chosen = value[rows, columns[index]]
                chosen = chosen.float() if chosen.dtype in (torch.float16, torch.bfloat16) else chosen
                if site.component == "pattern":  # keys that a prompt does not have
                    keys = prompts.mask[index].reshape(len(index), *[1] * (chosen.ndim - 2), -1)
                    chosen = chosen.masked_fill(~keys, torch.nan)
                missing = ~present[index].reshape(*present[index].shape, *[1] * (chosen.ndim - 2))
                parts[site].append(chosen.masked_fill(missing, torch.nan))
            return np.zeros((0, len(index)))

        in_batches(len(prompts), self.batch_size, one_batch)
        single = (at.is_single or at.name is not None) and bool(present.all())
        values, dims = {}, {}
        for site, pieces in parts.items():
            joined = torch.cat(pieces)
            values[str(site)] = joined[:, 0] if single else joined
            dims[str(site)] = ("prompt", *(() if single else ("pos",)), *_inner_dims(site))
        return Readings(values, dims, torch.where(present, columns, -1).numpy())

    def cost(self, model: Model, data: PromptSet) -> Cost:
        """Return what it would take: one forward for each prompt."""
        return Cost(
            cells=len(self._sites(model, data)), examples=len(data), forwards=len(data), naive_forwards=len(data)
        )

    def _sites(self, model: Model, data: PromptSet) -> list[Site]:
        able = abilities(model)
        check_prompts(model, data)
        sites = expand(self.sites, able.shape)
        able.require(sites, writes=False)
        at = Selection.parse(self.at)
        if not bool(data.select(at).any()):
            raise SiteError(
                f"no prompt has the position {at}",
                expected=f"at most {int(data.lengths.max())} tokens",
            )
        return sites


def _positions_first(value: Tensor, site: Site) -> Tensor:
    """Return an activation with the positions as its second dimension."""
    return value.transpose(1, 2) if site.component == "pattern" and site.head is None else value


def _inner_dims(site: Site) -> tuple[str, ...]:
    heads = ("head",) if site.by_head and site.head is None else ()
    if site.unit is not None:
        return heads
    if site.dictionary is not None and not site.error:
        return ("feature",)
    return (*heads, "key" if site.component == "pattern" else "unit")


read = function(Reading, data="prompts", about="The prompts.")
