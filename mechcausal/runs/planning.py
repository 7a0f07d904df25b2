"""From a step to its groups: which rows there are to be, for which model, data, seed and setting. Nothing of it is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import product
from typing import Any

from mechcausal.address import expand
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import as_text
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, MechcausalError
from mechcausal.method import Method
from mechcausal.results.provenance import git_state, package_versions
from mechcausal.runs.bench import Bench
from mechcausal.runs.config import Step, is_reference
from mechcausal.runs.fields import AUDIT, Made, chooses, made, takes, takes_seed
from mechcausal.runs.plan import Group, Kind, key_of, whole_cell
from mechcausal.runs.sweeps import SWEEPS, cells_of


def planned(bench: Bench, step: Step) -> tuple[list[Group], list[str]]:
    """Return the groups of a step, and everything that is wrong with it."""
    groups: list[Group] = []
    problems: list[str] = []
    for model in step.models or bench.config.models:
        try:
            bench.model(model)
        except MechcausalError as error:
            problems.append(f"models.{model}: {error}")
            continue
        for name in step.data or ("",):
            for seed in _seeds(bench, step, name):
                for labels, values in _settings(bench, step, model, seed):
                    try:
                        groups += _groups(bench, step, model, name, seed, labels, values)
                    except MechcausalError as error:
                        problems.append(f"step {step.id} ({_said(model, name, labels)}): {error}")
    return groups, list(dict.fromkeys(problems))


def _said(model: str, data: str, labels: Mapping[str, Any]) -> str:
    return ", ".join([model, *([data] if data else []), *(f"{key} {value}" for key, value in labels.items())])


def _seeds(bench: Bench, step: Step, data: str) -> tuple[int, ...]:
    """Return the seeds a step is run with: all where its method or its data draw, else one."""
    method_draws = takes_seed(step.run) and "seed" not in step.fields and "seed" not in step.each
    inherits = bool(step.earlier)
    seeds = bench.config.seeds if step.seeds is None else step.seeds
    return seeds if method_draws or inherits or (data and bench.draws(data)) else seeds[:1]


def _settings(bench: Bench, step: Step, model: str, seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the labels and fields of each combination: of the step's own lists, and of those of the steps it takes."""
    names = step.earlier
    run = bench.run() if names else None
    labels_of = {name: run.labels(name, model=model, seed=seed) or [{}] for name in names} if run else {}
    for combination in step.combinations():
        for settings in product(*labels_of.values()):
            labels, values = dict(combination), {**step.fields, **combination}
            for name, earlier in zip(labels_of, settings, strict=True):
                for key, value in earlier.items():
                    if key in values:  # the step says otherwise, and so this is a label of the earlier step alone
                        labels[f"{name}_{key}"] = value
                    else:
                        labels[key] = value
            yield labels, values | {key: labels[key] for key in labels if key not in values and takes(step.run, key)}


def _groups(
    bench: Bench, step: Step, model: str, name: str, seed: int, labels: dict[str, Any], values: dict[str, Any]
) -> list[Group]:
    """Return the group of one combination; none where what it takes of an earlier step came to nothing."""
    about: dict[str, Any] = {"packages": package_versions(), "git": git_state()}
    common = {
        "step": step.id,
        "model": model,
        "data": name,
        "seed": seed,
        "each": labels,
        "word": step.run,
        "values": values,
    }
    if step.run == AUDIT:
        return [_audit(bench, model, common, about)]
    data = bench.data(model, name, seed)
    asked = specified(bench, step, model, seed, labels, values)
    if asked is None:
        return []
    spec, written = asked.spec, dict(asked.written)
    loaded, facts = bench.model(model), bench.facts(model)
    about |= provenance(loaded, data) | {"facts": facts}
    clean = data.clean if isinstance(data, Contrast) else data
    by_prompt: dict[str, Any] = (
        {"groups": tuple(clean.groups), "clusters": tuple(clean.clusters)} if isinstance(clean, PromptSet) else {}
    )
    parts = [facts, bench.config.threads, spec.meaning]
    if step.run in SWEEPS:
        cells = cells_of(spec, loaded, data)
        for field in cells.fields:
            written.pop(field, None)
        parts += [] if cells.alone else [data.hash]
        about["needs_others"] = not cells.alone
        return [
            Group(
                key=key_of(written, *parts), kind="sweep", spec=written, cells=cells.rows, joint=cells.joint,
                prompts=bench.digests(model, name, seed), about=about, block=bench.config.block if cells.alone else len(data),
                chunk=len(cells.rows) if cells.at_once else bench.config.cells, **by_prompt, **common,
            )
        ]  # fmt: skip
    _check_sites(spec, loaded)
    # Each text draws by its number in the set, so that only what is not drawn is the same in any block.
    texts = step.run == "generate" and isinstance(data, PromptSet) and _is_greedy(spec)
    kind: Kind = "texts" if texts else "whole"
    prompts = bench.digests(model, name, seed) if texts else (data_digest(data),)
    key = key_of(written, *parts, *([] if texts else [data_digest(data)]))
    return [
        Group(
            key=key, kind=kind, spec=written, cells=(whole_cell(step.run),), joint=(), prompts=prompts, chunk=1,
            block=bench.config.block if texts else 1, about=about, **(by_prompt if texts else {}), **common,
        )
    ]  # fmt: skip


def specified(
    bench: Bench, step: Step, model: str, seed: int, labels: Mapping[str, Any], values: Mapping[str, Any]
) -> Made | None:
    """Return the specification of a combination; None where sites that are chosen of an earlier step are none."""
    empty = False
    but = {name: bench.attach(model, name, seed) for name in step.dictionaries}
    bench.detached(model, but)

    def earlier(reference: Mapping[str, Any]) -> tuple[Any, Any]:
        nonlocal empty
        run = bench.run()
        which = {"data": reference["data"]} if "data" in reference else {}
        group = run.one(reference["from"], model=model, seed=seed, among=labels, **which)
        if chooses(reference):
            sites = run.chosen(group, reference)
            empty = empty or not sites
            return sites, sites
        if group.word == "train_dictionary":
            from mechcausal.models.binding import attached

            digest = bench.attach(model, reference["from"], seed)
            return attached(bench.model(model))[reference["from"]], {"digest": digest}
        return run.result_of(group), {"digest": group.key}

    def other(name: str) -> tuple[Any, Any]:
        return bench.model(name), bench.facts(name)

    # A step that chooses sites may find none, which is no value that a method takes.
    for value in values.values():
        if is_reference(value) and chooses(value):
            earlier(value)
    if empty:
        return None
    given = dict(values)
    if takes_seed(step.run) and "seed" not in given:
        given["seed"] = seed
    return made(
        step.run, given, bench.base, data=lambda name: bench.data(model, name, seed), model=other, earlier=earlier
    )


def provenance(model: Any, data: Any) -> dict[str, Any]:  # noqa: ANN401 - a model, data
    """Return what provenance says of the model and of the data."""
    import time

    from mechcausal.models.facts import facts

    if not isinstance(data, Contrast | PromptSet):
        return {}
    return facts(model, data, started=time.perf_counter(), forwards=0, batch_size=0)


def _audit(bench: Bench, model: str, common: dict[str, Any], about: dict[str, Any]) -> Group:
    """Return the group of an audit: one row, the report."""
    from mechcausal.audits.reading import read
    from mechcausal.audits.sources import digest_of

    plan = read(bench.base / str(common["values"]["plan"]))
    loaded = bench.model(model)
    plan.require(loaded)
    digests = {name: digest_of(value) for name, value in plan.read(loaded).items()}
    written = {"run": AUDIT, "plan": plan.to_json(), "only": list(common["values"].get("only", ()))}
    facts = bench.facts(model)
    key = key_of(written, facts, digests, [question.meaning for question in plan.questions])
    prompts = (key_of(digests),)
    return Group(
        key=key, kind="audit", spec={"run": AUDIT, "plan": str(common["values"]["plan"])}, cells=(whole_cell(AUDIT),),
        joint=(), prompts=prompts, block=1, chunk=1, about=about | {"facts": facts}, **common,
    )  # fmt: skip


def _check_sites(spec: Method[Any, Any], model: Any) -> None:  # noqa: ANN401 - a model
    """Raise if a specification names sites that the model does not have."""
    from mechcausal.models.abilities import abilities

    for part in fields(spec):
        value = getattr(spec, part.name)
        if str(part.type) in ("SiteSpec", "CellSpec", "SiteSpec | None", "str | Site") and value is not None:
            abilities(model).require(expand(as_text(value), abilities(model).shape))


def _is_greedy(spec: Any) -> bool:  # noqa: ANN401 - of generation
    return bool(spec.temperature == 0 and spec.samples == 1)


def data_digest(data: Any) -> str:  # noqa: ANN401 - whatever a method takes
    """Return the digest of all data of a method that is run whole."""
    value = getattr(data, "hash", None)
    if not isinstance(value, str):
        raise DataError(f"a {type(data).__name__} is no data of a run", expected="pairs or prompts")
    return value
