"""Layouts of other people's checkpoints, each against a forward written out in its own names and axes."""

import pytest
import torch
import torch.nn.functional as F

import mechcausal as mc
from mechcausal.errors import ModelError
from mechcausal.models.layouts import LAYOUTS

LAYERS, WIDTH, HEADS, HEAD, HIDDEN, CONTEXT, VOCAB = 2, 12, 3, 5, 20, 8, 17
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]])


def draw(shapes):
    generator = torch.Generator().manual_seed(2)
    return {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}


def causal(scores):
    length = scores.shape[-1]
    return scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)


def grokking(biases=False):
    """Heads without biases, [head d_head d_model], the embedding [d_model d_vocab]; no norms."""
    shapes = {"embed.W_E": (WIDTH, VOCAB), "pos_embed.W_pos": (CONTEXT, WIDTH), "unembed.W_U": (WIDTH, VOCAB)}
    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        shapes |= {f"{block}attn.W_{name}": (HEADS, HEAD, WIDTH) for name in "QKV"}
        shapes |= {f"{block}attn.W_O": (WIDTH, HEADS * HEAD)}
        shapes |= {f"{block}mlp.W_in": (HIDDEN, WIDTH), f"{block}mlp.b_in": (HIDDEN,)}
        shapes |= {f"{block}mlp.W_out": (WIDTH, HIDDEN), f"{block}mlp.b_out": (WIDTH,)}
    state = draw(shapes)
    x = state["embed.W_E"][:, TOKENS].permute(1, 2, 0) + state["pos_embed.W_pos"][: TOKENS.shape[1]]
    for layer in range(LAYERS):
        w = {name.removeprefix(f"blocks.{layer}."): value for name, value in state.items()}
        q, k, v = (torch.einsum("ihd,bpd->biph", w[f"attn.W_{name}"], x) for name in "QKV")
        z = causal(q @ k.transpose(-1, -2) / HEAD**0.5) @ v
        x = x + z.transpose(1, 2).flatten(2) @ w["attn.W_O"].T
        x = x + F.relu(x @ w["mlp.W_in"].T + w["mlp.b_in"]) @ w["mlp.W_out"].T + w["mlp.b_out"]
    state["blocks.0.attn.mask"] = torch.tril(torch.ones(CONTEXT, CONTEXT))
    return state, {"act_fn": "relu", "normalization_type": None}, x @ state["unembed.W_U"]


def easy():
    """The first EasyTransformer: every matrix the other way round, with biases and norms."""
    norms = ["ln_final", *(f"blocks.{layer}.ln{number}" for layer in range(LAYERS) for number in (1, 2))]
    shapes = {"embed.W_E": (WIDTH, VOCAB), "pos_embed.W_pos": (WIDTH, CONTEXT), "unembed.W_U": (VOCAB, WIDTH)}
    shapes |= {"unembed.b_U": (VOCAB,)} | {f"{norm}.{part}": (WIDTH,) for norm in norms for part in "wb"}
    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        shapes |= {f"{block}attn.W_{name}": (HEADS, HEAD, WIDTH) for name in "QKV"}
        shapes |= {f"{block}attn.b_{name}": (HEADS, HEAD) for name in "QKV"}
        shapes |= {f"{block}attn.W_O": (HEADS, WIDTH, HEAD), f"{block}attn.b_O": (WIDTH,)}
        shapes |= {f"{block}mlp.W_in": (HIDDEN, WIDTH), f"{block}mlp.b_in": (HIDDEN,)}
        shapes |= {f"{block}mlp.W_out": (WIDTH, HIDDEN), f"{block}mlp.b_out": (WIDTH,)}
    state = draw(shapes)
    x = state["embed.W_E"][:, TOKENS].permute(1, 2, 0) + state["pos_embed.W_pos"][:, : TOKENS.shape[1]].T

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), state[f"{name}.w"], state[f"{name}.b"])

    for layer in range(LAYERS):
        w = {name.removeprefix(f"blocks.{layer}."): value for name, value in state.items()}
        inside = norm(x, f"blocks.{layer}.ln1")
        q, k, v = (
            torch.einsum("ihd,bpd->biph", w[f"attn.W_{name}"], inside) + w[f"attn.b_{name}"][:, None] for name in "QKV"
        )
        z = causal(q @ k.transpose(-1, -2) / HEAD**0.5) @ v
        x = x + torch.einsum("biph,idh->bpd", z, w["attn.W_O"]) + w["attn.b_O"]
        inside = norm(x, f"blocks.{layer}.ln2")
        x = x + F.silu(inside @ w["mlp.W_in"].T + w["mlp.b_in"]) @ w["mlp.W_out"].T + w["mlp.b_out"]
    return state, {"act_fn": "silu"}, norm(x, "ln_final") @ state["unembed.W_U"].T + state["unembed.b_U"]


class Modules(torch.nn.Module):
    """minGPT and nanoGPT as their modules are, with the names of each."""

    def __init__(self, nano, bias):
        super().__init__()
        linear, inner, self.nano = torch.nn.Linear, HEADS * HEAD, nano
        layers = []
        for _ in range(LAYERS):
            attention = {"c_proj" if nano else "proj": linear(inner, WIDTH, bias=bias)}
            names = ("c_attn",) if nano else ("key", "query", "value")
            attention |= {name: linear(WIDTH, (3 if nano else 1) * inner, bias=bias) for name in names}
            first, second = linear(WIDTH, HIDDEN, bias=bias), linear(HIDDEN, WIDTH, bias=bias)
            mlp = {"c_fc": first, "c_proj": second} if nano else {"0": first, "2": second}
            norms = [torch.nn.LayerNorm(WIDTH, bias=bias) for _ in range(2)]
            word = "ln_" if nano else "ln"
            parts = {f"{word}1": norms[0], f"{word}2": norms[1]}
            modules = {name: torch.nn.ModuleDict(inside) for name, inside in (("attn", attention), ("mlp", mlp))}
            layers.append(torch.nn.ModuleDict(parts | modules))
        body = {
            "wte" if nano else "tok_emb": torch.nn.Embedding(VOCAB, WIDTH),
            "ln_f": torch.nn.LayerNorm(WIDTH, bias=bias),
        }
        body["h" if nano else "blocks"] = torch.nn.ModuleList(layers)
        if nano:
            self.transformer = torch.nn.ModuleDict(body | {"wpe": torch.nn.Embedding(CONTEXT, WIDTH)})
        else:
            for name, module in body.items():
                setattr(self, name, module)
            self.pos_emb = torch.nn.Parameter(torch.randn(1, CONTEXT, WIDTH))
        setattr(self, "lm_head" if nano else "head", linear(WIDTH, VOCAB, bias=False))

    def forward(self, tokens):
        body = self.transformer if self.nano else self._modules
        places = body["wpe"].weight[: tokens.shape[1]] if self.nano else self.pos_emb[0, : tokens.shape[1]]
        x = body["wte" if self.nano else "tok_emb"](tokens) + places
        word = "ln_" if self.nano else "ln"
        for block in body["h" if self.nano else "blocks"]:
            attention, mlp, inside = block["attn"], block["mlp"], block[f"{word}1"](x)
            if self.nano:
                parts = attention["c_attn"](inside).split(HEADS * HEAD, dim=2)
            else:
                parts = [attention[name](inside) for name in ("query", "key", "value")]
            q, k, v = (part.view(*tokens.shape, HEADS, HEAD).transpose(1, 2) for part in parts)
            z = (causal(q @ k.transpose(-1, -2) / HEAD**0.5) @ v).transpose(1, 2).flatten(2)
            x = x + attention["c_proj" if self.nano else "proj"](z)
            first, second = (mlp[name] for name in (("c_fc", "c_proj") if self.nano else ("0", "2")))
            x = x + second(F.gelu(first(block[f"{word}2"](x))))
        return (self.lm_head if self.nano else self.head)(body["ln_f"](x))


def modules(nano, bias=True):
    torch.manual_seed(3)
    module = Modules(nano, bias)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    buffer = "transformer.h.0.attn.bias" if nano else "blocks.0.attn.mask"
    state = module.state_dict() | {buffer: torch.ones(1, 1, CONTEXT, CONTEXT).tril()}
    with torch.no_grad():
        return state, {"n_heads": HEADS}, module(TOKENS)


CASES = {
    "grokking": grokking,
    "EasyTransformer": easy,
    "minGPT": lambda: modules(False),
    "nanoGPT": lambda: modules(True),
    "nanoGPT without biases": lambda: modules(True, bias=False),
}


@pytest.mark.parametrize("name", CASES)
def test_logits_of_each_layout(name, tmp_path):
    state, config, expected = CASES[name]()
    torch.save({"model": state}, tmp_path / "ckpt.pt")
    model = mc.load(tmp_path / "ckpt.pt", config=config)
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS), expected, atol=1e-4, rtol=1e-4)
    cfg = model.cfg
    assert (cfg.n_layers, cfg.d_model, cfg.n_heads, cfg.d_head, cfg.n_ctx, cfg.d_vocab) == (
        LAYERS, WIDTH, HEADS, HEAD, CONTEXT, VOCAB,
    )  # fmt: skip


def test_a_compiled_model_has_a_prefix_in_its_keys():
    state, config, expected = modules(True)
    model = mc.load({f"_orig_mod.{key}": value for key, value in state.items()}, config=config)
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS), expected, atol=1e-4, rtol=1e-4)


def test_each_layout_is_recognized_as_one():
    for name, expected in zip(CASES, (2, 1, 3, 4, 4), strict=True):
        state, config, _ = CASES[name]()
        fitting = [layout for layout in LAYOUTS if layout.recognizes(state) and not layout.sizes(state, config)[1]]
        assert fitting == [LAYOUTS[expected]]


@pytest.mark.parametrize(
    ("state", "config", "said"),
    [
        (lambda: modules(True)[0], {}, "do not tell the number of heads"),
        (lambda: modules(True)[0], {"n_heads": 4}, r"tensors do not fit the others \(nanoGPT\)"),
        (lambda: {"layer.weight": torch.zeros(3, 3)}, {}, "no layout that is known"),
        (lambda: grokking()[0], {"act_fn": "relu"}, "normalization_type is not given"),
    ],
)
def test_what_shapes_do_not_tell(state, config, said):
    with pytest.raises(ModelError, match=said) as caught:
        mc.load(state(), config=config)
    assert len(str(caught.value)) < 400


def test_square_tensors_fit_more_than_one_layout():
    """With one size for all axes nothing can be told apart, and nothing is guessed."""
    size = 4
    shapes = dict.fromkeys(("embed.W_E", "pos_embed.W_pos", "unembed.W_U"), (size, size))
    shapes |= {f"blocks.0.attn.W_{name}": (2, size, size) for name in "QKVO"}
    with pytest.raises(ModelError, match="fit more than one layout"):
        mc.load(draw(shapes), config={"attn_only": True, "normalization_type": None})
