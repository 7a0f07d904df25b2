"""Folders of dictionaries: our reader computes what sae-lens computes, and refuses what is broken."""

import json
import shutil
import tempfile

import pytest
import torch
from limited import small_files
from safetensors.torch import save_file

from mechcausal.dictionaries import folder
from mechcausal.dictionaries.folder import SparseCoder, UnitRows
from mechcausal.errors import DataError, ModelError, NumericsError, ResultError, UnsupportedError

WIDTH, FEATURES = 12, 20
X = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(3)) * 2


def parts(architecture, seed=0, width_out=WIDTH):
    """Return a configuration and weights of an architecture, with decoder rows of any length."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    weights = {"W_enc": normal(WIDTH, FEATURES), "W_dec": normal(FEATURES, width_out) * (1 + normal(FEATURES, 1).abs())}
    weights |= {"b_dec": normal(width_out)}
    for name in folder._NEEDS[architecture]:
        weights[name] = 0.5 * normal(FEATURES).abs() if name == "threshold" else 0.3 * normal(FEATURES)
    config = {
        "architecture": architecture,
        "d_in": WIDTH,
        "d_sae": FEATURES,
        "k": 4 if architecture == "topk" else None,
    }
    if "transcoder" in architecture:
        config |= {"d_out": width_out, "apply_b_dec_to_input": False}
    return {name: value for name, value in config.items() if value is not None}, weights


def by_hand(architecture, w, k=4):
    """Return the features of X as the papers define them."""
    x = X - (0 if "transcoder" in architecture else w["b_dec"])
    if architecture == "gated":
        return (x @ w["W_enc"] + w["b_gate"] > 0) * torch.relu(x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"])
    before = x @ w["W_enc"] + w["b_enc"]
    if architecture == "topk":
        least = before.sort(-1, descending=True).values[:, k - 1 : k]
        return torch.relu(before) * (before >= least)
    return torch.relu(before) * (before > w["threshold"]) if "jumprelu" in architecture else torch.relu(before)


@pytest.mark.parametrize("architecture", folder.ARCHITECTURES)
def test_each_architecture_is_what_its_paper_says(architecture, tmp_path):
    config, weights = parts(architecture)
    folder.write(tmp_path / "made", config, weights, {"site": "L1.resid_post"})
    found = folder.read(tmp_path / "made")
    assert found.is_plain
    assert found.facts["site"] == "L1.resid_post"
    coder = found.coder()
    torch.testing.assert_close(coder.encode(X), by_hand(architecture, weights))
    f = coder.encode(X)
    assert 0.05 < float((f > 0).float().mean()) < 0.9
    torch.testing.assert_close(coder.decode(f), f @ weights["W_dec"] + weights["b_dec"])


@pytest.mark.parametrize("architecture", folder.ARCHITECTURES)
def test_folding_the_norms_changes_activations_and_nothing_else(architecture):
    coder = SparseCoder(*parts(architecture))
    folded = coder.folded()
    norms = coder.W_dec.norm(dim=-1)
    torch.testing.assert_close(folded.W_dec.norm(dim=-1), torch.ones(FEATURES))
    torch.testing.assert_close(folded.encode(X), coder.encode(X) * norms)
    torch.testing.assert_close(folded.decode(folded.encode(X)), coder.decode(coder.encode(X)), atol=1e-4, rtol=1e-5)
    wrapped = UnitRows(coder)
    torch.testing.assert_close(wrapped.encode(X), folded.encode(X))
    torch.testing.assert_close(wrapped.decode(wrapped.encode(X)), coder.decode(coder.encode(X)), atol=1e-4, rtol=1e-5)


def test_a_topk_that_ranks_by_norm_adds_unit_rows():
    """Its features are chosen by what they add, and decoded by rows of length 1."""
    config, weights = parts("topk")
    coder = SparseCoder(config | {"rescale_acts_by_decoder_norm": True}, weights)
    norms = weights["W_dec"].norm(dim=-1)
    before = ((X - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]) * norms
    chosen = torch.relu(before) * (before >= before.sort(-1, descending=True).values[:, 3:4])
    expected = chosen @ (weights["W_dec"] / norms[:, None]) + weights["b_dec"]
    torch.testing.assert_close(coder.decode(coder.encode(X)), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(coder.folded().encode(X), chosen)


def test_a_folder_is_replaced_whole_and_keeps_the_files_of_others(tmp_path):
    path = tmp_path / "made"
    folder.write(path, *parts("standard"), {"seed": 0})
    (path / "notes.txt").write_text("mine")
    folder.write(path, *parts("gated", seed=1), {"seed": 1})
    assert folder.read(path).facts["seed"] == 1
    assert (path / "notes.txt").read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["made"]
    with pytest.raises(UnsupportedError, match="no folder"):
        folder.write(tmp_path / "odd", {"architecture": "odd"}, {}, {})
    assert not (tmp_path / "odd").exists()


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "made"
    folder.write(path, *parts("standard"), {"seed": 0})
    with small_files(1024), pytest.raises(ResultError, match=r"could not be written.*make room") as caught:
        folder.write(path, *parts("standard", seed=1), {"seed": 1})
    assert len(str(caught.value)) < 400
    assert folder.read(path).facts["seed"] == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["made"]


def test_a_folder_that_cannot_be_written_is_put_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spare"))
    (tmp_path / "spare").mkdir()
    with pytest.raises(ResultError, match="nothing is lost: it was put into"):
        folder.write("/proc/nothing/made", *parts("standard"), {"seed": 0})
    (made,) = (tmp_path / "spare").glob("*/made")
    assert folder.read(made).facts["seed"] == 0


@pytest.mark.parametrize("after", range(1, 3))
def test_a_kill_at_any_time_leaves_a_folder_that_is_refused_or_whole(tmp_path, monkeypatch, after):
    """In a folder with other files the three files are moved one by one; what a kill leaves is ours, and not read."""
    path = tmp_path / "made"
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    replace, calls = type(tmp_path).replace, []

    def killed(self, target):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(target)
        return replace(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.write(path, *parts("standard"), {"seed": 0})
    monkeypatch.undo()
    with pytest.raises(ModelError, match="holds no dictionary"):
        folder.read(path)
    assert folder.holding(path, {"seed": 0}) is None
    folder.require_ours(path)
    folder.write(path, *parts("standard"), {"seed": 0})
    assert folder.holding(path, {"seed": 0}) is not None


@pytest.mark.parametrize("name", [folder.CONFIG, folder.WEIGHTS])
def test_a_dictionary_of_others_is_not_replaced(tmp_path, name):
    path = tmp_path / "theirs"
    path.mkdir()
    (path / name).write_text("theirs")
    for write in (lambda: folder.require_ours(path), lambda: folder.write(path, *parts("standard"), {})):
        with pytest.raises(DataError, match=f"a dictionary that is not ours .got {name} without mechcausal.json"):
            write()
    assert (path / name).read_text() == "theirs"


def broken(path, what):
    match what:
        case "gone":
            shutil.rmtree(path)
        case "no weights":
            (path / folder.WEIGHTS).unlink()
        case "cut":
            (path / folder.WEIGHTS).write_bytes((path / folder.WEIGHTS).read_bytes()[:100])
        case "no json":
            (path / folder.CONFIG).write_text("{")
        case "other weights":
            save_file(parts("standard", seed=5)[1], path / folder.WEIGHTS)
        case "nan":
            weights = parts("standard")[1]
            weights["W_enc"][0, 0] = float("nan")
            (path / folder.FACTS).unlink()
            save_file(weights, path / folder.WEIGHTS)


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("gone", ModelError, "is not a folder, so it holds no dictionary.*mechcausal sae train"),
        ("no weights", ModelError, "has no sae_weights"),
        ("cut", ModelError, "cannot be read"),
        ("no json", ModelError, "cannot be read"),
        ("other weights", ModelError, "is not the file that its mechcausal.json describes"),
        ("nan", NumericsError, "W_enc of the dictionary .* NaN"),
    ],
)
def test_a_broken_folder_is_one_sentence(tmp_path, what, error, words):
    path = folder.write(tmp_path / "made", *parts("standard"), {})
    broken(path, what)
    with pytest.raises(error, match=words) as raised:
        folder.read(path)
    assert "\n" not in str(raised.value)


def test_weights_that_are_missing_and_a_topk_without_k(tmp_path):
    config, weights = parts("jumprelu")
    del weights["threshold"]
    with pytest.raises(ModelError, match="jumprelu dictionary lack threshold"):
        folder.read(folder.write(tmp_path / "one", config, weights, {})).coder()
    config, weights = parts("topk")
    with pytest.raises(ModelError, match="how many features are active"):
        folder.read(folder.write(tmp_path / "two", config | {"k": 0}, weights, {})).coder()


def test_what_an_old_folder_tells(tmp_path):
    """Before version 6 of sae-lens the hook stood beside the sizes, and no architecture was named."""
    config, weights = parts("standard")
    path = folder.write(tmp_path / "made", config, weights, {})
    (path / folder.FACTS).unlink()
    del config["architecture"]
    (path / folder.CONFIG).write_text(
        json.dumps(config | {"hook_point": "blocks.2.hook_resid_pre", "model_name": "gpt2"})
    )
    found = folder.read(path)
    assert (found.hook, found.hook_out, found.model_name) == ("blocks.2.hook_resid_pre", None, "gpt2")
    assert found.is_plain
    assert found.coder().architecture == "standard"
    (path / folder.CONFIG).write_text(json.dumps(config | {"normalize_activations": "layer_norm"}))
    assert not folder.read(path).is_plain
    (path / folder.CONFIG).write_text(json.dumps(config | {"activation_fn_str": "tanh-relu"}))
    assert not folder.read(path).is_plain
    (path / folder.CONFIG).write_text(json.dumps(config | {"finetuning_scaling_factor": True}))
    assert not folder.read(path).is_plain
    (path / folder.CONFIG).write_text(
        json.dumps(config | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}})
    )
    found = folder.read(path)
    assert found.is_plain
    assert int((found.coder().encode(X) > 0).sum(-1).max()) <= 3
