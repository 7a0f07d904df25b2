"""The engine beside the loop: what it carries on each architecture, random cells, and what it runs."""

import random

import numpy as np
from zoo import ARCHITECTURES, EXPERTS, loaded

import mechcausal as mc
from mechcausal.address import Selection, expand
from mechcausal.interventions import Edit, Patch
from mechcausal.interventions.specs import Interpolate, Mean, Scale, Zero
from mechcausal.models import engine
from mechcausal.models.abilities import abilities
from mechcausal.models.replay.verify import replayer

CAUSAL = [name for name in ARCHITECTURES if name != "bert"]
NOT_CARRIED = {  # to the end of its layer, which is run with the edit instead
    "gemma2": {"z", "mlp_post"},  # its norms come after the output matrix, so a head has no linear share
    "opt": {"resid_mid", "attn_out", "z", "result"},  # its MLP is no module
    "neox": set(),
}
COMPONENTS = ("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post", "z", "result")
TOLERANCE = 1e-4  # of the metric's range


def components(name):
    """Return what can be written on an architecture, of what the engine carries."""
    missing = {
        "neox": ("resid_mid",),
        "bert": ("resid_mid",),
        "gemma2": ("result",),
        **dict.fromkeys(EXPERTS, ("mlp_post",)),
    }.get(name, ())
    return [word for word in COMPONENTS if word not in missing]


def agree(fast, slow, tolerance=TOLERANCE):
    assert fast.shape == slow.shape
    assert (np.isnan(fast) == np.isnan(slow)).all()
    scale = np.nanmax(slow) - np.nanmin(slow)
    assert scale > 1e-3
    assert np.nanmax(np.abs(fast - slow)) <= tolerance * scale


def both(model, pairs, *, tolerance=1e-5, **options):
    """Return the numbers of the engine and of the loop, and what provenance says of the engine."""
    fast, slow = (mc.patch(model, pairs, exact=exact, **options) for exact in ("replay", "naive"))
    assert slow.provenance.compute["engine"] == "naive"
    for side in slow.baselines:
        np.testing.assert_allclose(fast.baselines[side], slow.baselines[side], atol=tolerance, rtol=tolerance)
    return fast.examples, slow.examples, fast.provenance.compute


def composites(name, prompts, count=40, seed=0):
    """Return random cells of two to four edits: any sites that the engine makes together, heads, positions, ways."""
    draw, model = random.Random(seed), loaded(name)
    shape, together = abilities(model).shape, sorted(replayer(model).together)
    by_component = [expand("L*.mlp_post.N3" if word == "mlp_post" else word, shape) for word in together]
    whole = [
        [site] for site in dict.fromkeys(site.whole for sites in by_component for site in sites) if site.layer != 1
    ]
    ways = (Patch(), Patch(), Mean(), Scale(1.5), Interpolate(0.3), Zero())
    last = {"resid_pre": -1, "resid_mid": -1, "resid_post": -1}  # norms make a stream of zeros the noise of rounding
    where = [Selection.parse(at) for at in ("@0", "@2", "@3", "@-1", "@1:4")] + [Selection()]
    cells = []
    for _ in range(count):
        sites = [draw.choice(some) for some in draw.sample(by_component + whole, draw.choice((2, 3, 4)))]
        cells.append(
            tuple(Edit(site, draw.choice(ways[: last.get(site.component)]), draw.choice(where)) for site in sites)
        )
    wholes = sorted({edit.site.whole for cell in cells for edit in cell}, key=str)
    return cells, engine.mean_activations(model, prompts, wholes, batch_size=8, per_position=False)


def counted(monkeypatch, model):
    """Count the tokens that pass through each layer of the twin."""
    seen = []
    twin = replayer(model).twin
    original = type(twin).layer

    def layer(self, base, number, hidden, rows, start):
        seen.append(hidden.shape[0] * hidden.shape[1])
        return original(self, base, number, hidden, rows, start)

    monkeypatch.setattr(type(twin), "layer", layer)
    return seen
