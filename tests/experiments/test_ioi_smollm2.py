import json

import pytest
from studies import EXPERIMENTS, run_small, script

import mechcausal as mc
from mechcausal.models.wheels import WHEELS

STUDY = EXPERIMENTS / "ioi_smollm2"
real = pytest.mark.skipif(
    WHEELS["smollm2"].file() is None, reason=f"smollm2 is not installed: {WHEELS['smollm2'].command}"
)
SMALL = {
    "data__checked_on__n": 6, "data__few__n": 3, "data__first_receives__n": 6, "data__second_receives__n": 6,
    "step__into_movers__each": {"receivers": ["L23.q.H0"]}, "step__into_movers__senders": ["L20.z.H0", "L17.z.H4"],
    "step__into_induction__senders": ["L16.z.H0", "L11.z.H1"],
}  # fmt: skip


def test_the_stories_are_those_that_the_script_writes():
    for name, corrupt in (("stories", "unrepeated"), ("swapped", "swapped")):
        rows = [json.loads(line) for line in (STUDY / f"{name}.jsonl").read_text().splitlines()]
        assert [{key: value for key, value in row.items() if key != "environment"} for row in rows] == script(
            "ioi_smollm2", "make_stories"
        ).rows(corrupt)
        for row in rows:
            words = {place: row["clean"][begin:end] for place, (begin, end) in row["positions"].items()}
            assert words["subject"] == row["giver"]
            assert {words["first"], words["second"]} == {row["giver"], row["receiver"]}
            assert row["clean"].count(row["giver"]) == 2
            assert row["corrupt"].count(row["giver"]) == 1


def test_the_experiment_is_read_without_a_problem():
    mc.Experiment.read(STUDY / "experiment.toml")


@pytest.mark.real
@real
def test_heads_of_the_published_classes_are_there(tmp_path):
    steps = ["direct", "into_movers", "into_induction", "looks"]
    run = run_small("ioi_smollm2", tmp_path / "run", only=steps, **SMALL)
    analysis = script("ioi_smollm2")
    direct = analysis.Table(run.result("direct"))
    assert {"L23.z.H0", "L23.z.H2", "L23.z.H3", "L29.z.H1"} <= set(direct.above())
    assert {"L24.z.H4", "L29.z.H0"} <= set(direct.below())
    queries = analysis.Table(run.result("into_movers", receivers="L23.q.H0"))
    assert queries.effect("L20.z.H0")[0] > 0.05 > abs(queries.effect("L17.z.H4")[0])
    keys = analysis.Table(run.result("into_induction"))
    assert keys.effect("L16.z.H0")[0] > 0.2 > abs(keys.effect("L11.z.H1")[0])
    looks = analysis.Looks(run)
    assert {"L23.z.H0", "L23.z.H1", "L24.z.H4"} <= set(looks.receiver_heads())
    assert {"L20.z.H0", "L23.z.H3"} <= set(looks.heads("subject", 0.3))
