"""`mechcausal sae`: a dictionary is trained, resumed, accompanied and measured."""

import json
from importlib.util import find_spec

import pytest
from commands import refused, run

from mechcausal.dictionaries import folder
from mechcausal.dictionaries.companions import found
from mechcausal.models.bridge import transformer_lens_version
from mechcausal.organisms import folder as organism
from mechcausal.results.storage import read_json, write_json

needs_sae_lens = pytest.mark.skipif(
    find_spec("sae_lens") is None or not transformer_lens_version().startswith("3."),
    reason="sae-lens cannot be imported beside transformer-lens 4",
)
TRAIN = ("sae", "train", "organism:hiring", "--site", "L2.resid_post")


@pytest.mark.slow
@needs_sae_lens
def test_train_and_measure(tmp_path):
    out = tmp_path / "sae"
    words = (*TRAIN, "--width", "64", "-o", out, "--tokens", "60000", "-n", "300", "--companions", "0")
    trained = run(*words)
    assert trained.code == 0, trained.error
    assert "L2.resid_post.sae:sae: 64 features" in trained.output
    health = run("sae", "health", out, "--json")
    assert health.code == 0
    measures = health.document["measures"]
    assert measures["explained_variance"]["estimate"] > 0.8
    assert measures["l0"]["estimate"] == pytest.approx(6, abs=0.1)
    assert abs(measures["error_share"]["estimate"]) < 0.3
    assert json.loads((out / "health.json").read_text())["measures"] == measures
    facts = read_json(out / "mechcausal.json")
    del facts["material"]
    write_json(out / "mechcausal.json", facts)
    assert run("sae", "health", out, "--model", "organism:hiring").code == 0
    assert "--model MODEL" in refused("sae", "health", out)
    (tmp_path / "prompts.txt").write_text("she master\nhe master\n" * 10)
    other = run("sae", "health", out, "--model", "organism:hiring", "--text", tmp_path / "prompts.txt")
    assert "loss at the tokens" in other.output


@needs_sae_lens
def test_companions_are_trained_where_that_is_quick(tmp_path):
    out = tmp_path / "sae"
    words = (*TRAIN, "--width", "16", "-o", out, "--tokens", "4096", "-n", "40")
    assert "no companions, so links cannot judge stability" in run(*words, "--companions", "0").output
    assert found(out) == []
    done = run(*words, "--json")  # each takes a second
    assert done.document["companions"] == ["seed-1", "seed-2", "half-1", "half-2"]
    assert [companion.finished for companion in found(out)] == [True] * 4
    facts = [folder.read(companion.path).facts for companion in found(out)]
    assert {entry["material"]["model"] for entry in facts} == {"organism:hiring"}


def test_a_card_is_a_page(tmp_path):
    shipped = organism("hiring") / "dictionary"
    done = run("sae", "card", shipped, "199", "-o", tmp_path / "card.html", "--model", "organism:hiring", "--json")
    assert done.code == 0, done.error
    assert done.document["feature"] == "L1.resid_post.sae:dictionary.F199"
    assert {effect["metric"] for effect in done.document["effects"]} == {"logit_diff", "kl"}
    assert "<!doctype html>" in (tmp_path / "card.html").read_text().lower()
    assert "0 to 255" in refused(
        "sae", "card", shipped, "256", "-o", tmp_path / "other.html", "--model", "organism:hiring"
    )


def test_the_group_lists_its_verbs():
    assert [line.split()[0] for line in run("sae", "--help").output.splitlines()[-3:]] == ["train", "health", "card"]


def test_pairs_of_your_own_are_material(tmp_path, hiring):
    import mechcausal as mc

    pairs = mc.contrast("hiring/gender", hiring, n=60).write(tmp_path / "pairs.csv")
    shipped = organism("hiring") / "dictionary"
    words = ("--model", "organism:hiring", "--pairs", pairs)
    assert run("sae", "health", shipped, *words, "--dry-run", "--json").document["examples"] > 0
    done = run("sae", "health", shipped, *words, "-o", tmp_path / "health.json", "--json")
    assert done.code == 0, done.error
    assert (tmp_path / "health.json").exists()
    assert run("sae", "card", shipped, "3", *words, "--dry-run").code == 0
    train = (
        "sae",
        "train",
        "organism:hiring",
        "--site",
        "L2.resid_post",
        "--width",
        "8",
        "-o",
        tmp_path / "sae",
        "--pairs",
        pairs,
    )
    assert run(*train, "--dry-run").code == 0
    assert not (tmp_path / "sae").exists()
    assert "one place" in refused(*train, "--task", "hiring")
