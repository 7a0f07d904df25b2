"""A check compares a number that is known with what was measured; checks are registered by the id of what they are of.

    @checks_of("A3", "rates by group")
    def rates(quick: bool) -> Iterator[Check]:
        yield near("false positive rate", truth=0.4485, measured=..., within=5e-5)

A group of checks is a generator, so that each is shown as soon as it is done.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from mechcausal.audits.finding import Answer
from mechcausal.audits.plan import Plan
from mechcausal.audits.question import AuditQuestion
from mechcausal.errors import ArgumentError, ResultError, did_you_mean

logger = logging.getLogger("mechcausal")
Cost = Literal["quick", "slow"]


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        what: What was checked.
        truth: What is known, in a phrase.
        measured: What was measured.
        bound: What must hold of it.
        passed: Whether it does.
        id: The acceptance check that it belongs to.
        seconds: How long it took, together with what was prepared for it.
    """

    what: str
    truth: str
    measured: float
    bound: str
    passed: bool
    id: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        """Print as one line."""
        return _line(self.what, self.truth, _short(self.measured), self.bound, "ok" if self.passed else "FAIL")


@dataclass(frozen=True)
class Group:
    """The checks of one id.

    Attributes:
        id: `A1` and so on.
        what: What they are about.
        cost: Whether `quick` runs them.
        run: Yields them.
    """

    id: str
    what: str
    cost: Cost
    run: Callable[[bool], Iterator[Check]]


GROUPS: list[Group] = []
NOT_SHIPPED: dict[str, str] = {}
"""Acceptance checks without anything to check, each with the reason."""


def checks_of(
    name: str, what: str, cost: Cost = "quick"
) -> Callable[[Callable[[bool], Iterator[Check]]], Callable[[bool], Iterator[Check]]]:
    """Register a function that yields checks; it is told whether the self-test is quick.

    Args:
        name: The id of the acceptance check.
        what: What it is about.
        cost: `"slow"` where a quick self-test leaves it out.
    """

    def register(run: Callable[[bool], Iterator[Check]]) -> Callable[[bool], Iterator[Check]]:
        GROUPS.append(Group(name, what, cost, run))
        return run

    return register


def columns_of() -> str:
    """Return the names of the columns of a printed check."""
    return _line("check", "truth", "measured", "bound", "pass")


def ids() -> list[str]:
    """Return the ids that have checks, in the order of their numbers."""
    return sorted({group.id for group in GROUPS}, key=_number)


def run_checks(only: Sequence[str] = (), *, quick: bool = False) -> Iterator[Check]:
    """Return the checks of some ids, or of all; each is run when it is asked for.

    Args:
        only: Ids such as `A5`; without any all are run.
        quick: Whether slow ones are left out; what is named in `only` is run all the same.
    """
    choices, only = ids(), [name.upper() for name in only]
    for name in only:
        if name in NOT_SHIPPED:
            raise ArgumentError(f"there is no check {name}: {NOT_SHIPPED[name]}")
        if name not in choices:
            raise ArgumentError(f"there is no check {name!r}", fix=did_you_mean(name, choices))
    return _run(
        [group for group in sorted(GROUPS, key=lambda group: _number(group.id)) if _wanted(group, only, quick)], quick
    )


def _wanted(group: Group, only: Sequence[str], quick: bool) -> bool:
    return group.id in only if only else not (quick and group.cost == "slow")


def _run(groups: Sequence[Group], quick: bool) -> Iterator[Check]:
    for group in groups:
        checks = group.run(quick)
        while True:
            started = time.perf_counter()
            try:
                with _silent():
                    check = next(checks, None)
            except Exception as error:  # the other groups are still of interest
                check = Check(f"{type(error).__name__}: {error}"[:200], "", math.nan, "no error", False)
            if check is None:
                break
            yield replace(check, id=group.id, seconds=round(time.perf_counter() - started, 2))


@contextmanager
def _silent() -> Generator[None]:
    """Keep warnings back: some checks do on purpose what is warned of."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def answered(question: AuditQuestion, model: Any) -> Answer:  # noqa: ANN401 - a TransformerBridge
    """Return the answer to a question, without networks that it is compared with."""
    finding = Plan([question], networks=0).run(model, quiet=True).findings[0]
    if finding.answer is None:
        raise ResultError(f"{finding.question} has no answer: {finding.error}")
    return finding.answer


def near(what: str, truth: float, measured: float, within: float) -> Check:
    """Return the check that a number is what it is known to be."""
    return _check(what, _short(truth), measured, f"within {within:g}", truth - within, truth + within)


def above(what: str, measured: float, bound: float, truth: str = "") -> Check:
    """Return the check that a number is above a bound."""
    return _check(what, truth, measured, f"> {bound:g}", math.nextafter(bound, math.inf), math.inf)


def below(what: str, measured: float, bound: float, truth: str = "") -> Check:
    """Return the check that a number is below a bound."""
    return _check(what, truth, measured, f"< {bound:g}", -math.inf, math.nextafter(bound, -math.inf))


def between(what: str, measured: float, low: float, high: float, truth: str = "") -> Check:
    """Return the check that a number lies between two bounds, or on one of them."""
    return _check(what, truth, measured, f"{low:g} to {high:g}", low, high)


def holds(what: str, count: int, of: int) -> Check:
    """Return the check that something holds in all cases."""
    return _check(what, str(of), count, f"all {of}", of, of)


def yes(what: str, is_so: bool) -> Check:
    """Return the check that something is so; 1 says that it is."""
    return _check(what, "1", float(is_so), "is so", 1, 1)


def no(what: str, is_so: bool) -> Check:
    """Return the check that something is not so; 0 says that it is not."""
    return _check(what, "0", float(is_so), "is not so", 0, 0)


def _check(what: str, truth: str, measured: float, bound: str, low: float, high: float) -> Check:
    number = float(measured)
    return Check(what, truth, number, bound, bool(low <= number <= high))


def _line(what: str, truth: str, measured: str, bound: str, passed: str) -> str:
    return f"{passed:<5} {what:<66} {truth:<28} {measured:<12} {bound}"


def _number(name: str) -> int:
    return int(name.lstrip("A"))


def _short(value: float) -> str:
    if math.isnan(value):
        return "nan"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.6g}"
