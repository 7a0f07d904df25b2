"""Train a dictionary on the activations of a site: from prompts, or from activations that were read before.

The training itself is that of sae-lens (`saelens.Trainer`). Around it: activations are scaled to a common length while
training and the scale is folded away after, training goes on from the last checkpoint, the folder is written whole or
not at all, and it remembers the model, the site, the data and the seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal import __version__
from mechcausal.address import Site
from mechcausal.arguments import Count, CountOrZero, Model, Positive, Seed, number
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries import checkpoints, folder
from mechcausal.dictionaries.activations import Activations, digest, harvest
from mechcausal.dictionaries.enough import require_enough
from mechcausal.dictionaries.saelens import PRICES, Trainer
from mechcausal.errors import DataError, NumericsError, ResultError
from mechcausal.method import Cost, Method, function
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.binding import Bound, attach
from mechcausal.models.fingerprint import weights_fingerprint

CHECKPOINT = "checkpoint"
_TOLD = 20  # steps between two lines of the progress bar
DictionaryKind = Literal["topk", "batchtopk", "matryoshka", "jumprelu", "standard", "gated", "transcoder"]
Price = Annotated[float, number("a number of at least 0", 0.0)]
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
        batch_size: How many at a step; all that there are, where these are fewer.
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


@dataclass(frozen=True)
class TrainingCost(Cost):
    """What training a dictionary would take.

    Attributes:
        tokens: How many tokens are shown, again and again from those there are.
        steps: How many steps of the optimizer.
        parameters: How many numbers are learned.
    """

    tokens: int = 0
    steps: int = 0
    parameters: int = 0

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"{self.examples:,} prompts read once, then {self.steps:,} steps on {self.tokens:,} tokens, "
            f"{self.parameters:,} parameters"
        )


@dataclass(frozen=True, kw_only=True)
class DictionaryTraining(Method[Data, Bound]):
    """Train a dictionary and attach it to the model.

    Its quality is not what the training was told: measure it on your own prompts with `mc.features.health`. Where `out`
    holds this very dictionary already, it is not trained again.

    Attributes:
        site: The activation it reads.
        width: How many features it has.
        kind: `topk`, `batchtopk`, `matryoshka`, `jumprelu`, `standard`, `gated`; `transcoder` with `site_out`.
        k: How many features are to be active at a token; by default an eighth of the activation's width, and at most a
            quarter of all features.
        price: The price of activity of the kinds that have one; higher is sparser.
        tokens: How many tokens are shown, again and again from those there are.
        batch_size: How many tokens at a step; all that there are, where these are fewer.
        rate: The learning rate.
        seed: The seed of the first weights and of the order of the tokens.
        site_out: What a transcoder reconstructs.
        name: What sites call it; by default the name of the folder, or the kind.
        out: The folder it is written to, in the format of sae-lens.
        checkpoint_every: After how many steps a checkpoint is left in `out`, to go on from when the same call is made
            again; none by default.
        companions: How many dictionaries of other seeds are trained beside it in `out`, and then one on each half of the
            data, so that `mc.link` can say in how many of them each of its features occurs again.
        remember: What else the folder is to say of itself, as JSON data.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> prompts = mc.task("hiring").prompts(model, n=64)
        >>> mc.features.train.cost(model, prompts, "L2.resid_post", width=128, tokens=20_000).steps
        39
    """

    word: ClassVar[str] = "train_dictionary"
    site: str | Site = field(kw_only=False)
    width: Count
    kind: DictionaryKind = "topk"
    k: Count | None = None
    price: Price | None = None
    tokens: Count = 400_000
    batch_size: Count = 512
    rate: Positive = 2e-3
    seed: Seed = 0
    site_out: str | Site | None = None
    name: str | None = None
    out: str | Path | None = None
    checkpoint_every: CountOrZero = 0
    companions: CountOrZero = 0
    remember: Mapping[str, Any] | None = None

    def run(self, model: Model, data: Data) -> Bound:
        """Train it, or go on training it, and attach it."""
        site, site_out, recipe = self._asked(model)
        name, out = self._name(site), None if self.out is None else Path(self.out)
        require_enough(data, self.width)
        if self.companions:
            from mechcausal.dictionaries import companions as beside

            for half in beside.halved(data, self.seed):
                require_enough(half, self.width)
        if out is not None:
            size, files = self._on_disk(model, site, site_out)
            folder.require_ours(out, size, files=files)
        activations = gathered(model, data, site, site_out)
        require_enough(activations, self.width)
        facts = {
            "site": str(site), "site_out": None if site_out is None else str(site_out), "name": name,
            "model": str(model.cfg.model_name), "model_digest": weights_fingerprint(model), "recipe": asdict(recipe),
            "data": {**activations.facts, "digest": digest(activations), "tokens": len(activations)},
            **(self.remember or {}),
        }  # fmt: skip
        facts["data"].pop("sizes", None)
        device = bridge.device_of(model)
        kept = None if out is None else folder.holding(out, facts | {"versions": _versions()})
        if kept is None:
            kept = _made(recipe, activations, facts, out, self.checkpoint_every, str(device))
            try:
                _keep(kept, out)
            except ResultError as error:  # what took long to learn is not lost with the disk
                attach(model, kept.coder().folded().to(device), site, name=name, site_out=site_out)
                fix = f"{error.fix}; the dictionary is attached to the model as {name!r}"
                raise ResultError(error.what, got=error.got, fix=fix) from error
        if self.companions and out is not None:
            from mechcausal.dictionaries import companions as beside

            beside.companions(model, data, out, self.companions, checkpoint_every=self.checkpoint_every)
        return attach(model, kept.coder().folded().to(device), site, name=name, site_out=site_out, folder=out)

    def cost(self, model: Model, data: Data) -> TrainingCost:
        """Return what it would take; nothing is run."""
        site, site_out, recipe = self._asked(model)
        sets = [data] if isinstance(data, (PromptSet, Contrast)) else data if isinstance(data, (list, tuple)) else []
        prompts = sum(len(part) * (1 + isinstance(part, Contrast)) for part in sets)
        parameters = self._parameters(model, site, site_out)
        return TrainingCost(
            self._dictionaries, prompts, prompts, prompts, recipe.tokens, recipe.steps, parameters
        )  # fmt: skip

    @property
    def _dictionaries(self) -> int:
        """How many are trained: itself, others of other seeds, and one on each half."""
        return 1 + self.companions + 2 * (self.companions > 0)

    def _parameters(self, model: Model, site: Site, site_out: Site | None) -> int:
        width, width_out = (math.prod(abilities(model).shape_at(place)) for place in (site, site_out or site))
        return self.width * (width + width_out + 1) + width_out

    def _on_disk(self, model: Model, site: Site, site_out: Site | None) -> tuple[int, int]:
        """Return how many bytes are written at most, and into how many files."""
        # A checkpoint holds the weights and two moments of each, and stands beside the one before it for a moment.
        files = self._dictionaries + 2 * 3 * (self.checkpoint_every > 0)
        return 4 * self._parameters(model, site, site_out) * files, files

    def _name(self, site: Site) -> str:
        name = self.name or (Path(self.out).name if self.out is not None else self.kind)
        Site(site.component, site.layer, dictionary=name)  # refuses a wrong name before any compute
        return name

    def _asked(self, model: Model) -> tuple[Site, Site | None, Recipe]:
        """Return the sites and the recipe; refuse what does not go together."""
        site, site_out = Site.parse(self.site), None if self.site_out is None else Site.parse(self.site_out)
        if self.companions and self.out is None:
            raise DataError(
                "companions are kept in the folder of the dictionary", got=f"companions={self.companions}, out=None",
                fix="give out=FOLDER, or companions=0",
            )  # fmt: skip
        if (self.kind == "transcoder") != (site_out is not None):
            raise DataError(
                "a transcoder, and nothing else, has a site_out", got=f"kind {self.kind!r}, site_out {site_out}"
            )
        able = abilities(model)
        able.require([site], writes=site_out is None)
        able.require([] if site_out is None else [site_out])
        k = max(1, min(math.prod(able.shape_at(site)) // 8, self.width // 4)) if self.k is None else self.k
        if k > self.width:
            raise DataError("a dictionary has more features than are active at once", got=f"k {k}, width {self.width}")
        if self.tokens < self.batch_size:
            raise DataError(
                "training takes at least one step", got=f"tokens {self.tokens}, batch_size {self.batch_size}"
            )
        price = PRICES.get(self.kind, 0.0) if self.price is None else self.price
        self._name(site)
        return site, site_out, Recipe(
            self.kind, self.width, k, price, self.tokens, self.batch_size, self.rate, self.seed
        )  # fmt: skip


train = function(
    DictionaryTraining,
    data="prompts",
    about="Prompts, a list of sets of prompts, activations from `mc.features.harvest`, its folder, or a tensor.",
    name="train",
)


def _made(
    recipe: Recipe,
    activations: Activations,
    facts: dict[str, Any],
    out: Path | None,
    checkpoint_every: int,
    device: str,
) -> folder.Folder:
    """Train; the facts say how many seconds this took."""
    started = time.perf_counter()
    config, weights, measured = _trained(recipe, activations, facts, out, checkpoint_every, device)
    hooks = {"hook_name": facts["site"], "hook_name_out": facts["site_out"]}
    config["metadata"] |= {"model_name": facts["model"]}
    config["metadata"] |= {word: _hook(Site.parse(site)) for word, site in hooks.items() if site is not None}
    measured["seconds"] = round(time.perf_counter() - started, 1)
    return folder.Folder(config, weights, facts | {"training": measured, "versions": _versions()})


def _keep(made: folder.Folder, out: Path | None) -> None:
    """Write the folder if there is to be one, and then remove the checkpoints in it."""
    if out is not None:
        folder.write(out, made.config, made.weights, made.facts)
        checkpoints.remove(out / CHECKPOINT)


def _versions() -> dict[str, str]:
    """Return the versions of what decides about the weights, of those packages that are installed."""
    versions = {"mechcausal": __version__}
    for package in ("torch", "transformer-lens", "sae-lens"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


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
    activations = Activations.open(data) if isinstance(data, (str, Path)) else data
    activations = activations if isinstance(activations, Activations) else Activations.of(activations)
    facts = activations.facts
    expected = {"site": str(site), "site_out": None if site_out is None else str(site_out)}
    expected["model_digest"] = weights_fingerprint(model)
    for word, value in expected.items():
        if facts and facts[word] != value:
            raise DataError("these activations are of something else", got=f"{word} {facts[word]}", expected=value)
    able = abilities(model)
    width = sum(math.prod(able.shape_at(place)) for place in (site, site_out) if place is not None)
    if activations.width != width:
        raise DataError(
            f"these activations do not fit {site}", got=f"{activations.width} numbers a token", expected=width
        )
    return activations


def _trained(
    recipe: Recipe, activations: Activations, facts: dict[str, Any], out: Path | None, every: int, device: str
) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    width, rest = activations.width_in, activations.width - activations.width_in
    batch_size = min(recipe.batch_size, len(activations))
    mean, lengths = activations.moments()
    # Tokens of length sqrt(d), so that rates and prices mean the same at every site.
    scales = [math.sqrt(size) / max(length, 1e-12) for size, length in zip((width, rest), lengths, strict=True)]
    factors = torch.cat([torch.full((width,), scales[0]), torch.full((rest,), scales[1] if rest else 1.0)])
    trainer = Trainer(
        kind=recipe.kind, width=width, width_out=rest or None, n_features=recipe.width, k=recipe.k, price=recipe.price,
        rate=recipe.rate, steps=recipe.steps, batch_size=batch_size, seed=recipe.seed,
        device=device,
    )  # fmt: skip
    trainer.start_from((mean * factors)[width:] if rest else mean * factors)
    kept = None if out is None else out / CHECKPOINT
    if kept is not None:
        checkpoints.resume(trainer, kept, facts)
    bar = tqdm(
        total=recipe.steps * batch_size, initial=trainer.steps * batch_size, desc=f"training {recipe.kind}",
        unit="token", unit_scale=True, disable=None, leave=False,
    )  # fmt: skip
    batches = activations.batches(batch_size, seed=recipe.seed, start=trainer.steps)
    loss = math.nan
    with torch.inference_mode(False), torch.enable_grad():
        while trainer.steps < recipe.steps:
            loss = trainer.step(next(batches) * factors)
            if not math.isfinite(loss):
                raise NumericsError(
                    "training went to NaN or infinity", got=f"step {trainer.steps}", fix="lower the rate"
                )
            if kept is not None and every and trainer.steps % every == 0 and trainer.steps < recipe.steps:
                checkpoints.keep(trainer, kept, facts)
            bar.update(batch_size)
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


def _hook(site: Site) -> str:
    """Return the name that transformer-lens gives the activation, as sae-lens writes it."""
    if site.layer is None:
        return f"hook_{site.component}"
    inner = {"mlp_post": "mlp.hook_post", **{name: f"attn.hook_{name}" for name in ("q", "k", "v", "z")}}
    return f"blocks.{site.layer}.{inner.get(site.component, f'hook_{site.component}')}"
