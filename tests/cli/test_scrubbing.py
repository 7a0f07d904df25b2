"""`mechcausal scrub`: a hypothesis in a TOML file, on a task or on a file of your own."""

import pytest
from commands import refused, run

import mechcausal as mc

ALIGNED = """
task = "hiring"
given = []
[alignment]
merit = "L1.z.H0@decision"
bias = "L1.z.H2@decision"
score = "L2.mlp_out@decision"
"""
TREE = """
name = "decision"
[[children]]
name = "who"
parts = ["L1.z.H2@decision"]
feature = "side"
"""


def test_it_is_the_scrubbing_of_python(tmp_path, hiring):
    (tmp_path / "h.toml").write_text(ALIGNED)
    words = (
        "scrub",
        "organism:hiring",
        "--hypothesis",
        tmp_path / "h.toml",
        "--task",
        "hiring",
        "--environment",
        "broad",
    )
    words = (*words, "-n", "120", "--lonely", "keep", "--no-controls", "--no-report", "--seeds", "1")
    done = run(*words, "-o", tmp_path / "s.parquet", "--json")
    assert done.code == 0, done.error
    prompts = mc.task("hiring").prompts(hiring, 120, environment="broad")
    places = {"merit": "L1.z.H0@decision", "bias": "L1.z.H2@decision", "score": "L2.mlp_out@decision"}
    hypothesis = mc.causal.Hypothesis(mc.task("hiring").scm, places, outcome="decision")
    scrubbed = mc.scrub(hiring, prompts, hypothesis, lonely="keep", controls=False, report=False, seeds=1)
    assert done.document["rows"][0]["effect"] == pytest.approx(scrubbed.frame["effect"].iloc[0])
    assert run(*words, "--dry-run", "--json").document["cells"] == 1


def test_a_tree_may_name_a_column_of_a_file(tmp_path, hiring):
    (tmp_path / "h.toml").write_text(TREE)
    pairs = mc.contrast("hiring/gender", hiring, n=40)
    rows = [{"text": text, "side": side, "answer": "yes", "foil": "no", "position.decision": "hire"}
            for prompts, side in ((pairs.clean, "a"), (pairs.corrupt, "b")) for text in prompts.texts]  # fmt: skip
    rows = [row for row in rows if "hire" in row["text"]] or [
        {key: value for key, value in row.items() if key != "position.decision"} for row in rows
    ]
    tree = TREE if "position.decision" in rows[0] else TREE.replace("@decision", "@-1")
    (tmp_path / "h.toml").write_text(tree)
    unique = list({row["text"]: row for row in rows}.values())
    answers = hiring.tokenizer.convert_ids_to_tokens([int(pairs.clean.answer[0]), int(pairs.clean.foil[0])])
    for row in unique:
        row["answer"], row["foil"] = answers
    from mechcausal.data.files import write_rows

    path = write_rows(tmp_path / "prompts.csv", unique)
    words = ("scrub", "organism:hiring", "--hypothesis", tmp_path / "h.toml", "--prompts", path, "--seeds", "1")
    done = run(*words, "--no-controls", "-o", tmp_path / "s.parquet", "--json")
    assert done.code == 0, done.error
    assert {row["node"] for row in done.document["rows"]} >= {"who"}
    (tmp_path / "h.toml").write_text(tree.replace("side", "sied"))
    assert "sied" in refused(*words, "-o", tmp_path / "s.parquet")
