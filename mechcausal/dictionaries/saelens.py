"""The only module that imports sae-lens, and only when it is asked to: releases, exotic folders, training.

sae-lens 6.54 imports parts of transformer-lens 3 that 4 no longer has. Whatever does not train a dictionary, or fetch
one from a release, works without it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from mechcausal.dictionaries.sparse import decoded, encoded
from mechcausal.errors import ModelError, UnsupportedError, shortened

KINDS = ("topk", "batchtopk", "matryoshka", "jumprelu", "standard", "gated", "transcoder")
_BY_K = ("topk", "batchtopk", "matryoshka", "jumprelu")
_WARM_UP = 0.1  # of all steps, for the learning rate and for what makes features sparse
# What makes features sparse where no number of active features does: the price of their sum.
PRICES = {"standard": 1.0, "gated": 1.0, "transcoder": 1.0}


def sae_lens(what: str = "this") -> ModuleType:
    """Return the package, or say why it is not there for what needs it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about parts of transformer-lens that it uses
            import sae_lens
    except ImportError as error:
        raise UnsupportedError(f"{what} needs sae-lens, {_why_not()}", fix=_FIX) from error
    return sae_lens


_FIX = "pip install 'mechcausal[sae]' 'transformer-lens<4' in an environment of its own"


def _why_not() -> str:
    lens = version("transformer-lens")
    try:
        installed = version("sae-lens")
    except PackageNotFoundError:
        return "which is not installed"
    return f"and sae-lens {installed} cannot be imported beside transformer-lens {lens}"


def from_disk(path: str | Path) -> Any:  # noqa: ANN401 - an SAE
    """Load a folder whose architecture only sae-lens knows."""
    package = sae_lens()
    try:
        return _usable(package.SAE.load_from_disk(str(path)))
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"sae-lens cannot load the dictionary in {path}", got=_first_line(error)) from error


def from_release(release: str, sae_id: str | None) -> Any:  # noqa: ANN401 - an SAE
    """Load a dictionary that is published under a release name."""
    package = sae_lens(f"{shortened(release)!r} is no folder here, and a release of that name")
    releases = _releases()
    if release not in releases and "/" not in release:
        close = get_close_matches(release, releases, n=1, cutoff=0.55)
        raise ModelError(
            f"{shortened(release)!r} is neither a folder nor a release of sae-lens",
            fix=f"did you mean {close[0]!r}?" if close else "sae-lens lists its releases in its documentation",
        )
    ids = list(releases[release].saes_map) if release in releases else []
    if sae_id is None or (ids and sae_id not in ids):
        raise ModelError(
            f"the release {release!r} holds {len(ids) or 'several'} dictionaries", got=f"sae_id {sae_id!r}",
            expected=", ".join(ids[:4]) + (", ..." if len(ids) > 4 else "") if ids else "sae_id=...",
        )  # fmt: skip
    try:
        return _usable(package.SAE.from_pretrained(release, sae_id))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"the release {release!r} could not be fetched", got=_first_line(error), fix="check the network and the hub"
        ) from error


def _releases() -> dict[str, Any]:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return get_pretrained_saes_directory()


class Renormalised:
    """A dictionary that rescales every activation anew; it keeps the scale of what it encoded last."""

    def __init__(self, dictionary: Any) -> None:  # noqa: ANN401 - an SAE
        self.dictionary, self.W_dec = dictionary, dictionary.W_dec.detach()
        self._kept: dict[str, Tensor] = {}

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of activations."""
        features = self.dictionary.encode(x)
        state = vars(self.dictionary)
        self._kept = {name: state[name] for name in ("ln_mu", "ln_std", "x_norm_coeff") if name in state}
        return features

    def decode(self, feature_acts: Tensor, /) -> Tensor:
        """Return the reconstruction, at the scale of the activations that were encoded last."""
        for name, value in self._kept.items():
            setattr(self.dictionary, name, value)  # sae-lens deletes it when it has used it once
        return self.dictionary.decode(feature_acts)


def _usable(dictionary: Any) -> Any:  # noqa: ANN401 - an SAE
    dictionary.turn_off_forward_pass_hook_z_reshaping()  # heads are put in one row before
    dictionary.requires_grad_(False).eval()
    rescaled = dictionary.cfg.normalize_activations in ("layer_norm", "constant_norm_rescale")
    return Renormalised(dictionary) if rescaled else dictionary


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:150]


# Training


class Trainer:
    """A dictionary in training: the trainer of sae-lens, driven one batch at a time.

    Args:
        kind: One of `KINDS`.
        width: The width of what is encoded.
        width_out: The width of what is reconstructed, for a transcoder.
        n_features: How many features.
        k: How many are to be active, for the kinds that are told.
        price: The price of activity, for the kinds that are not.
        rate: The learning rate.
        steps: How many steps.
        batch_size: How many tokens a step.
        seed: The seed of the first weights.
        device: Where it is trained.
    """

    def __init__(
        self, *, kind: str, width: int, width_out: int | None, n_features: int, k: int, price: float, rate: float,
        steps: int, batch_size: int, seed: int, device: str = "cpu",
    ) -> None:  # fmt: skip
        package = sae_lens()
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        self.kind, self.width = kind, width
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            torch.manual_seed(seed)
            self.sae = _untrained(package, kind, width, width_out, n_features, k, price, steps, device)
        warm = int(_WARM_UP * steps)
        config = SAETrainerConfig(
            total_training_samples=steps * batch_size, train_batch_size_samples=batch_size, lr=rate, lr_end=0.1 * rate,
            lr_warm_up_steps=warm, lr_decay_steps=steps // 5, device=device, dead_feature_window=max(50, steps // 20),
            feature_sampling_window=steps + 1,
        )  # fmt: skip
        self.sae.to(device)
        self.inner = SAETrainer(cfg=config, sae=self.sae, data_provider=_nothing())
        if device == "cpu":
            for group in self.inner.optimizer.param_groups:
                group.update(fused=True, foreach=False)  # one pass over the weights, not one for each operation
        self._code = torch.zeros(1, n_features)

    def start_from(self, mean: Tensor) -> None:
        """Begin with the mean of what is reconstructed as its bias."""
        self.sae.b_dec.data.copy_(mean.to(self.sae.b_dec))

    def step(self, batch: Tensor) -> float:
        """Take one step; return the loss of the reconstruction."""
        out = self.inner.step(batch)
        self.inner.n_training_steps += 1
        self._code = out.feature_acts.detach()
        return float(out.losses["mse_loss"].detach())

    @property
    def active(self) -> float:
        """How many features were active at a token of the last step."""
        return float((self._code > 0).sum(-1).float().mean())

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self.inner.n_training_steps

    def save(self, folder: Path) -> None:
        """Write everything that is needed to go on."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.sae.state_dict(), folder / "weights.pt")
        self.inner.save_trainer_state(folder)

    def load(self, folder: Path) -> None:
        """Go on from what was written."""
        self.sae.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
        self.inner.load_trainer_state(folder)

    @torch.no_grad()
    def finished(self, scale: float, scale_out: float) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return configuration and weights for use, for activations as they are instead of scaled ones.

        Args:
            scale: What activations were multiplied with before they were encoded.
            scale_out: What a transcoder's targets were multiplied with.
        """
        if self.kind == "transcoder":
            weights = {name: value.detach().clone() for name, value in self.sae.state_dict().items()}
            weights["W_enc"] *= scale
            weights |= {"W_dec": weights["W_dec"] / scale_out, "b_dec": weights["b_dec"] / scale_out}
            width_out = weights["W_dec"].shape[1]
            config = {
                "architecture": "transcoder",
                "d_in": self.width,
                "d_out": width_out,
                "apply_b_dec_to_input": False,
            }
        else:
            self.sae.fold_activation_norm_scaling_factor(scale)
            weights = {name: value.detach().clone() for name, value in self.sae.state_dict().items()}
            self.sae.process_state_dict_for_saving_inference(weights)
            config = self.sae.cfg.get_inference_sae_cfg_dict()
        shape = {"d_sae": weights["W_dec"].shape[0], "normalize_activations": "none", "reshape_activations": "none"}
        config |= shape | {"device": "cpu", "dtype": "float32"}
        config.setdefault("metadata", {"sae_lens_version": version("sae-lens")})
        return config, {name: value.float() for name, value in weights.items()}


def _nothing() -> Iterator[Tensor]:
    yield from ()


def _untrained(
    package: ModuleType,
    kind: str,
    width: int,
    width_out: int | None,
    n_features: int,
    k: int,
    price: float,
    steps: int,
    device: str,
) -> Any:  # noqa: ANN401 - a TrainingSAE
    warm = int(_WARM_UP * steps)
    sizes = {"d_in": width, "d_sae": n_features}
    if kind == "transcoder":
        assert width_out is not None  # `train` asks for it
        return _transcoder(package, width, width_out, n_features, price, warm)
    halves = [n_features // part for part in (8, 4, 2) if n_features // part >= max(1, k)]
    options: dict[str, dict[str, Any]] = {
        "standard": {"l1_coefficient": price, "l1_warm_up_steps": warm},
        "gated": {"l1_coefficient": price, "l1_warm_up_steps": warm},
        "topk": {"k": k},
        "batchtopk": {"k": k},
        "matryoshka": {"k": k, "matryoshka_widths": [*halves, n_features]},
        "jumprelu": {
            "jumprelu_sparsity_loss_mode": "quadratic", "target_l0": float(k), "l0_warm_up_steps": warm,
            "l0_coefficient": 0.5, "jumprelu_ste_to_input": True, "jumprelu_bandwidth": 0.5, "jumprelu_init_threshold": 0.1,
        },
    }  # fmt: skip
    names = {"batchtopk": "BatchTopK", "topk": "TopK", "jumprelu": "JumpReLU", "matryoshka": "MatryoshkaBatchTopK"}
    config = getattr(package, f"{names.get(kind, kind.title())}TrainingSAEConfig")(**sizes, **options[kind])
    if kind == "topk" and device == "cpu":
        return _active_only(package, config)
    return package.TrainingSAE.from_dict(config.to_dict())


def _active_only(package: ModuleType, config: Any) -> Any:  # noqa: ANN401 - a TopKTrainingSAE
    """Return a TopK dictionary in training that computes with its active features alone.

    The loss and its gradients are those of sae-lens, which fills in all features that are not active, and multiplies
    their zeros. The norms of the decoder's rows choose what is active; beyond that they cancel.
    """

    class TopKOfActive(package.TopKTrainingSAE):
        def encode_with_hidden_pre(self, x: Tensor) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                x = self.process_sae_in(x)
                before = torch.addmm(self.b_enc, x, self.W_enc)
                ranked = before * self.W_dec.norm(dim=-1)
                values, index = ranked.topk(self.cfg.k, sorted=False)
                code = torch.zeros_like(ranked).scatter_(1, index, values.relu_())
            self.met = x, before, index
            return code, ranked

        def decode(self, feature_acts: Tensor) -> Tensor:
            x, before, index = self.met
            values = encoded(before.gather(1, index), index, x, self.W_enc, self.b_enc, self.b_dec).relu()
            return decoded(values, index, self.W_dec) + self.b_dec

        def calculate_topk_aux_loss(
            self, sae_in: Tensor, sae_out: Tensor, hidden_pre: Tensor, dead_neuron_mask: Tensor | None
        ) -> Tensor:
            if dead_neuron_mask is None or not bool(dead_neuron_mask.any()):
                return sae_out.new_tensor(0.0)
            dead = dead_neuron_mask.nonzero()[:, 0]
            x, before, _ = self.met
            half = sae_in.shape[1] // 2
            with torch.no_grad():
                index = hidden_pre.index_select(1, dead).topk(min(half, len(dead)), sorted=False).indices
                active, missing = before.gather(1, dead[index]), sae_in - sae_out
            weights, rows = self.W_enc.index_select(1, dead), self.W_dec.index_select(0, dead)
            values = encoded(active, index, x, weights, self.b_enc.index_select(0, dead), self.b_dec)
            error = (decoded(values, index, rows) - missing).square().sum(-1).mean()
            return self.cfg.aux_loss_coefficient * min(len(dead) / half, 1.0) * error

    return TopKOfActive(config)


def _transcoder(package: ModuleType, width: int, width_out: int, n_features: int, price: float, warm: int) -> Any:  # noqa: ANN401
    """Return a transcoder in training; sae-lens has them for use only.

    A batch holds what is read and what is to be reconstructed side by side.
    """
    from sae_lens.saes.sae import TrainStepInput, TrainStepOutput

    class TranscoderInTraining(package.StandardTrainingSAE):
        def initialize_weights(self) -> None:
            super().initialize_weights()
            rows = torch.randn(n_features, width_out)
            rows *= self.cfg.decoder_init_norm / rows.norm(dim=-1, keepdim=True)
            self.W_dec = torch.nn.Parameter(rows)
            self.b_dec = torch.nn.Parameter(torch.zeros(width_out))
            columns = torch.randn(width, n_features)
            self.W_enc = torch.nn.Parameter((columns / columns.norm(dim=0)).contiguous())

        def process_sae_in(self, sae_in: Tensor) -> Tensor:
            return sae_in

        def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
            x, y = step_input.sae_in[:, :width], step_input.sae_in[:, width:]
            active, before = self.encode_with_hidden_pre(x)
            decoded_values = self.decode(active)
            error = (decoded_values - y).square().sum(-1).mean()
            extra = self.calculate_aux_loss(step_input, active, before, decoded_values)
            losses = {"mse_loss": error, **extra}
            return TrainStepOutput(y, decoded_values, active, before, sum(losses.values()), losses)

    config = package.StandardTrainingSAEConfig(
        d_in=width, d_sae=n_features, l1_coefficient=price, l1_warm_up_steps=warm, apply_b_dec_to_input=False
    )
    return TranscoderInTraining(config)
