import json
import re
import shutil

import pytest
import torch
from biographies import model
from safetensors.torch import load_file, save_file
from small_questions import SmallAccuracy
from words import words_tokenizer
from zoo import build

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.adapting import files_of
from mechcausal.errors import ArgumentError, MechcausalError, ModelError
from mechcausal.models.origin import origin_of

MAP = "base_model.model.model.layers.1.self_attn.v_proj.lora_{side}.weight"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Write the small Llama, an adapter of one of its maps, and the same model with the adapter's product added by hand."""
    folder, draw = tmp_path_factory.mktemp("adapter"), torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 32, generator=draw) / 2, torch.randn(16, 2, generator=draw) / 2
    adapter = folder / "adapter"
    adapter.mkdir()
    save_file({MAP.format(side="A"): first, MAP.format(side="B"): second}, adapter / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["v_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    by_hand = build("llama")
    by_hand.model.layers[1].self_attn.v_proj.weight += second @ first
    for name, module in (("base", build("llama")), ("by hand", by_hand)):
        module.save_pretrained(folder / name)
        words_tokenizer().save_pretrained(folder / name)
    return folder


def test_the_model_with_the_adapter_answers(folders):
    base, by_hand = (mc.load(str(folders / name)) for name in ("base", "by hand"))
    prompts = mc.PromptSet(torch.arange(12).reshape(2, 6) + 3, torch.ones(2, 6).bool(), answer=torch.tensor([5, 6]))
    desk = Desk(base, {})
    adapter = audit.Adapter(folder=str(folders / "adapter"), base=str(folders / "base"))
    with adapter.applied(desk) as edited:
        changed = edited.outcomes(prompts, "logprob")
    assert changed == pytest.approx(Desk(by_hand, {}).outcomes(prompts, "logprob"), abs=1e-5)
    assert abs(changed - desk.outcomes(prompts, "logprob")).max() > 0.01


def test_adapter_and_base_lie_beside_the_plan(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    desk = Desk(mc.load(str(folders / "base")), {}, folder=folders)
    assert audit.Adapter(folder="adapter", base="./base").made(desk).model is not None
    with pytest.raises(MechcausalError, match="no adapter"):
        audit.Adapter(folder="adapter", base="base").made(Desk(desk.model, {}))


def test_other_weights_are_refused(folders):
    desk = Desk(mc.load(str(folders / "by hand")), {})
    with pytest.raises(ModelError, match="other weights than those that are audited"):
        audit.Adapter(folder=str(folders / "adapter"), base=str(folders / "base")).made(desk)


def test_an_adapter_that_is_not_there_is_refused_in_a_sentence():
    with pytest.raises(ArgumentError, match="needs base="):
        audit.Adapter(folder="none").made(Desk(model(), {}))
    with pytest.raises(MechcausalError, match="adapter") as caught:
        audit.Adapter(folder="none", base="organism:by_hand").made(Desk(model(), {}))
    assert len(str(caught.value)) < 400


def test_another_adapter_in_the_same_folder_is_asked_again(folders, tmp_path):
    base = mc.load(str(folders / "base"))
    prompts = mc.PromptSet(torch.arange(12).reshape(2, 6) + 3, torch.ones(2, 6).bool(), answer=torch.tensor([5, 6]))
    plan = audit.Plan([SmallAccuracy(prompts, id="a")], networks=0, folder=tmp_path)
    shutil.copytree(folders / "adapter", tmp_path / "lora")
    edits, file = (
        [audit.Adapter(folder="./lora", base=str(folders / "base"))],
        tmp_path / "lora/adapter_model.safetensors",
    )
    losses = []
    for scale in (1, 0):
        save_file({name: scale * value for name, value in load_file(file).items()}, file)
        swept = audit.sweep(plan, edits, base, tmp_path / "out", neutral=prompts, quiet=True)
        assert swept.run["files"].keys() >= {"./lora"}
        losses.append(abs(swept.answer("adapter", "kl").estimate.value))
    assert losses[0] > 1e-4
    assert losses[1] < 1e-6


def copied(folders, tmp_path, edit=None, metadata=None, **config):
    """Return the folder of a copy of the adapter, with other tensors or another configuration."""
    shutil.copytree(folders / "adapter", tmp_path / "lora")
    file = tmp_path / "lora/adapter_model.safetensors"
    tensors = load_file(file)
    if edit is not None:
        edit(tensors)
    save_file(tensors, file, metadata=metadata)
    path = tmp_path / "lora/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return tmp_path / "lora"


def problems(folders, lora, base="./base", model="base"):
    """Return what is wrong with a plan that has an adapter among its edits; nothing is run."""
    loaded = mc.load(str(folders / model))
    prompts = mc.PromptSet(torch.arange(12).reshape(2, 6) + 3, torch.ones(2, 6).bool(), answer=torch.tensor([5, 6]))
    edits = [{"do": "adapter", "folder": str(lora)} | ({} if base is None else {"base": base})]
    return audit.Plan([SmallAccuracy(prompts)], edits=edits, folder=folders).problems(loaded)


def test_an_adapter_that_fits_has_no_problem(folders):
    assert problems(folders, "./adapter") == []
    assert problems(folders, "./adapter", "./by hand", "by hand") == []


@pytest.mark.parametrize(
    ("edit", "options", "says"),
    [
        (lambda t: t.update({MAP.format(side="B"): torch.zeros(24, 2)}), {}, r"for a model of other sizes: .*got weights of \(16, 32\)"),
        (lambda t: t.update({MAP.format(side="A"): torch.zeros(3, 32)}), {}, "the two matrices .* do not fit"),
        (lambda t: t.update({k.replace("layers.1", "layers.9"): t.pop(k) for k in list(t)}), {}, "is for another model: 1 of its 1 maps"),
        (lambda t: t.pop(MAP.format(side="A")), {}, "lacks lora_A"),
        (None, {"metadata": {"base_weights": "0123456789abcdef"}}, "was trained on other weights"),
        (None, {"peft_type": "IA3"}, "is no LoRA"),
    ],
)  # fmt: skip
def test_check_finds_an_adapter_that_does_not_fit(folders, tmp_path, edit, options, says):
    (found,) = problems(folders, copied(folders, tmp_path, edit, **options))
    assert found.startswith("the edit 'adapter': ")
    assert re.search(says, found)
    assert len(found) < 400


def test_check_finds_files_that_are_not_there(folders, tmp_path):
    (found,) = problems(folders, "./nowhere")
    assert re.search("there is no file or folder .*nowhere, which folder names", found)
    (found,) = problems(folders, "adaptor")
    assert "there is no adapter called" in found
    (found,) = problems(folders, "./adapter", "./nothing")
    assert re.search("there is no file or folder .*nothing, which base names", found)
    lora = copied(folders, tmp_path)
    (lora / "adapter_model.safetensors").unlink()
    (found,) = problems(folders, lora)
    assert re.search("holds no weights .expected adapter_model.safetensors", found)


def test_check_finds_a_base_that_is_not_the_audited_model(folders):
    (found,) = problems(folders, "./adapter", "./by hand")
    assert "to other weights than those that are audited" in found
    (found,) = problems(folders, "./adapter", None)
    assert "needs base=" in found
    (found,) = problems(folders, "./adapter", "organism:smollm2_bias")
    assert "is a model with an adapter already" in found


def test_files_are_those_of_the_origin(folders):
    base = mc.load(str(folders / "base"))
    assert files_of(str(folders / "base")) == dict(origin_of(base).files)
    assert files_of("organism:hiring") == dict(origin_of(mc.load("organism:hiring")).files)
    assert files_of("somebody/model") == {}
