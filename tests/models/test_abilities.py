"""What a model can do is measured on the model itself, not read off its name."""

import pytest
import torch
from zoo import EXPERTS, VOCAB, build, loaded

import mechcausal as mc
from mechcausal.address import COMPONENTS
from mechcausal.errors import SiteError, UnsupportedError
from mechcausal.models import abilities as module
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities

CONFIG = {
    "n_layers": 1, "d_model": 16, "n_ctx": 8, "d_head": 4, "n_heads": 4, "d_vocab": VOCAB, "act_fn": "relu",
    "attn_only": True, "normalization_type": None,
}  # fmt: skip


def attention_only(folder, **change):
    """Return an attention-only model whose weights do not depend on how they are cut into heads."""
    config = CONFIG | change
    heads, width = config["n_heads"], config["d_head"]
    draw = torch.Generator().manual_seed(0)
    state = {"embed.W_E": torch.randn(VOCAB, 16, generator=draw), "pos_embed.W_pos": torch.zeros(8, 16)}
    state["unembed.W_U"] = torch.randn(16, VOCAB, generator=draw)
    block = "blocks.0.attn."
    flat = torch.randn(16, 16, generator=draw)
    for name in "QKV":
        state[f"{block}W_{name}"] = flat.reshape(heads, width, 16).transpose(1, 2)
        state[f"{block}b_{name}"] = torch.zeros(heads, width)
    state |= {f"{block}W_O": flat.reshape(heads, width, 16), f"{block}b_O": torch.zeros(16)}
    path = folder / f"{heads}.pt"
    torch.save({"state_dict": state, "config": config}, path)
    return mc.load(path)


def test_every_component_is_listed_once(architecture):
    able = abilities(loaded(architecture))
    assert tuple(able.components) == COMPONENTS
    assert mc.sites(loaded(architecture))["component"].tolist() == list(COMPONENTS)
    for name, ability in able.components.items():
        assert ability.reads or not ability.writes, name
        assert ability.hook or ability.note, name


def test_the_width_of_the_mlp_is_the_real_one(architecture, pairs):
    """The configuration that an adapter derives may say another number (OPT)."""
    if architecture in EXPERTS:
        pytest.skip("the neurons of a mixture of experts are not in one place")
    able = abilities(loaded(architecture))
    width = 128 if architecture == "gpt2" else 64
    assert able.shape.d_mlp == width
    last = mc.patch(loaded(architecture), pairs, sites=f"L0.mlp_post.N{width - 1}")
    assert last.frame["n"].item() == len(pairs)
    with pytest.raises(SiteError, match=f"neuron {width}; expected 0 to {width - 1}"):
        mc.patch(loaded(architecture), pairs, sites=f"L0.mlp_post.N{width}")


def test_direct_paths_need_an_additive_stream(architecture):
    assert abilities(loaded(architecture)).additive == (architecture != "bert")


def test_equal_weights_cut_into_other_heads_are_another_model(tmp_path):
    """The memory of what was measured must not confuse them."""
    four, two = attention_only(tmp_path), attention_only(tmp_path, n_heads=2, d_head=8)
    assert (abilities(four).shape.n_heads, abilities(two).shape.n_heads) == (4, 2)


def test_a_model_without_mlps(tmp_path, pairs):
    model = attention_only(tmp_path)
    able = abilities(model)
    assert not able.components["mlp_out"].reads
    with pytest.raises(UnsupportedError, match=r"L0\.mlp_out cannot be written"):
        mc.patch(model, pairs, sites="mlp_out")
    with pytest.raises((SiteError, UnsupportedError)):
        mc.patch(model, pairs, sites="L*.mlp_post.N*")


def test_what_is_remembered_is_not_measured_again(gpt2, monkeypatch):
    able = abilities(gpt2)

    def never(*args):
        raise AssertionError("a forward was run")

    monkeypatch.setattr(bridge, "run", never)
    assert abilities(gpt2) is able


class Deaf:
    """A hook point that shows the activation and drops the answer, as some architectures do."""

    def __init__(self, point):
        self.point, self.name = point, point.name
        self.remove_hooks = point.remove_hooks

    def add_hook(self, hook, level):
        plan_hook = hook

        def show(tensor, hook):
            plan_hook(tensor, hook)

        self.point.add_hook(show, level=level)


def test_a_write_that_is_discarded_is_found_out(monkeypatch):
    model = mc.load(build("gpt2"))
    with torch.no_grad():
        next(model.original_model.parameters())[0, 0] += 1.0  # other weights, so that nothing is remembered of them
    real = bridge.hook_point

    def deaf(model, site):
        return Deaf(real(model, site)) if site.component == "mlp_out" else real(model, site)

    monkeypatch.setattr(bridge, "hook_point", deaf)
    found = abilities(model).components
    assert found["mlp_out"].reads
    assert not found["mlp_out"].writes
    assert "discards what is written" in found["mlp_out"].note
    assert found["attn_out"].writes


@pytest.fixture
def another(monkeypatch, tmp_path):
    """Return a way to load a model as another process would: nothing is remembered but what is on disk."""
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "LONG", -1.0)  # everything counts as long

    def load(change=0.0):
        monkeypatch.setattr(module, "_measured", {})
        bare = build("gpt2")
        next(bare.parameters()).add_(change)
        return mc.load(bare, check=False)

    return load


def test_what_took_long_is_kept_on_disk(another, monkeypatch):
    able = abilities(another())
    monkeypatch.setattr(module, "_measure", lambda model: pytest.fail("it was measured again"))
    assert abilities(another()) == able
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        abilities(another(change=0.1))  # other weights
    monkeypatch.setattr(module, "versions", lambda *names: {"torch": "another"})
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        abilities(another())


def test_what_was_quick_is_not_kept(another, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "LONG", 100.0)
    abilities(another())
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_hooks_or_other_settings_is_measured_by_itself(another, monkeypatch, tmp_path):
    abilities(another())
    (kept,) = (tmp_path / "abilities").iterdir()
    model = another()
    model.original_model.transformer.h[0].register_forward_hook(lambda *args: None)
    abilities(model)
    model = another()
    layer = model.original_model.transformer.h[0]
    layer = getattr(layer, "_original_component", layer)
    monkeypatch.setattr(type(layer), "forward", lambda self, *args, **others: args[0])
    assert abilities(model) is not None
    assert list((tmp_path / "abilities").iterdir()) == [kept]  # of neither anything was kept or taken
