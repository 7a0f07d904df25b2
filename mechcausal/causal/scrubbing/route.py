"""Where a run begins and where it may end: what the exact engine has to compute of it."""

from __future__ import annotations

from dataclasses import dataclass

from mechcausal.address import Site

_STREAM = Site("resid_pre", 0)  # where a change of the embedding arrives


@dataclass(frozen=True)
class Route:
    """Where a run begins and ends.

    Attributes:
        first: The layer whose input is the first to change.
        stop: The layer before which the run ends.
        start: The first column that is computed.
        fast: Whether the exact engine takes it; else everything is computed, through hooks.
    """

    first: int
    stop: int
    start: int
    fast: bool

    def token_layers(self, n_layers: int, width: int) -> int:
        """Return how many tokens all layers together compute for one run."""
        return max(0, self.stop - self.first) * (width - self.start) if self.fast else n_layers * width


def arrival(site: Site) -> Site:
    """Return the activation at which an edit is made on a run."""
    return _STREAM if site.component == "embed" else site.whole


def layer_before(site: Site) -> int:
    """Return the layer whose input is the first that an edit of the site needs."""
    return (site.layer or 0) + (site.component == "resid_post")


def layer_after(site: Site) -> int:
    """Return the first layer that need not be run for the site to be known."""
    return (site.layer or 0) + (site.component not in ("embed", "resid_pre"))
