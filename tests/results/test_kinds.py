"""Files know the class that wrote them: every class is found again, and nothing outside the package is imported."""

import ast
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import mechcausal as mc
from mechcausal.causal import Scrubbed
from mechcausal.errors import ResultError
from mechcausal.results.kinds import Kept, name_of, named
from mechcausal.results.result import Judged
from mechcausal.results.storage import seal

PACKAGE = Path(mc.__file__).parent


@pytest.fixture(scope="module")
def sweep(by_hand):
    return mc.patch(by_hand, mc.contrast("by_hand/gender", by_hand, n=8), sites=["resid_pre", "mlp_out"])


def rewritten(path, **changes):
    """Change what the header of a file says; None takes a word out."""
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"mechcausal"]) | changes
    kept = {word: value for word, value in header.items() if value is not None}
    metadata = {**table.schema.metadata, b"mechcausal": json.dumps(kept).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    seal(path)
    return path


def classes_of_the_package():
    """Return (module, class) of everything that derives from what can be kept, by reading the sources."""
    parents = {}
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(["mechcausal", *path.relative_to(PACKAGE).with_suffix("").parts])
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                parents[node.name] = module, [base.id for base in node.bases if isinstance(base, ast.Name)]
    found, grown = {"Kept"}, True
    while grown:
        new = {name for name, (_, bases) in parents.items() if found & set(bases)} - found
        found, grown = found | new, bool(new)
    return [(parents[name][0], name) for name in sorted(found - {"Kept"})]


def test_every_class_of_results_is_found_by_its_name():
    known = classes_of_the_package()
    names = {name for _, name in known}
    assert {"Result", "Scrubbed", "Interchange", "Aligned", "Masked", "Mediation", "Links", "Faithfulness"} <= names
    for module, name in known:
        if name == "Judged":  # what others are made from
            continue
        found = named(f"{module}:{name}")
        assert found is not None
        assert issubclass(found, Kept)
        assert name_of(found) == f"{module}:{name}"


def test_a_file_of_before_is_a_plain_result_or_what_it_is_asked_for_as(sweep, tmp_path):
    path = rewritten(sweep.save(tmp_path / "old.parquet"), kind=None)
    assert type(mc.results.load(path)) is mc.Result
    assert type(mc.Result.load(path)) is mc.Result
    assert type(Scrubbed.load(path)) is Scrubbed
    from mechcausal.causal.alignment.aligned import Aligned

    with pytest.raises(ResultError, match=r"is not a Aligned \(got Result\)"):
        Aligned.load(path)


def test_a_class_reads_its_own_kind_only(sweep, tmp_path):
    path = sweep.save(tmp_path / "sweep.parquet")
    assert type(mc.Result.load(path)) is mc.Result
    with pytest.raises(ResultError, match=r"is not a Scrubbed \(got Result\): mc\.results\.load reads it"):
        Scrubbed.load(path)


@pytest.mark.parametrize(
    "kind",
    [
        "evil:Result", "mechcausal_evil:Thing", "mechcausal.gone:Thing", "mechcausal.causal.gone:Scrubbed",
        "mechcausal.results.result:Gone", "mechcausal.results.result:json", "mechcausal.results.kinds:import_module",
        "mechcausal..os:Thing", "mechcausal.__init__:Result", "mechcausal.results.result:Judged", "", "os:system", 3, ["mechcausal.results.result:Result"], {"a": 1}, True,
    ],
)  # fmt: skip
def test_what_is_no_class_of_results_is_neither_imported_nor_called(kind, sweep, tmp_path, monkeypatch):
    for name in ("evil", "mechcausal_evil"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    path = rewritten(sweep.save(tmp_path / "s.parquet"), kind=kind)
    with pytest.warns(UserWarning, match="which is not there: it is read as a plain result"):
        found = mc.results.load(path)
    assert type(found) is mc.Result
    assert found.summary() == sweep.summary()
    assert not {"evil", "mechcausal_evil"} & set(sys.modules)


def test_a_class_of_yours_is_found_where_it_is_defined(sweep, tmp_path):
    @dataclass(frozen=True)
    class Mine(mc.Result):
        @property
        def largest(self):
            return self.top(1)["site"].iloc[0]

    assert repr(Mine(**vars(sweep))) == sweep.summary()  # and is printed as every result is
    path = Mine(**vars(sweep)).save(tmp_path / "mine.parquet")
    assert mc.results.load(path).largest == "L0.resid_pre"
    assert "<locals>" in name_of(Mine)


def test_what_is_found_and_its_result_come_back_together(sweep, tmp_path):
    @dataclass(frozen=True)
    class Best(Judged):
        site: str
        result: mc.Result

        def told(self):
            return self.result, {"site": self.site}

        @classmethod
        def restored(cls, path, held, found):
            return cls(found["site"], held["result"])

    swept = Scrubbed(**vars(sweep))
    again = mc.results.load(Best("L0.resid_pre", swept).save(tmp_path / "best.parquet"))
    assert (type(again), again.site, type(again.result)) == (Best, "L0.resid_pre", Scrubbed)
    with pytest.raises(ResultError, match=r"is not a Result \(got Best\)"):
        mc.Result.load(tmp_path / "best.parquet")
