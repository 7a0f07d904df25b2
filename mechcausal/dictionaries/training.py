"""Train a dictionary on the activations of a site: from prompts, or from activations that were read before.

The training itself is that of sae-lens (`saelens.Trainer`). Around it: activations are scaled to a common length while
training and the scale is folded away after, training goes on from the last checkpoint, the folder is written whole or
not at all, and it remembers the model, the site, the data and the seed.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal import __version__
from mechcausal.address import Site
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries import folder
from mechcausal.dictionaries.activations import Activations, digest, harvest
from mechcausal.dictionaries.saelens import KINDS, PRICES, Trainer
from mechcausal.errors import DataError, NumericsError, did_you_mean
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.binding import Bound, attach
from mechcausal.models.fingerprint import weights_fingerprint

CHECKPOINT = "checkpoint"
_TOLD = 20  # steps between two lines of the progress bar
Prompts = PromptSet | Contrast
Data = Prompts | Sequence[Prompts] | Activations | Tensor | str | Path


@dataclass(frozen=True)
class Recipe:
    """How a dictionary is trained; two runs of one recipe on one machine give the same weights.

    Attributes:
        kind: `topk`, `batchtopk`, `matryoshka`, `jumprelu`, `standard`, `gated` or `transcoder`.
        width: How many features.
        k: How many are to be active at a token (a target for `jumprelu`; the L1 kinds are told a price instead).
        price: The price of activity for `standard`, `gated` and `transcoder`.
        tokens: How many tokens are shown, again and again from those there are.
        batch_size: How many at a step.
        rate: The learning rate.
        seed: The seed of the first weights and of the order of the tokens.
    """

    kind: str
    width: int
    k: int
    price: float
    tokens: int
    batch_size: int
    rate: float
    seed: int

    @property
    def steps(self) -> int:
        """How many steps."""
        return self.tokens // self.batch_size


def train(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    data: Data,
    site: str | Site,
    *,
    width: int,
    kind: str = "topk",
    k: int | None = None,
    price: float | None = None,
    tokens: int = 400_000,
    batch_size: int = 512,
    rate: float = 2e-3,
    seed: int = 0,
    site_out: str | Site | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    checkpoint_every: int = 0,
    companions: int = 0,
    remember: Mapping[str, Any] | None = None,
) -> Bound:
    """Train a dictionary and attach it to the model.

    What it is worth is not what it was told: measure it on your own prompts with `mc.features.health`. Where `out` holds
    this very dictionary already, it is not trained again.

    Args:
        model: The model.
        data: Prompts, a list of sets of prompts, or activations of the site: from `mc.features.harvest`, its folder, or a tensor [token d].
        site: The activation it reads.
        width: How many features it has.
        kind: `topk`, `batchtopk`, `matryoshka`, `jumprelu`, `standard`, `gated`; `transcoder` with `site_out`.
        k: How many features are to be active at a token; by default an eighth of the activation's
            width, and at most a quarter of all.
        price: The price of activity of the kinds that have one; higher is sparser.
        tokens: How many tokens are shown, again and again from those there are.
        batch_size: How many tokens at a step.
        rate: The learning rate.
        seed: The seed of the first weights and of the order of the tokens.
        site_out: What a transcoder reconstructs.
        name: What sites call it; by default the name of the folder, or the kind.
        out: The folder it is written to, in the format of sae-lens.
        checkpoint_every: After how many steps a checkpoint is left in `out`, to go on from when the same call is made
            again; none by default.
        companions: How many dictionaries of other seeds are trained beside it in `out`, and then one on each half of the
            data, so that `mc.link` can say which of its features are there again.
        remember: What else the folder is to say of itself, as JSON data.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> prompts = mc.task("hiring").prompts(model, n=64)
        >>> small = mc.features.train(model, prompts, "L2.resid_post", width=128, tokens=20_000)  # doctest: +SKIP
        >>> small.feature(3)  # doctest: +SKIP
        Site('L2.resid_post.sae:topk.F3')
    """
    place, target = Site.parse(site), None if site_out is None else Site.parse(site_out)
    recipe = _recipe(model, place, target, kind, width, k, price, tokens, batch_size, rate, seed)
    named = name or (Path(out).name if out is not None else kind)
    Site(place.component, place.layer, dictionary=named)  # refuses a wrong name before any compute
    if companions < 0 or (companions and out is None):
        raise DataError(
            "companions are kept in the folder of the dictionary", got=f"companions={companions}, out={out}",
            fix="give out=FOLDER, or companions=0",
        )  # fmt: skip
    activations = gathered(model, data, place, target)
    recipe = _fitting(recipe, activations)
    facts = {
        "site": str(place), "site_out": None if target is None else str(target), "name": named,
        "model": str(model.cfg.model_name), "model_digest": weights_fingerprint(model), "recipe": asdict(recipe),
        "data": {**activations.facts, "digest": digest(activations), "tokens": len(activations)},
        **(remember or {}),
    }  # fmt: skip
    facts["data"].pop("sizes", None)
    device = bridge.device_of(model)
    held = None if out is None else folder.holding(out, facts | {"versions": _versions()})
    if held is None:
        held = _made(recipe, activations, facts, None if out is None else Path(out), checkpoint_every, str(device))
    if companions and out is not None:
        from mechcausal.dictionaries import companions as beside

        beside.companions(model, data, out, companions, checkpoint_every=checkpoint_every)
    return attach(model, held.coder().folded().to(device), place, name=named, site_out=target, folder=out)


def _made(
    recipe: Recipe,
    activations: Activations,
    facts: dict[str, Any],
    out: Path | None,
    checkpoint_every: int,
    device: str,
) -> folder.Folder:
    """Train, and write the folder if there is to be one; its facts say how many seconds this took."""
    started = time.perf_counter()
    config, weights, measured = _trained(recipe, activations, facts, out, checkpoint_every, device)
    hooks = {"hook_name": facts["site"], "hook_name_out": facts["site_out"]}
    config["metadata"] |= {"model_name": facts["model"]}
    config["metadata"] |= {word: _hook(Site.parse(site)) for word, site in hooks.items() if site is not None}
    measured["seconds"] = round(time.perf_counter() - started, 1)
    facts = facts | {"training": measured, "versions": _versions()}
    if out is not None:
        folder.write(out, config, weights, facts)
        shutil.rmtree(out / CHECKPOINT, ignore_errors=True)
    return folder.Folder(config, weights, facts)


def _versions() -> dict[str, str]:
    """Return the versions of what decides about the weights, of those packages that are installed."""
    found = {"mechcausal": __version__}
    for package in ("torch", "transformer-lens", "sae-lens"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _recipe(
    model: Any,  # noqa: ANN401
    site: Site,
    site_out: Site | None,
    kind: str,
    width: int,
    k: int | None,
    price: float | None,
    tokens: int,
    batch_size: int,
    rate: float,
    seed: int,
) -> Recipe:
    if kind not in KINDS:
        raise DataError(f"there is no dictionary of the kind {kind!r}", fix=did_you_mean(kind, KINDS))
    if (kind == "transcoder") != (site_out is not None):
        raise DataError("a transcoder, and nothing else, has a site_out", got=f"kind {kind!r}, site_out {site_out}")
    able = abilities(model)
    able.require([site], writes=site_out is None)
    able.require([] if site_out is None else [site_out])
    d_in = math.prod(able.shape_at(site))
    k = max(1, min(d_in // 8, width // 4)) if k is None else k
    if not 0 < k <= width:
        raise DataError("a dictionary has more features than are active at once", got=f"k {k}, width {width}")
    if batch_size < 1 or tokens < batch_size or rate <= 0:
        raise DataError(
            "training takes at least one step", got=f"tokens {tokens}, batch_size {batch_size}, rate {rate}"
        )
    return Recipe(kind, width, k, PRICES.get(kind, 0.0) if price is None else price, tokens, batch_size, rate, seed)


def gathered(
    model: Any,  # noqa: ANN401
    data: Data,
    site: str | Site,
    site_out: str | Site | None = None,
) -> Activations:
    """Return the activations to train on: read off the model, or those that were given, if they are of this site."""
    site, site_out = Site.parse(site), None if site_out is None else Site.parse(site_out)
    if isinstance(data, (PromptSet, Contrast)):
        return harvest(model, data, site, site_out=site_out)
    if isinstance(data, (list, tuple)):
        return Activations.joined([harvest(model, prompts, site, site_out=site_out) for prompts in data])
    found = Activations.open(data) if isinstance(data, (str, Path)) else data
    found = found if isinstance(found, Activations) else Activations.of(found)
    told = found.facts
    expected = {"site": str(site), "site_out": None if site_out is None else str(site_out)}
    expected["model_digest"] = weights_fingerprint(model)
    for word, value in expected.items():
        if told and told[word] != value:
            raise DataError("these activations are of something else", got=f"{word} {told[word]}", expected=value)
    able = abilities(model)
    width = sum(math.prod(able.shape_at(one)) for one in (site, site_out) if one is not None)
    if found.width != width:
        raise DataError(f"these activations do not fit {site}", got=f"{found.width} numbers a token", expected=width)
    return found


def _fitting(recipe: Recipe, activations: Activations) -> Recipe:
    """Return the recipe with a batch that the activations can fill."""
    size = min(recipe.batch_size, len(activations))
    return replace(recipe, batch_size=size)


def _trained(
    recipe: Recipe, activations: Activations, facts: dict[str, Any], out: Path | None, every: int, device: str
) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    width, rest = activations.width_in, activations.width - activations.width_in
    mean, lengths = activations.moments()
    # Tokens of length sqrt(d), so that rates and prices mean the same at every site.
    scales = [math.sqrt(size) / max(length, 1e-12) for size, length in zip((width, rest), lengths, strict=True)]
    factors = torch.cat([torch.full((width,), scales[0]), torch.full((rest,), scales[1] if rest else 1.0)])
    trainer = Trainer(
        kind=recipe.kind, width=width, width_out=rest or None, n_features=recipe.width, k=recipe.k, price=recipe.price,
        rate=recipe.rate, steps=recipe.steps, batch_size=recipe.batch_size, seed=recipe.seed,
        device=device,
    )  # fmt: skip
    trainer.start_from((mean * factors)[width:] if rest else mean * factors)
    kept = None if out is None else out / CHECKPOINT
    if kept is not None:
        _go_on(trainer, kept, facts)
    bar = tqdm(
        total=recipe.steps * recipe.batch_size, initial=trainer.steps * recipe.batch_size, desc=f"training {recipe.kind}",
        unit="token", unit_scale=True, disable=None, leave=False,
    )  # fmt: skip
    batches = activations.batches(recipe.batch_size, seed=recipe.seed, start=trainer.steps)
    loss = math.nan
    with torch.inference_mode(False), torch.enable_grad():
        while trainer.steps < recipe.steps:
            loss = trainer.step(next(batches) * factors)
            if not math.isfinite(loss):
                raise NumericsError(
                    "training went to NaN or infinity", got=f"step {trainer.steps}", fix="lower the rate"
                )
            if kept is not None and every and trainer.steps % every == 0 and trainer.steps < recipe.steps:
                _keep(trainer, kept, facts)
            bar.update(recipe.batch_size)
            if not bar.disable and trainer.steps % _TOLD == 0:
                bar.set_postfix_str(f"loss {loss:.3g}, {trainer.active:.1f} active", refresh=False)
    bar.close()
    config, weights = trainer.finished(scales[0], scales[1] if rest else 1.0)
    for word, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise NumericsError(f"training gave NaN or infinity in {word}", fix="lower the rate")
    return (
        config,
        weights,
        {"steps": recipe.steps, "last_loss": round(loss, 6), "last_active": round(trainer.active, 3)},
    )


def _keep(trainer: Trainer, kept: Path, facts: dict[str, Any]) -> None:
    """Write a checkpoint, and only then forget the one before: at any time there is one that is whole."""
    kept.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(dir=kept, prefix="."))
    trainer.save(room)
    (room / "facts.json").write_text(json.dumps(facts))
    mine = kept / f"{trainer.steps:08d}"
    room.rename(mine)
    for other in kept.iterdir():
        if other != mine:
            shutil.rmtree(other)


def _go_on(trainer: Trainer, kept: Path, facts: dict[str, Any]) -> None:
    """Go on from the last checkpoint, if there is one of this very training."""
    found = sorted(path for path in kept.glob("[0-9]*") if (path / "facts.json").is_file())
    if not found:
        return
    if json.loads((found[-1] / "facts.json").read_text()) != json.loads(json.dumps(facts)):
        raise DataError(
            f"{kept.parent} holds the checkpoint of another training",
            fix="choose another folder, or delete its checkpoint",
        )
    trainer.load(found[-1])


def _hook(site: Site) -> str:
    """Return the name that transformer-lens gives the activation, as sae-lens writes it."""
    if site.layer is None:
        return f"hook_{site.component}"
    inner = {"mlp_post": "mlp.hook_post", **{name: f"attn.hook_{name}" for name in ("q", "k", "v", "z")}}
    return f"blocks.{site.layer}.{inner.get(site.component, f'hook_{site.component}')}"
