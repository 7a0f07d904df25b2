"""The same run on several processes and machines: Ray starts the workers and starts them again, and rows never pass through it.

Each worker is an actor that holds its models. The driver hands it shards, a few numbers each; the rows go from the worker into
the folder of the run, and only their count comes back. So all machines must see that folder under the same path.

What may fail:

- An actor dies: Ray starts it again, and gives it its shard again; units that it had committed are not computed again.
- A machine is lost: its actors are replaced, and their shards go to whoever is free.
- A worker cannot do something that is no fault of a row, such as writing or loading: the run stops with its sentence.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from platform import node as host
from typing import Any

from mechcausal import errors
from mechcausal.errors import ArgumentError, MechcausalError, ResultError, UnsupportedError, shortened
from mechcausal.results.provenance import package_versions
from mechcausal.results.storage import reason_of, temporary_beside
from mechcausal.runs.bench import MODELS
from mechcausal.runs.config import Config
from mechcausal.runs.plan import Group, Plan, Unit, key_of
from mechcausal.runs.worker import Done, Worker

_DEATHS = 3  # of workers at the same shard, after which a run gives up
_LOOK = 2.0  # seconds between two looks at which machines are there
_PATIENCE = 10.0  # seconds that the head machine of a cluster has to answer
_OBJECTS = 80 * 2**20  # bytes of shared memory: plans go through it, rows do not
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True)
class Answer:
    """What an actor answers: a value, or the error that it met, in a form that every process can read.

    Attributes:
        value: The value.
        error: The message of the error.
        kind: The name of its class in `mechcausal.errors`.
    """

    value: Any = None
    error: str | None = None
    kind: str = ""

    def taken(self) -> Any:  # noqa: ANN401
        """Return the value, or raise the error."""
        if self.error is None:
            return self.value
        error_class = getattr(errors, self.kind, None)
        raise (
            error_class
            if isinstance(error_class, type) and issubclass(error_class, MechcausalError)
            else MechcausalError
        )(self.error)


class Seat:
    """What an actor is: a worker, which is made when it is first needed. It may be made again, in another process, at any time.

    Args:
        folder: The folder of the run.
        config: The experiment.
        base: The folder that files of the experiment are named from.
        device: Where models are put that say nothing of it.
        mark: A file in the folder of the run that the driver has just made; actors note in it what they begin.
        versions: The versions of the packages of the driver.
        number: The number of the actor.
    """

    def __init__(
        self, folder: Path, config: Config, base: Path, device: str | None, mark: str, versions: Mapping[str, str],
        number: int = 0,
    ) -> None:  # fmt: skip
        self._about = folder, config, base, device
        self._mark, self._versions, self._number = folder / mark, versions, number
        self._first = True
        self._worker: Worker | None = None
        self._known: Any = None

    def ready(self) -> Answer:
        """Return the id of the machine, or say why nothing can be computed there."""
        return self._answer(self._ready, f"worker {self._number} began")

    def plan(self, plan_refs: Sequence[Any], step: str) -> Answer:
        """Return the groups of a step, and what is wrong with it."""
        return self._answer(lambda: self._informed(plan_refs).plan(step), f"step {step} was planned")

    def problems(self, plan_refs: Sequence[Any], step: str) -> Answer:
        """Return what is wrong with the models and data of a step that waits for others."""
        return self._answer(lambda: self._informed(plan_refs).problems(step), f"the data of step {step} were read")

    def do(self, plan_refs: Sequence[Any], units: Sequence[Unit]) -> Answer:
        """Compute units; return what became of them."""
        what = key_of([asdict(unit) for unit in units])[:8]
        return self._answer(lambda: self._informed(plan_refs).do(units), f"shard {what} was computed")

    def _answer(self, function: Callable[[], Any], what: str) -> Answer:
        try:
            self._begin(what)
            return Answer(function())
        except MechcausalError as error:
            return Answer(error=str(error), kind=type(error).__name__)
        except Exception as error:
            said = shortened(" ".join(str(error).split()), 300)
            return Answer(error=f"a worker on {host()} failed: {type(error).__name__}: {said}")

    def _begin(self, what: str) -> None:
        """Note what is begun, or raise if workers have died of it again and again: Ray would try for ever."""
        if self._first and self._mark.exists():
            deaths = self._mark.read_text(encoding="utf-8").splitlines().count(what)
            if deaths >= _DEATHS:
                raise UnsupportedError(
                    f"a worker died {deaths} times while {what}, the last time on {host()}",
                    fix="if there was too little memory, take fewer workers or a smaller block",
                )
        self._first = False
        with suppress(OSError), self._mark.open("r+", encoding="utf-8") as file:
            file.seek(0, os.SEEK_END)
            file.write(f"{what}\n")

    def _ready(self) -> str:
        import ray

        folder = self._about[0]
        if not self._mark.exists():
            raise ResultError(
                f"the machine {host()} does not see the folder of the run", got=str(folder),
                fix="put it on a disk that all machines of the cluster share, under the same path",
            )  # fmt: skip
        here = package_versions()
        for name in {**self._versions, **here}:
            if self._versions.get(name) != here.get(name):
                raise UnsupportedError(
                    f"the machine {host()} has another {name}, so its numbers may differ",
                    got=here.get(name, "none"), expected=self._versions.get(name, "none"),
                    fix="install the same packages on all machines",
                )  # fmt: skip
        # All workers load at the same time, while one of them plans. Why a model cannot be loaded is said by what needs it.
        with suppress(Exception):
            self._informed(()).bench.model(next(iter(self._about[1].models)))
        return ray.get_runtime_context().get_node_id()

    def _informed(self, plan_refs: Sequence[Any]) -> Worker:
        """Return the worker, which knows the plan.

        Args:
            plan_refs: The plan as Ray keeps it, in a list, as Ray would otherwise send it with each shard; or nothing.
        """
        import ray

        if self._worker is None:
            folder, config, base, device = self._about
            self._worker = Worker(folder, config, base, device)
        if plan_refs and plan_refs[0] != self._known:
            self._worker.bench.know(ray.get(plan_refs[0]))
            self._known = plan_refs[0]
        return self._worker


@dataclass
class _Hand:
    """An actor as the driver sees it.

    Attributes:
        actor: The actor.
        answer: What it is to answer next.
        node: The machine it is on; empty until it has said so.
        shard: The shard it is at: its model and its units.
        models: The models that it has used, the last one last.
    """

    actor: Any
    answer: Any
    node: str = ""
    shard: tuple[str, Sequence[Unit]] | None = None
    models: deque[str] = field(default_factory=lambda: deque(maxlen=MODELS))


class Ray:
    """Workers that are actors of Ray.

    Args:
        folder: The folder of the run.
        config: The experiment.
        base: The folder that files of the experiment are named from.
        workers: How many actors there are; as many as processors (or GPUs) allow unless said.
        gpus: How many GPUs each of them has; models that name no device are put there.
        address: The cluster that is joined, such as `auto` or `10.0.0.1:6379`; one is started on this machine unless said.
    """

    def __init__(
        self, folder: Path, config: Config, base: Path, workers: int | None = None, gpus: float | None = None,
        address: str | None = None,
    ) -> None:  # fmt: skip
        if workers is not None and workers < 1:
            raise ArgumentError("there is no run without workers", got=workers, expected="workers of 1 or more")
        if gpus is not None and gpus <= 0:
            raise ArgumentError("gpus is how many GPUs each worker has", got=gpus, expected="a number above 0, or None")
        self._ray = _imported()
        self._known: list[Any] = []
        self._hands: list[_Hand] = []
        self._closing = ExitStack()
        try:
            self._join(workers, gpus, config.threads, address)
            # Actors live on other machines and in other working directories.
            folder = folder.resolve()
            mark = self._closing.enter_context(temporary_beside(folder / "seen-by-workers"))
            seat = self._ray.remote(Seat).options(
                num_cpus=config.threads, num_gpus=gpus or 0, max_restarts=-1, max_task_retries=-1,
                runtime_env={"env_vars": dict.fromkeys(_THREADS, str(config.threads))},
            )  # fmt: skip
            device = "cuda" if gpus else None
            about = folder, config, base.resolve(), device, mark.name, package_versions()
            self._made = lambda number: seat.remote(*about, number)
            self._hands = [self._hand(number) for number in range(self.workers)]
        except BaseException:
            self.stop()
            raise

    def know(self, plan: Plan) -> None:
        """Tell the workers how the plan stands."""
        self._known = [self._ray.put(plan)]

    def plan(self, step: str) -> tuple[list[Group], list[str]]:
        """Return the groups of a step, and what is wrong with it, as a worker finds them."""
        return self._asked("plan", step)

    def problems(self, step: str) -> list[str]:
        """Return what is wrong with the models and data of a step that waits for others."""
        return self._asked("problems", step)

    def work(self, queues: Mapping[str, Iterator[Sequence[Unit]]]) -> Iterator[Done]:
        """Compute units; a worker stays with a model as long as there are shards of it."""
        left = dict(queues)
        back: list[tuple[str, Sequence[Unit]]] = []
        while True:
            for hand in self._hands:
                if hand.answer is None and (shard := self._next(hand, left, back)) is not None:
                    hand.shard = shard
                    hand.models.append(shard[0])
                    hand.answer = hand.actor.do.remote(self._known, shard[1])
            if not any(hand.shard for hand in self._hands) and not left and not back:
                return
            for hand, value in self._answers():
                if hand.shard is not None:
                    hand.shard = None
                    yield value
            back += self._replaced()

    def stop(self) -> None:
        """End the workers, and the cluster if it was started for them."""
        with suppress(Exception):  # what is gone already
            for hand in self._hands:
                self._ray.kill(hand.actor)
        self._hands = []
        self._closing.close()

    def _join(self, workers: int | None, gpus: float | None, threads: int, address: str | None) -> None:
        """Join a cluster or start one, and say how many workers there are to be."""
        ray = self._ray
        if not ray.is_initialized():
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
            if address is None:
                processors = max(os.cpu_count() or 1, (workers or 1) * threads)
                quiet |= {"include_dashboard": False, "num_cpus": processors, "object_store_memory": _OBJECTS}
            else:
                _require_answer(address)
            try:
                ray.init(address=address or "local", **quiet)
            except (ConnectionError, RuntimeError, ValueError, OSError, SystemExit) as error:
                raise _unreachable(address, str(error)) from None
            self._closing.callback(ray.shutdown)
        there = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
        need = {"CPU": threads, **({"GPU": gpus} if gpus else {})}
        if not any(all(machine.get(name, 0) >= count for name, count in need.items()) for machine in there):
            most = {name: max((machine.get(name, 0) for machine in there), default=0) for name in need}
            raise UnsupportedError(
                "no machine of the Ray cluster has room for a worker",
                got=", ".join(f"{count:g} {name}" for name, count in most.items()) + " at most",
                expected=", ".join(f"{count:g} {name}" for name, count in need.items()),
            )  # fmt: skip
        fits = (min(machine.get(name, 0) // count for name, count in need.items()) for machine in there)
        self.workers = workers or max(1, int(sum(fits)))

    def _hand(self, number: int) -> _Hand:
        actor = self._made(number)
        return _Hand(actor, actor.ready.remote())

    def _next(
        self, hand: _Hand, left: dict[str, Iterator[Sequence[Unit]]], back: list[tuple[str, Sequence[Unit]]]
    ) -> tuple[str, Sequence[Unit]] | None:
        """Return the next shard for a worker: of a model that it has, else of that which the fewest are at."""
        if back:
            return back.pop()
        while left:
            busy = [other.shard[0] for other in self._hands if other.shard]
            model = min(left, key=lambda name: (name not in hand.models, busy.count(name)))
            units = next(left[model], None)
            if units is not None:
                return model, units
            del left[model]
        return None

    def _answers(self) -> list[tuple[_Hand, Any]]:
        """Wait a little, and return what workers answered; those that have just begun are ready then."""
        waiting = {hand.answer: hand for hand in self._hands if hand.answer is not None}
        arrived, _ = self._ray.wait(list(waiting), num_returns=1, timeout=_LOOK)
        answers = []
        for answer in arrived:
            hand = waiting[answer]
            hand.answer = None
            value = self._value(answer)
            if hand.node:
                answers.append((hand, value))
            else:
                hand.node = value
        return answers

    def _value(self, answer: Any) -> Any:  # noqa: ANN401 - what a method of an actor returns
        try:
            return self._ray.get(answer).taken()
        except self._ray.exceptions.RayError as error:
            said = shortened(" ".join(str(error).split()), 200)
            raise UnsupportedError(
                "Ray lost a worker and could not start it again", got=said, fix="run the same again, which goes on"
            ) from None

    def _replaced(self) -> list[tuple[str, Sequence[Unit]]]:
        """Replace the workers of machines that are lost; return the shards that they were at."""
        alive = {machine["NodeID"] for machine in self._ray.nodes() if machine["Alive"]}
        back = []
        for number, hand in enumerate(self._hands):
            if hand.node and hand.node not in alive:
                back += [hand.shard] if hand.shard else []
                self._ray.kill(hand.actor)
                self._hands[number] = self._hand(number)
        return back

    def _asked(self, method: str, step: str) -> Any:  # noqa: ANN401 - what the method returns
        """Return what the first worker that is ready answers."""
        hand = None
        while True:
            if hand not in self._hands:
                hand = next((hand for hand in self._hands if hand.node and hand.answer is None), None)
                if hand is not None:
                    hand.answer = getattr(hand.actor, method).remote(self._known, step)
            for answered, value in self._answers():
                if answered is hand:
                    return value
            self._replaced()


def _require_answer(address: str) -> None:
    """Raise if nobody answers at the address of a cluster: Ray itself would try for two minutes, and then end the process."""
    if address.startswith("ray://"):
        raise ArgumentError(
            "a run is driven from a machine of the cluster", got=address, fix='run it there, with address="auto"'
        )
    name, _, port = address.rpartition(":")
    if name and port.isdigit():
        try:
            socket.create_connection((name, int(port)), timeout=_PATIENCE).close()
        except (OSError, OverflowError) as error:
            raise _unreachable(address, reason_of(error)) from None


def _unreachable(address: str | None, why: str) -> UnsupportedError:
    what = f"no Ray cluster could be joined at {address}" if address else "Ray could not be started"
    fix = "see `ray status` on its head machine" if address else "see its logs in /tmp/ray/session_latest/logs"
    return UnsupportedError(what, got=shortened(" ".join(why.split()), 160), fix=fix)


def _imported() -> Any:  # noqa: ANN401 - the module
    """Return Ray, which is an extra."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as it is going to be; else it warns
    try:
        import ray
    except ImportError:
        raise UnsupportedError(
            "the engine ray needs Ray, which is not installed", fix="pip install 'mechcausal[ray]'"
        ) from None
    return ray
