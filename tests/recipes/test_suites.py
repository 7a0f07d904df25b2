"""Files of suites from small copies of the public data sets."""

import gzip
import json

import pytest

from mechcausal.recipes import suites


@pytest.fixture
def data(tmp_path):
    """Return a folder in which each data set has an item or two, as its authors write them."""
    files = {
        "feature_circuits/simple_train.json": json.dumps(
            {"clean_prefix": "The cat", "patch_prefix": "The cats", "clean_answer": " has", "patch_answer": " have", "case": "singular", "more": 1}
        ),
        "feature_circuits/simple_test.json": "",
        "feature_circuits/nounpp_test.json": "\n",
        "vig2020/professions.json": json.dumps([["police_officer", 0.0, 0.4]]),
        "winogender/occupations-stats.tsv": "occupation\tbls_pct_female\nnurse\t90.5\n",
        "winogender/templates.tsv": "a\tb\tc\td\nnurse\tpatient\t0\tThe $OCCUPATION said $NOM_PRONOUN could go.\n",
        "crows_pairs/crows_pairs_anonymized.csv": (
            ",sent_more,sent_less,stereo_antistereo,bias_type,annotations,anon_writer\n0,A b.,A c.,stereo,age,[],a1\n"
        ),
        **{
            f"winobias/{side}_stereotyped_{kind}.txt.{part}": (
                f"1 [The guard] saw the nurse because [{word}] ran.\n2 Nobody ran.\n"
            )
            for side, word in (("pro", "He"), ("anti", "she")) for kind in ("type1", "type2") for part in ("dev", "test")
        },
        **{
            f"bbq/{name}.jsonl": json.dumps(
                {
                    "question_index": "7", "question_polarity": "neg", "context_condition": "ambig", "context": "Two met.",
                    "question": "Who?", "ans0": "A", "ans1": "B", "ans2": "Unknown", "label": 2,
                    "answer_info": {"ans0": ["a", "old"], "ans1": ["b", "young"], "ans2": ["u", "unknown"]},
                    "additional_metadata": {"stereotyped_groups": ["old"]},
                }
            )
            for name in ("Age", "Religion")
        },
        **{f"{name}/LICENSE": f"license of {name}" for name in suites._LICENSES},
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    return tmp_path / "data"


def test_every_table_holds_the_columns_that_suites_use(data):
    rows = {name: list(table) for name, table in suites.tables(data).items()}
    assert rows["agreement"] == [
        {"part": "simple", "clean_prefix": "The cat", "patch_prefix": "The cats", "clean_answer": " has", "patch_answer": " have", "case": "singular"}
    ]  # fmt: skip
    assert rows["professions"] == [{"profession": "police officer", "definition": 0.0, "stereotype": 0.4}]
    assert rows["winogender"] == [
        {"occupation": "nurse", "participant": "patient", "about": 0, "sentence": "The $OCCUPATION said $NOM_PRONOUN could go.", "female": 90.5}
    ]  # fmt: skip
    assert len(rows["winobias"]) == 4  # a sentence without a pronoun is left out
    assert rows["winobias"][0] == {
        "type": "type1", "part": "dev", "line": 1, "sentence": "[The guard] saw the nurse because [_] ran.", "pro": "He", "anti": "she",
    }  # fmt: skip
    assert rows["crows_pairs"][0]["sent_more"] == "A b."
    assert rows["bbq_age"][0]["answers"] == ["A", "B", "Unknown"]
    assert rows["bbq_age"][0]["groups"] == ["old", "young", "unknown"]


def test_files_are_the_same_whenever_they_are_made(data, tmp_path):
    first, second = (suites.build(data, tmp_path / name) for name in ("first", "second"))
    assert [path.name for path in first] == [f"{name}.jsonl.gz" for name in suites.tables(data)]
    for one_path, other in zip(first, second, strict=True):
        assert one_path.read_bytes() == other.read_bytes()
        text = gzip.decompress(one_path.read_bytes()).decode()
        assert [json.loads(line) for line in text.splitlines()] == list(
            suites.tables(data)[one_path.name.split(".")[0]]
        )
    for name in suites._LICENSES:
        assert (tmp_path / "first" / f"LICENSE.{name}").read_text() == f"license of {name}"
