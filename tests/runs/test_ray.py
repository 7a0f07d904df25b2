"""Ray computes what one process computes, to the last bit, whatever becomes of its workers and machines."""

import json
import os
import signal
import socket
import sys
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import (
    CONNECT,
    FORK,
    assert_sound,
    bits,
    content,
    drive,
    driver_of,
    finish,
    hear_ctrl_c,
    kill_when,
    said,
    shards,
    wait_for,
)

from mechcausal.errors import MechcausalError, ModelError, ResultError, UnsupportedError
from mechcausal.results.provenance import package_versions
from mechcausal.runs.experiment import Experiment
from mechcausal.runs.plan import Plan
from mechcausal.runs.ray import Answer, Ray, Seat
from mechcausal.runs.run import Run
from mechcausal.runs.store import Store


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Return the rows that the local engine computes."""
    out = tmp_path_factory.mktemp("local") / "run"
    assert drive(out).complete
    return bits(out)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


def workers(out):
    """Return the processes that have computed something, in the order in which they began."""
    path = out / "units.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return list(dict.fromkeys(json.loads(line)["process"] for line in lines))


@pytest.mark.slow
def test_the_table_is_the_same_though_a_worker_is_killed(out, reference):
    driver = driver_of(out, engine="ray", workers=2)
    wait_for(lambda: (len(workers(out)) == 2 and shards(out) >= 8) or not driver.is_alive())
    assert driver.is_alive(), said(out, driver)
    first, second = workers(out)
    environment = Path(f"/proc/{second}/environ").read_bytes().split(b"\0")
    os.kill(first, signal.SIGKILL)
    driver.join()
    assert driver.exitcode == 0, said(out, driver)
    assert b"OMP_NUM_THREADS=1" in environment
    assert_sound(out, reference)
    wait_for(lambda: not alive(second))


def alive(process):
    """Say whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def two_machines():
    """Start a cluster of two machines, as far as Ray can tell, with a processor each; yield its address and what loses one.

    Ray runs in a process of its own, because it does not survive a fork.
    """
    mine, its = FORK.Pipe()
    process = FORK.Process(target=be_two_machines, args=(its,))
    process.start()
    yield mine.recv(), lambda: mine.send("lose one")
    mine.send("end")
    process.join()


def be_two_machines(pipe):
    """Be a cluster until it is to end."""
    socket.socket.connect = CONNECT
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    room = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**room, "include_dashboard": False})
    second = cluster.add_node(**room)
    pipe.send(cluster.address)
    if pipe.recv() == "lose one":
        cluster.remove_node(second, allow_graceful=False)
        pipe.recv()
    cluster.shutdown()
    os._exit(0)


@pytest.mark.slow
def test_the_table_is_the_same_though_a_machine_is_lost(out, reference, two_machines):
    address, lose_one = two_machines
    driver = driver_of(out, engine="ray", address=address)
    wait_for(lambda: (len(workers(out)) == 2 and shards(out) >= 8) or not driver.is_alive())
    assert driver.is_alive(), said(out, driver)
    lose_one()  # there is no other processor, so that its worker cannot start again
    driver.join()
    assert driver.exitcode == 0, said(out, driver)
    assert_sound(out, reference)

    driver = driver_of(out, engine="ray", address=address, gpus=2)
    driver.join()
    assert driver.exitcode == 3
    assert said(out, driver) == (
        "UnsupportedError: no machine of the Ray cluster has room for a worker (got 1 CPU, 0 GPU at most; "
        "expected 1 CPU, 2 GPU)\n"
    )


@pytest.mark.slow
def test_a_driver_that_is_killed_takes_its_workers_along_and_the_run_goes_on(out, reference):
    driver = driver_of(out, engine="ray", workers=2)
    kill_when(out, 2, driver)
    begun = workers(out)
    wait_for(lambda: not any(map(alive, begun)))
    assert not Run(out).complete
    finish(out, reference)  # by the local engine


@pytest.mark.slow
def test_a_driver_that_is_stopped_says_so_and_the_run_goes_on(out, reference):
    driver = driver_of(out, before=hear_ctrl_c, engine="ray", workers=1)
    wait_for(lambda: workers(out) or not driver.is_alive())  # it has begun, and nearly everything is left
    os.kill(driver.pid, signal.SIGINT)
    driver.join()
    assert driver.exitcode == 3
    assert said(out, driver).startswith("Stopped: stopped: what was computed is kept in ")
    finish(out, reference)  # by the local engine


def test_without_ray_there_is_a_sentence(out, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match=r"not installed: pip install 'mechcausal\[ray\]'"):
        drive(out, engine="ray")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workers": 0}, "there is no run without workers"),
        ({"gpus": 0}, "gpus is how many GPUs each worker has"),
        ({"address": "127.0.0.1:1"}, "no Ray cluster could be joined at 127.0.0.1:1 .*refused"),
        ({"address": "ray://there:10001"}, "a run is driven from a machine of the cluster"),
        ({"address": "nonsense"}, "no Ray cluster could be joined at nonsense"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, sentence, monkeypatch):
    monkeypatch.undo()  # one of them looks whether somebody answers
    with pytest.raises(MechcausalError, match=sentence):
        Ray(tmp_path, Experiment.of(content()).config, Path(), **options)


@pytest.fixture
def seat(tmp_path):
    """Return what an actor is, in this process, on a folder where a step is planned."""
    config = Experiment.of(content()).config
    (tmp_path / "mark").touch()
    Store(tmp_path, writing=True)
    return Seat(tmp_path, config, Path(), None, "mark", package_versions())


@pytest.fixture
def planned(seat, monkeypatch):
    """Return a seat, what it is to know, and the groups of its first step."""
    groups, problems = seat.plan([], "heads").taken()
    assert not problems
    plan = Plan("small", "", {"heads": "patch"}).with_groups("heads", groups)
    monkeypatch.setattr("ray.get", lambda plan: plan)
    return seat, [plan], groups


def test_a_shard_that_was_committed_by_a_worker_that_died_counts_once(planned, tmp_path):
    seat, known, groups = planned
    units = list(groups[0].units(np.zeros((16, 12), dtype=bool)))[:2]
    first = seat.do(known, units).taken()
    again = Seat(*seat._about, "mark", package_versions())  # started again, it has the same to do
    second = again.do(known, units).taken()
    assert first.rows == second.rows == sum(unit.rows for unit in units)
    assert shards(tmp_path) == 1
    third = again.do(known, units[:1]).taken()
    assert third.rows == units[0].rows
    assert shards(tmp_path) == 1


def test_what_a_worker_cannot_do_is_one_sentence_and_no_row(planned, tmp_path, monkeypatch):
    seat, known, groups = planned
    units = list(groups[0].units(np.zeros((16, 12), dtype=bool)))[:1]

    def fail(error):
        def load(*_, **__):
            raise error

        seat._worker.bench._models.clear()
        monkeypatch.setattr("mechcausal.models.load.load", load)
        return seat.do(known, units)

    with pytest.raises(ModelError, match=r"^the weights are not there$"):
        fail(ModelError("the weights are not there")).taken()
    with pytest.raises(MechcausalError, match=r"^a worker on .* failed: RuntimeError: no kernel image$"):
        fail(RuntimeError("no kernel\nimage")).taken()
    assert shards(tmp_path) == 0


def test_workers_that_die_of_the_same_shard_again_and_again_end_the_run(planned, monkeypatch):
    seat, known, groups = planned
    first, second, *_ = groups[0].units(np.zeros((16, 12), dtype=bool))

    def die(worker, units):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("mechcausal.runs.worker.Worker.do", die)
        for _ in range(3):
            with pytest.raises(SystemExit):
                Seat(*seat._about, "mark", package_versions()).do(known, [first])
        answer = Seat(*seat._about, "mark", package_versions()).do(known, [first])
    with pytest.raises(UnsupportedError, match=r"a worker died 3 times while shard \w{8} was computed.*fewer workers"):
        answer.taken()
    assert Seat(*seat._about, "mark", package_versions()).do(known, [second]).taken().rows == 12


def test_a_machine_must_see_the_folder_and_have_the_same_packages(seat, tmp_path):
    other = Seat(*seat._about, "mark", package_versions() | {"torch": "0.1"})
    with pytest.raises(UnsupportedError, match=r"has another torch, so its numbers may differ .*expected 0\.1"):
        other.ready().taken()
    (tmp_path / "mark").unlink()
    with pytest.raises(ResultError, match="does not see the folder of the run"):
        seat.ready().taken()


def test_errors_cross_processes_as_text():
    assert Answer(5).taken() == 5
    with pytest.raises(ResultError, match=r"^the disk is full$"):
        Answer(error="the disk is full", kind="ResultError").taken()
    with pytest.raises(MechcausalError, match=r"^unheard of$"):
        Answer(error="unheard of", kind="SomethingElse").taken()
    with pytest.raises(MechcausalError, match=r"^no error of ours$"):
        Answer(error="no error of ours", kind="did_you_mean").taken()


def test_a_worker_stays_with_its_model_and_the_next_takes_the_model_that_the_fewest_are_at():
    ray = Ray.__new__(Ray)
    hands = [SimpleNamespace(shard=None, models=deque(maxlen=2)) for _ in range(3)]
    ray._hands = hands
    left = {"a": iter(["a0", "a1"]), "b": iter(["b0", "b1", "b2", "b3"])}
    back = []

    def give(number):
        hands[number].shard = ray._next(hands[number], left, back)
        if hands[number].shard:
            hands[number].models.append(hands[number].shard[0])
        return hands[number].shard

    assert [give(0), give(1), give(2)] == [("a", "a0"), ("b", "b0"), ("a", "a1")]
    assert give(1) == ("b", "b1")
    back.append(("a", "a0"))  # of a machine that was lost
    assert give(2) == ("a", "a0")
    assert give(0) == ("b", "b2")  # there is no more of its own
    assert give(1) == ("b", "b3")
    assert give(1) is None
    assert not left
