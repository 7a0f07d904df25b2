"""A specification as a verb: it is the method of Python, on pairs that ship and on a file."""

import json

import pytest
from commands import refused, run

import mechcausal as mc
from mechcausal.cli.running import show_cost
from mechcausal.method import Cost

PAIR = {"clean": "he high ask", "corrupt": "she high ask", "answer": "yes", "foil": "no"}


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in (PAIR, {**PAIR, "clean": "he low ask", "corrupt": "she low ask"}))
    )
    return path


@pytest.mark.parametrize(
    ("verb", "options", "python"),
    [
        ("patch", ("--sites", "resid_pre"), lambda model, data: mc.patch(model, data, sites="resid_pre")),
        ("ablate", ("--sites", "z", "--do", "zero"), lambda model, data: mc.ablate(model, data, sites="z", do="zero")),
        (
            "attribute",
            ("--sites", "z", "--steps", "2"),
            lambda model, data: mc.attribute(model, data, sites="z", steps=2),
        ),
        ("path", ("--senders", "L0.z.H0"), lambda model, data: mc.path_patch(model, data, senders="L0.z.H0")),
    ],
)
def test_a_verb_is_its_method(verb, options, python, pairs, by_hand, tmp_path):
    table = tmp_path / f"{verb}.parquet"
    words = (verb, "organism:by_hand", "--pairs", pairs, *options)
    assert run(*words, "--dry-run", "--json").document["examples"] == 2
    assert not table.exists()
    done = run(*words, "-o", table, "--json")
    assert done.code == 0, done.error
    expected = python(by_hand, mc.Contrast.read(pairs, by_hand))
    assert mc.results.load(table).frame["value"].to_numpy() == pytest.approx(expected.frame["value"].to_numpy())
    assert [row["site"] for row in done.document["rows"]] == list(map(str, expected.frame["site"]))
    assert run(*words, "-o", table).output.rstrip().endswith(f"table  {table}")


def test_mistakes_of_a_file(pairs, tmp_path):
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("clean;corupt\nhe high ask;she high ask\n")
    assert "wrong.csv has no column 'corrupt'" in refused("patch", "organism:by_hand", "--pairs", wrong)
    lines = [*pairs.read_text().splitlines(), json.dumps({**PAIR, "clean": "he unheard ask"})]
    pairs.write_text("\n".join(lines))
    assert "pairs.jsonl line 3: the tokenizer does not know 'unheard'" in refused(
        "patch", "organism:by_hand", "--pairs", pairs
    )
    done = run("patch", "organism:by_hand", "--pairs", pairs, "--drop-unfit", "-o", tmp_path / "p.parquet", "--json")
    assert done.code == 0, done.error


def test_prompts_of_a_file(tmp_path):
    (tmp_path / "p.csv").write_text("text,answer,foil\nhe high ask,yes,no\nshe low ask,no,yes\n")
    done = run(
        "ablate",
        "organism:by_hand",
        "--prompts",
        tmp_path / "p.csv",
        "--do",
        "zero",
        "-o",
        tmp_path / "a.parquet",
        "--json",
    )
    assert done.code == 0, done.error


def test_costs(capsys):
    show_cost(Cost(1, 2, 3.0, 4.0), as_json=True)
    assert json.loads(capsys.readouterr().out)["forwards"] == 3.0
    show_cost(Cost(1, 2, 3.0, 4.0), as_json=False)
    assert capsys.readouterr().out.startswith("1 cells x 2 examples")
