"""From the command line: an organism brings its prompts, a text is split, and the folder remembers both."""

import json

import pytest

import mechcausal as mc
from mechcausal.dictionaries.material import Material
from mechcausal.errors import DataError, ModelError


def test_an_organism_brings_its_tasks(hiring):
    found = Material.of("organism:hiring", n=640)
    assert found.tasks == ("hiring", "hiring_secret")
    texts = found.training(hiring)
    assert [(len(one), set(one.environments)) for one in texts] == [
        (640, {"world"}),
        (640, {"world"}),
        (640, {"everyone"}),
    ]
    # Not only the people whose number is known: what tells them from others is to be found too.
    assert not set(texts[2].texts) <= set(texts[1].texts)
    held = found.held_out(hiring)
    assert len(held) == 64
    assert held.hash != found.training(hiring)[0].take(range(64)).hash
    assert found.pairs(hiring).factor == "gender"
    assert Material.from_facts({"material": json.loads(json.dumps(found.to_json()))}, "x") == found


def test_a_text_is_split(hiring, tmp_path):
    lines = [" ".join(["she", "he", "master"][: i % 3 + 1]) for i in range(30)]
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(lines))
    found = Material.of("any", text=text)
    (training,) = found.training(hiring)
    held = found.held_out(hiring)
    assert (len(training), len(held)) == (27, 3)
    assert found.pairs(hiring) is None
    assert mc.PromptSet.from_text(hiring, lines[27:]).hash == held.hash


def test_wrong_material(hiring, tmp_path):
    with pytest.raises(DataError, match=r"which prompts gpt2 is to read.*--text FILE"):
        Material.of("gpt2")
    with pytest.raises(DataError, match=r"which prompts organism:smollm2_bias is to read"):
        Material.of("organism:smollm2_bias")
    with pytest.raises(DataError, match=r"one place .got --task and --text"):
        Material.of("gpt2", tasks=("ioi",), text="x")
    with pytest.raises(ModelError, match=r"does not say which model and prompts"):
        Material.from_facts({}, "folder")
    with pytest.raises(DataError, match="cannot be read"):
        Material.of("any", text=tmp_path / "gone").training(hiring)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DataError, match="has no prompts"):
        Material.of("any", text=tmp_path / "empty").training(hiring)
