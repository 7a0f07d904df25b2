"""A run gives the results that the methods themselves give, without a model, and says how far it is."""

import numpy as np
import pandas as pd
import pytest

import mechcausal as mc
from mechcausal.errors import ArgumentError, ResultError

SAME = {
    "stream": lambda model, pairs: mc.patch(model, pairs, sites="resid_pre"),
    "silenced": lambda model, pairs: mc.ablate(model, pairs, sites="z"),
    "zeroed": lambda model, pairs: mc.ablate(model, pairs, sites="z", do="zero"),
    "estimated": lambda model, pairs: mc.attribute(model, pairs, sites="z"),
    "direct": lambda model, pairs: mc.direct_logit_attribution(model, pairs),
}


@pytest.fixture(scope="module")
def pairs(hiring):
    return mc.contrast("hiring/gender", hiring, n=20)


@pytest.mark.parametrize("step", SAME)
def test_a_result_is_that_of_the_method(finished, hiring, pairs, step):
    mine, theirs = finished.result(step), SAME[step](hiring, pairs)
    pd.testing.assert_frame_equal(mine.frame, theirs.frame, check_dtype=False, atol=2e-5, rtol=1e-3)
    np.testing.assert_allclose(mine.examples, theirs.examples, atol=2e-5)
    assert set(mine.baselines) == set(theirs.baselines)
    assert mine.provenance.model["weights"] == theirs.provenance.model["weights"]
    assert mine.provenance.prompts["hash"] == theirs.provenance.prompts["hash"]


def test_results_of_a_grid_are_told_apart_by_their_labels(finished, hiring, pairs):
    with pytest.raises(ArgumentError, match="say which by metric"):
        finished.result("heads")
    mine = finished.result("heads", metric="prob")
    np.testing.assert_allclose(mine.examples, mc.patch(hiring, pairs, sites="z", metric="prob").examples, atol=1e-6)
    assert [labels["metric"] for labels, _ in finished.results("heads")] == ["logit_diff", "prob"]
    with pytest.raises(ArgumentError, match="no label 'metrc'"):
        finished.result("heads", metrc="prob")
    with pytest.raises(ArgumentError, match="no result with metric 'kl'"):
        finished.result("heads", metric="kl")


def test_a_step_takes_the_sites_that_an_earlier_one_found(finished, hiring, pairs):
    best = finished.result("heads", metric="logit_diff").top(2, by="effect")["site"].tolist()
    assert sorted(best) == ["L1.z.H1", "L1.z.H2"]  # those that carry gender, as the organism's card says
    paths = finished.result("paths", heads_metric="logit_diff")  # the step has a metric of its own
    assert sorted(paths.frame["site"]) == sorted(best)
    assert paths.provenance.arguments["metric"] == "logit_diff"
    assert (
        finished.result("together", metric="prob").provenance.arguments["metric"] == "prob"
    )  # as in the step it takes
    together = finished.result("together", metric="logit_diff")
    assert together.frame["site"].tolist() == [" + ".join(best)]
    truth = mc.patch(hiring, pairs, sites=[tuple(best)])
    np.testing.assert_allclose(together.examples, truth.examples, atol=1e-5)


def test_methods_that_are_run_whole_give_what_they_return(finished):
    assert type(finished.result("found")).__name__ == "Circuit"
    assert type(finished.result("judged")).__name__ == "Evaluation"
    assert type(finished.result("mediated")).__name__ == "Mediation"


def test_texts_are_those_of_the_method(finished, hiring):
    prompts = mc.task("hiring").prompts(hiring, 10)
    theirs, mine = mc.generate(hiring, prompts, tokens=1), finished.result("written")
    assert mine.texts == theirs.texts
    np.testing.assert_allclose(mine.examples, theirs.examples, atol=1e-5)


def test_how_far_it_is(finished):
    parts = {part.step: part for part in finished.status()}
    assert finished.complete
    assert (parts["heads"].planned, parts["heads"].done) == (2 * 16 * 20, 2 * 16 * 20)
    assert parts["none"].skipped
    assert "skipped" in repr(finished)
    with pytest.raises(ResultError, match="was skipped"):
        finished.result("none")
    with pytest.raises(ArgumentError, match="did you mean 'heads'"):
        finished.result("haeds")


def test_the_table_has_every_row(finished):
    table = finished.table("heads")
    assert len(table) == 2 * 16 * 20
    assert set(table["metric"]) == {"logit_diff", "prob"}
    one = table[(table["site"] == "L1.z.H2") & (table["metric"] == "prob")]
    result = finished.result("heads", metric="prob")
    number = result.frame["site"].tolist().index("L1.z.H2")
    np.testing.assert_array_equal(one["value"].to_numpy(), result.examples[number])
    assert set(finished.table()["step"]) == {
        "heads",
        "stream",
        "silenced",
        "zeroed",
        "estimated",
        "direct",
        "paths",
        "together",
        "found",
        "judged",
        "mediated",
        "written",
    }


def test_seconds_are_written_down(finished):
    seconds = finished.seconds()
    assert seconds.loc[seconds["step"] == "heads", "rows"].sum() == 2 * 16 * 20
    assert (seconds["seconds"] >= 0).all()


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(ResultError, match="not the folder of a run"):
        mc.Run(tmp_path)
