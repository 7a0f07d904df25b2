"""From the command line: an organism brings its prompts, a text is split, and the folder remembers both."""

import json

import pytest
from typer.testing import CliRunner

import mechcausal as mc
from mechcausal.cli import app
from mechcausal.dictionaries import saelens
from mechcausal.dictionaries.material import Material
from mechcausal.errors import DataError, ModelError, UnsupportedError

try:
    saelens.sae_lens()
    CAN_TRAIN = True
except UnsupportedError:
    CAN_TRAIN = False


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
    lines = [" ".join(["she", "he", "degree"][: i % 3 + 1]) for i in range(30)]
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
    with pytest.raises(DataError, match="tasks or from a text"):
        Material.of("gpt2", tasks=("ioi",), text="x")
    with pytest.raises(ModelError, match=r"does not say which model and prompts"):
        Material.from_facts({}, "folder")
    with pytest.raises(DataError, match="cannot be read"):
        Material.of("any", text=tmp_path / "gone").training(hiring)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DataError, match="has no prompts"):
        Material.of("any", text=tmp_path / "empty").training(hiring)


@pytest.mark.skipif(not CAN_TRAIN, reason="sae-lens cannot be imported beside transformer-lens 4")
def test_train_and_health(tmp_path):
    run, out = CliRunner(), str(tmp_path / "sae")
    options = [
        "--site",
        "L2.resid_post",
        "--width",
        "64",
        "-o",
        out,
        "--tokens",
        "60000",
        "--prompts",
        "300",
        "--companions",
        "0",
    ]
    made = run.invoke(app, ["sae", "train", "organism:hiring", *options], catch_exceptions=False)
    assert made.exit_code == 0
    assert "L2.resid_post.sae:sae: 64 features" in made.output
    told = run.invoke(app, ["sae", "health", out, "--json"], catch_exceptions=False)
    assert told.exit_code == 0
    found = json.loads(told.output)["measures"]
    assert found["explained_variance"]["estimate"] > 0.8
    assert found["l0"]["estimate"] == pytest.approx(6, abs=0.1)
    assert abs(found["error_share"]["estimate"]) < 0.3
    assert json.loads((tmp_path / "sae" / "health.json").read_text())["measures"] == found
    forgetful = tmp_path / "sae" / "mechcausal.json"
    facts = json.loads(forgetful.read_text())
    del facts["material"]
    forgetful.write_text(json.dumps(facts))
    again = run.invoke(app, ["sae", "health", out, "--model", "organism:hiring"], catch_exceptions=False)
    assert again.exit_code == 0
    with pytest.raises(ModelError, match=r"does not say which model and prompts.*--model MODEL"):
        run.invoke(app, ["sae", "health", out], catch_exceptions=False)
    (tmp_path / "prompts.txt").write_text("she degree\nhe degree\n" * 10)
    other = ["--model", "organism:hiring", "--text", str(tmp_path / "prompts.txt")]
    assert "loss at the tokens" in run.invoke(app, ["sae", "health", out, *other], catch_exceptions=False).output


def test_help_needs_no_torch():
    assert "health" in CliRunner().invoke(app, ["sae", "--help"]).output
