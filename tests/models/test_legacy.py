"""Legacy checkpoints: the same logits as the HookedTransformer that wrote them, where one still exists."""

from importlib.metadata import version

import pytest
import torch
import torch.nn.functional as F
from zoo import make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError, ModelError, UnsupportedError

LENS_4 = version("transformer-lens").startswith("4")

BASE = {
    "n_layers": 2, "d_model": 16, "n_ctx": 10, "d_head": 4, "n_heads": 4, "d_mlp": 24, "d_vocab": 30, "act_fn": "relu",
    "normalization_type": "LN", "seed": 0,
}  # fmt: skip
VARIANTS = {
    "layer norm": {},
    "folded norm": {"normalization_type": "LNPre"},
    "no norm": {"normalization_type": None, "act_fn": "gelu_new"},
    "attention only": {"attn_only": True, "normalization_type": None},
    "bidirectional": {"attention_dir": "bidirectional"},
    "unscaled scores": {"use_attn_scale": False},
    "other scale": {"attn_scale": 3.0},
    "another output": {"d_vocab_out": 5},
    "root mean square": {"normalization_type": "RMS"},
    "folded root mean square": {"normalization_type": "RMSPre"},
    "another activation": {"act_fn": "silu"},
}


@pytest.mark.skipif(LENS_4, reason="HookedTransformer is gone from transformer-lens 4")
@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_to_hooked_transformer(variant, tmp_path):
    import transformer_lens as lens

    config = BASE | VARIANTS[variant]
    hooked = lens.HookedTransformer(lens.HookedTransformerConfig(**config))
    with torch.no_grad():
        for parameter in hooked.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) * 0.3
            )
    torch.save(hooked.state_dict(), tmp_path / "model.pt")
    torch.save({"state_dict": hooked.state_dict(), "config": config}, tmp_path / "both.pt")
    tokens = torch.arange(14).reshape(2, 7)
    for model in (mc.load(tmp_path / "model.pt", config=config), mc.load(tmp_path / "both.pt")):
        with torch.no_grad():
            torch.testing.assert_close(model(tokens), hooked(tokens), atol=1e-4, rtol=1e-4)
    pairs = make_pairs((7, 7), vocab=30)
    if "d_vocab_out" not in config:
        assert len(mc.patch(model, pairs)) == 14


def random_state(config):
    draw = torch.Generator().manual_seed(1)
    heads, width, wide, hidden = (config[name] for name in ("n_heads", "d_head", "d_model", "d_mlp"))
    outputs = config.get("d_vocab_out", config["d_vocab"])
    shapes = {"embed.W_E": (config["d_vocab"], wide), "pos_embed.W_pos": (config["n_ctx"], wide)}
    for layer in range(config["n_layers"]):
        block = f"blocks.{layer}."
        shapes |= {f"{block}attn.W_{name}": (heads, wide, width) for name in "QKV"}
        shapes |= {f"{block}attn.b_{name}": (heads, width) for name in "QKV"}
        shapes |= {f"{block}attn.W_O": (heads, width, wide), f"{block}attn.b_O": (wide,)}
        if not config.get("attn_only"):
            shapes |= {f"{block}mlp.W_in": (wide, hidden), f"{block}mlp.b_in": (hidden,)}
            shapes |= {f"{block}mlp.W_out": (hidden, wide), f"{block}mlp.b_out": (wide,)}
    norms = [f"blocks.{layer}.ln{number}" for layer in range(config["n_layers"]) for number in (1, 2)] + ["ln_final"]
    if config.get("attn_only"):
        norms = [name for name in norms if not name.endswith("ln2")]
    for name in norms if config["normalization_type"] in ("LN", "RMS") else ():
        shapes |= {f"{name}.w": (wide,)} | ({f"{name}.b": (wide,)} if config["normalization_type"] == "LN" else {})
    shapes |= {"unembed.W_U": (wide, outputs), "unembed.b_U": (outputs,)}
    return {name: torch.randn(shape, generator=draw) * 0.3 for name, shape in shapes.items()}


def written_out(config, state, tokens):
    """Compute the logits of a legacy model from its definition."""
    kind = config["normalization_type"]

    def norm(x, name):
        if kind is None:
            return x
        x = x - x.mean(-1, keepdim=True) if kind.startswith("LN") else x
        x = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * state.get(f"{name}.w", 1.0) + state.get(f"{name}.b", 0.0)

    scale = config["d_head"] ** 0.5 if config.get("use_attn_scale", True) else 1.0
    scale = config.get("attn_scale", scale)
    length = tokens.shape[1]
    act = {"relu": F.relu, "silu": F.silu, "gelu_new": lambda x: F.gelu(x, approximate="tanh")}[config["act_fn"]]
    x = state["embed.W_E"][tokens] + state["pos_embed.W_pos"][:length]
    for layer in range(config["n_layers"]):
        block = f"blocks.{layer}."
        inside = norm(x, f"{block}ln1")
        q, k, v = (
            torch.einsum("bpm,hmd->bhpd", inside, state[f"{block}attn.W_{name}"])
            + state[f"{block}attn.b_{name}"][:, None]
            for name in "QKV"
        )
        scores = q @ k.transpose(-1, -2) / scale
        if config.get("attention_dir") != "bidirectional":
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
        z = scores.softmax(-1) @ v
        x = x + torch.einsum("bhpd,hdm->bpm", z, state[f"{block}attn.W_O"]) + state[f"{block}attn.b_O"]
        if not config.get("attn_only"):
            hidden = act(norm(x, f"{block}ln2") @ state[f"{block}mlp.W_in"] + state[f"{block}mlp.b_in"])
            x = x + hidden @ state[f"{block}mlp.W_out"] + state[f"{block}mlp.b_out"]
    return norm(x, "ln_final") @ state["unembed.W_U"] + state["unembed.b_U"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_to_the_definition(variant, tmp_path):
    """Holds on every transformer-lens, also where the old class is gone."""
    config = BASE | VARIANTS[variant]
    weights = random_state(config)
    torch.save({"state_dict": weights, "config": config}, tmp_path / "model.pt")
    tokens = torch.arange(14).reshape(2, 7)
    with torch.no_grad():
        found = mc.load(tmp_path / "model.pt")(tokens)
    torch.testing.assert_close(found, written_out(config, weights, tokens), atol=1e-4, rtol=1e-4)


def state():
    from mechcausal.recipes.by_hand import weights

    return weights()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"positional_embedding_type": "rotary"}, UnsupportedError, "rotary positions"),
        ({"gated_mlp": True}, UnsupportedError, "gated MLPs"),
        ({"n_key_value_heads": 2}, UnsupportedError, "grouped queries"),
        ({"n_layers": 1}, ModelError, "n_layers is 2, not 1"),
        ({"n_layers": 3}, ModelError, "n_layers is 2, not 3"),
        ({"d_model": 13, "n_heads": 2}, ModelError, "d_model is 12, not 13; n_heads is 4, not 2"),
        ({"n_ctx": 8}, ModelError, "n_ctx is 4, not 8"),
        ({"attn_only": True}, ModelError, "attn_only is False, not True"),
        ({"normalization_type": "LN"}, ModelError, "there are no weights of norms, and normalization_type is 'LN'"),
        (
            {"normalisation_type": "RMS"},
            ModelError,
            "no entry is called 'normalisation_type' .did you mean 'normalization_type'",
        ),
        ({"learning_rate": 1e-3, "batch": 4}, ModelError, "no entry is called 'learning_rate'; nor batch"),
        ({"act_fn": None}, ModelError, "act_fn is not given"),
        # transformer-lens 3 has no such activation; 4 has it, and then its norm has no weights here.
        (
            {"act_fn": "solu_ln"},
            MechcausalError,
            r"cannot build this legacy model|weights and configuration do not fit",
        ),
    ],
)
def test_what_does_not_fit(change, error, said, tmp_path):
    from mechcausal.recipes.by_hand import CONFIG

    config = {
        key: value for key, value in (CONFIG | change).items() if value is not None or key == "normalization_type"
    }
    torch.save(state(), tmp_path / "model.pt")
    with pytest.raises(error, match=said):
        mc.load(tmp_path / "model.pt", config=config)


def test_a_checkpoint_without_a_configuration(tmp_path):
    torch.save(state(), tmp_path / "model.pt")
    with pytest.raises(ModelError, match="act_fn is not given; normalization_type is not given"):
        mc.load(tmp_path / "model.pt")


def test_shapes_tell_what_the_configuration_leaves_out(tmp_path, by_hand):
    torch.save(state(), tmp_path / "model.pt")
    model = mc.load(tmp_path / "model.pt", config={"act_fn": "relu", "normalization_type": None})
    tokens = torch.arange(4)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), by_hand(tokens))
    attention_only = {"attn_only": True, "normalization_type": "LN"}
    assert mc.load(random_state(BASE | attention_only), config={}).cfg.n_heads == BASE["n_heads"]


def test_buffers_of_old_checkpoints_are_left_out(tmp_path):
    from mechcausal.recipes.by_hand import CONFIG

    old = state() | {"blocks.0.attn.mask": torch.ones(4, 4).bool(), "blocks.0.attn.IGNORE": torch.tensor(-1e5)}
    torch.save(old, tmp_path / "model.pt")
    assert mc.load(tmp_path / "model.pt", config=CONFIG).cfg.n_layers == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("blocks.1.attn.W_K"), "no tensor blocks.1.attn.W_K"),
        (lambda s: s.pop("blocks.0.attn.b_K"), "no tensor blocks.0.attn.b_K"),
        (lambda s: s.update({"blocks.0.attn.w_q": torch.zeros(2)}), "no place for blocks.0.attn.w_q"),
        (lambda s: s.update({"extra": torch.zeros(2), "more": torch.zeros(2)}), "no place for extra, more"),
        (lambda s: s.update({"blocks.2.attn.W_Q": torch.zeros(4, 12, 3)}), "n_layers is 3, not 2; no tensor blocks.2.attn.W_K"),
        (lambda s: s.update({"unembed.W_U": torch.zeros(11, 9)}), r"do not fit the others.*unembed.W_U \[11, 9\]"),
        (lambda s: s.update({"blocks.0.ln1.w": torch.zeros(12)}), "there are weights of norms, and normalization_type is None"),
        (lambda s: s.clear(), "holds no tensors"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(change, said):
    from mechcausal.recipes.by_hand import CONFIG

    tensors = state()
    change(tensors)
    with pytest.raises(ModelError, match=said) as caught:
        mc.load(tensors, config=CONFIG)
    assert len(str(caught.value)) < 400


def test_a_model_without_biases_and_a_state_dict_in_memory():
    weights = {name: value for name, value in random_state(BASE).items() if ".b_" not in name}
    zeros = {name: torch.zeros_like(value) for name, value in random_state(BASE).items() if ".b_" in name}
    tokens = torch.arange(14).reshape(2, 7)
    with torch.no_grad():
        found = mc.load(weights, config={"act_fn": "relu"})(tokens)
    torch.testing.assert_close(found, written_out(BASE, weights | zeros, tokens), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(LENS_4, reason="HookedTransformer is gone from transformer-lens 4")
def test_a_hooked_transformer_in_memory():
    import transformer_lens as lens

    torch.manual_seed(0)
    hooked = lens.HookedTransformer(lens.HookedTransformerConfig(**BASE))
    tokens = torch.arange(14).reshape(2, 7)
    with torch.no_grad():
        torch.testing.assert_close(mc.load(hooked)(tokens), hooked(tokens), atol=1e-4, rtol=1e-4)
        # Folding takes the weights of the norms away, and the object says so itself.
        hooked.process_weights_(fold_ln=True, center_writing_weights=True, center_unembed=True)
        torch.testing.assert_close(mc.load(hooked)(tokens), hooked(tokens), atol=1e-4, rtol=1e-4)
    rotary = lens.HookedTransformer(lens.HookedTransformerConfig(**BASE | {"positional_embedding_type": "rotary"}))
    with pytest.raises(UnsupportedError, match="rotary positions"):
        mc.load(rotary)


WRONG = {
    "attention_dir": ("Causal", "foo", 1, True),
    "eps": (-1, 0, float("nan"), float("inf"), "x", [1e-5], True, 2.0),
    "use_attn_scale": ("False", 0, [True]),
    "attn_scale": (-3.0, 0, "x", [1], float("nan"), True),
    "act_fn": (3, ["relu"]),
    "normalization_type": ("ln", "layer", 1),
    "attn_only": ("False", 1),
    "final_rms": ("yes",),
    "n_heads": ("4", 4.0, True, 0),
    "d_vocab_out": (-2, "x"),
    "default_prepend_bos": (1,),
    "gated_mlp": ("False", [False]),
    "n_key_value_heads": ("x",),
    "positional_embedding_type": (1,),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_with_what_it_may_be(key, value):
    """Each of these loaded once, and computed something else, or failed inside another library."""
    with pytest.raises(
        ModelError, match=f"configuration of this legacy checkpoint is wrong: {key} is .*, not "
    ) as caught:
        mc.load(random_state(BASE), config={**BASE, key: value})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("rotary_dimm", "'rotary_dimm' .did you mean 'rotary_dim'"),
        ("NTKfoo", "no entry is called 'NTKfoo'"),
        ("yarn", "no entry is called 'yarn'"),
        ("attention_direction", "did you mean 'attention_dir'"),
        (7, "no entry is called '7'"),
        (None, "no entry is called 'None'"),
    ],
)
def test_an_entry_that_there_is_not_is_refused(key, said):
    with pytest.raises(ModelError, match=said):
        mc.load({"state_dict": random_state(BASE), "config": {**BASE, key: 4}})


def test_all_that_is_wrong_with_a_configuration_is_said_at_once():
    config = {**BASE, "eps": -1, "attn_scale": 0, "attention_dir": "Causal", "rotary_dimm": 4, 3: 1}
    with pytest.raises(
        ModelError, match=r"'rotary_dimm'.*nor 3.*eps is -1.*attn_scale is 0.*attention_dir is 'Causal'"
    ):
        mc.load({"state_dict": random_state(BASE), "config": config})


def test_entries_that_are_not_stated_are_as_if_they_were_absent():
    """A configuration that was written out by a HookedTransformer says None, or -1, for what it leaves open."""
    unset = {"attn_scale": -1.0, "d_vocab_out": -1, "rotary_dim": None, "use_attn_scale": None, "yarn_factor": 1.0}
    models = [mc.load(random_state(BASE), config={**BASE, **more}) for more in ({}, unset)]
    tokens = torch.arange(7)[None]
    with torch.no_grad():
        assert torch.equal(models[0](tokens), models[1](tokens))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: value.to("meta"), "has no content .it is on the meta device"),
        (torch.Tensor.to_sparse, "is stored as sparse_coo"),
        (lambda value: value.to(torch.complex64), "is complex"),
        (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "is quantized"),
    ],
    ids=["meta", "sparse", "complex", "quantized"],
)
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor.*")
def test_tensors_that_are_no_plain_numbers(change, said):
    name = "blocks.0.attn.W_Q"
    weights = random_state(BASE)
    with pytest.raises(ModelError, match=f"the tensor '{name}' {said}"):
        mc.load({**weights, name: change(weights[name])}, config=BASE)
