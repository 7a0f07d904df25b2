"""An experiment as it stands in a file: models, data, and the steps that are run on them. Everything wrong is found at once.

name = "hiring_patching"
model = "organism:hiring"              # or a table [models] with a name for each
[data.gender]
contrast = "hiring/gender"             # the sources of data are those of audits
n = 64
[[step]]
id = "heads"
run = "patch"                          # the word of a method; what follows are the fields of its specification
data = "gender"
sites = "z"
each = {metric = ["logit_diff", "prob"]}
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mechcausal.audits.sources import source
from mechcausal.errors import ArgumentError, DescriptionError, MechcausalError, did_you_mean, shortened
from mechcausal.method import toml
from mechcausal.runs.fields import AUDIT, field_problems, require_inside

_NAME = re.compile(r"[\w][\w.:+-]{0,79}")
TABLES = ("models", "data", "step")


class ExperimentError(DescriptionError):
    """An experiment that cannot be run."""


def _listed(value: Any) -> Any:  # noqa: ANN401 - of TOML
    return (value,) if isinstance(value, str) else value


class Table(BaseModel):
    """A table of the file: its keys are known, and it does not change once it was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Seed = Annotated[int, Field(ge=0, lt=2**63)]


class ModelTable(Table):
    """What `mc.load` is given.

    Attributes:
        load: The name, folder or file of the model.
        dtype: The precision of its weights.
        device: Where it is put; the processor, or a worker's own GPU, unless said.
        device_map: Where accelerate puts it.
        adapter: A LoRA adapter.
        revision: The revision of a hub name.
        expect: The digest that its weights must have.
        dictionaries: Folders of dictionaries that are attached to it, or `organism:NAME`.
    """

    load: str
    dtype: str = "float32"
    device: str | None = None
    device_map: str | dict[str, Any] | None = None
    adapter: str | None = None
    revision: str | None = None
    expect: str | None = None
    dictionaries: Annotated[tuple[str, ...], BeforeValidator(lambda value: tuple(_listed(value)))] = ()


class Step(Table):
    """One method on some data, of all models unless said, for every combination of what `each` lists.

    Attributes:
        id: What its rows are called.
        run: The word of a method, or `audit`.
        data: The names of its data.
        models: The names of the models it is run on; all unless said.
        seeds: The seeds it is run with; those of the experiment unless said.
        each: Fields with several values each: every combination is run.
        dictionaries: Earlier steps that trained dictionaries, which are attached to the model under the ids of the steps.
        fields: The fields of the method's specification.
    """

    id: str
    run: str
    data: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    seeds: tuple[Seed, ...] | None = None
    each: dict[str, Any] = Field(default_factory=dict)
    dictionaries: tuple[str, ...] = ()
    fields: dict[str, Any] = Field(default_factory=dict)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield what each run is given of the fields in `each`."""
        for values in product(*self.each.values()):
            yield dict(zip(self.each, values, strict=True))

    @property
    def earlier(self) -> tuple[str, ...]:
        """The steps whose results this one takes."""
        values = [*self.fields.values(), *(value for each in self.each.values() for value in each)]
        values += [item for value in values if isinstance(value, list) for item in value]
        return tuple(
            dict.fromkeys([str(value["from"]) for value in values if is_reference(value)] + [*self.dictionaries])
        )


class Config(Table):
    """An experiment.

    Attributes:
        name: What it is called.
        question: What it is to answer.
        models: The models by name.
        data: The sources of data by name, as tables.
        steps: What is run, in this order.
        seeds: A step is run once for each, where its method or the draw of its data takes a seed.
        block: How many prompts are computed at once.
        cells: How many cells are computed at once.
        threads: How many threads a worker computes with; numbers are the same to the last bit only for the same number.
    """

    name: str
    question: str = ""
    models: dict[str, ModelTable]
    data: dict[str, dict[str, Any]]
    steps: tuple[Step, ...]
    seeds: tuple[Seed, ...] = (0,)
    block: Annotated[int, Field(ge=1)] = 16
    cells: Annotated[int, Field(ge=1)] = 64
    threads: Annotated[int, Field(ge=1)] = 1

    def step(self, name: str) -> Step:
        """Return the step of that id."""
        for step in self.steps:
            if step.id == name:
                return step
        raise ArgumentError(f"there is no step {name!r}", fix=did_you_mean(name, [step.id for step in self.steps]))

    def to_toml(self) -> str:
        """Return the experiment as the text of a file."""
        plain = self.model_dump(mode="json", exclude_defaults=True)
        lines = [f"{key} = {toml(value)}" for key, value in plain.items() if key not in ("models", "data", "steps")]
        for word in ("models", "data"):
            for name, table in plain.get(word, {}).items():
                lines += ["", f"[{word}.{toml(name)}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
        for step in plain["steps"]:
            entries = {key: value for key, value in step.items() if key != "fields"} | step.get("fields", {})
            lines += ["", "[[step]]", *(f"{key} = {toml(value)}" for key, value in entries.items())]
        return "\n".join(lines) + "\n"


def is_reference(value: Any) -> bool:  # noqa: ANN401 - of TOML
    """Say whether a value stands for the result of an earlier step."""
    return isinstance(value, Mapping) and "from" in value


def read(path: str | Path, sets: Mapping[str, Any] | None = None) -> Config:
    """Read an experiment, with values set by their path (`{"data.gender.n": 16}`), or say everything that is wrong."""
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        problems = [f"{file} is a folder: name the file in it" if file.is_dir() else f"there is no file {file}"]
        raise ExperimentError(problems, "run") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExperimentError([f"it is not TOML: {error}"], file.name) from None
    return config_of(content, file.parent, sets, file.name)


def config_of(
    content: Mapping[str, Any], folder: Path, sets: Mapping[str, Any] | None = None, where: str = "the experiment"
) -> Config:
    """Return the experiment that the content of a file describes, or say everything that is wrong."""
    problems: list[str] = []
    given = _copied(content)
    for key, value in (sets or {}).items():
        _set(given, key, value, problems)
    models = given.pop("models", None)
    if "model" in given:
        name = given.pop("model")
        if models is not None:
            problems.append("it has both model and [models]: give one")
        models = {name: name} if isinstance(name, str) else {"model": name}
    parsed: dict[str, Any] = {
        "models": _models(models, problems),
        "data": _sources(given.pop("data", {}), folder, problems),
        "steps": _steps(given.pop("step", None), problems),
    }
    if "seeds" in given and isinstance(given["seeds"], list):
        given["seeds"] = tuple(given["seeds"])
    valid_keys = [*(name for name in Config.model_fields if name not in parsed), "model", *TABLES]
    config = _parsed(Config, given | parsed, "", problems, valid_keys)
    problems += _problems(parsed["models"], parsed["data"], parsed["steps"], folder)
    if problems:
        raise ExperimentError(list(dict.fromkeys(problems)), where)
    assert isinstance(config, Config)
    return config


def _copied(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(key): _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _set(content: dict[str, Any], path: str, value: Any, problems: list[str]) -> None:  # noqa: ANN401
    """Put a value where a path such as `data.gender.n` or `step.heads.metric` says."""
    *parents, last = path.split(".")
    place: Any = content
    if not parents and last == "model":
        content.pop("models", None)
    for number, name in enumerate(parents):
        if isinstance(place, list):
            named = {str(item.get("id")): item for item in place if isinstance(item, dict)}
            if name not in named:
                problems.append(f"--set {path}: there is no step {name!r}: {did_you_mean(name, named)}")
                return
            place = named[name]
        elif isinstance(place, dict) and name in place:
            place = place[name]
        elif (isinstance(place, dict) and number == 0 and name in TABLES[:2]) or (
            isinstance(place, dict) and parents[0] == "models" and isinstance(place.get(name, {}), dict)
        ):
            place = place.setdefault(name, {})
        else:
            there = list(place) if isinstance(place, dict) else []
            problems.append(f"--set {path}: there is no {name!r}" + (f": {did_you_mean(name, there)}" if there else ""))
            return
    if not isinstance(place, dict):
        problems.append(f"--set {path}: {'.'.join(parents)} holds no {last!r}")
        return
    place[last] = value


def _models(content: Any, problems: list[str]) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(content, dict) or not content:
        problems.append('it names no model: write model = "organism:hiring", or a table [models]')
        return {}
    tables = {}
    for name, value in content.items():
        table = {"load": value} if isinstance(value, str) else value
        if not isinstance(table, dict):
            problems.append(f"models.{name}: a model is a name or a table (got {shortened(repr(value), 40)})")
            continue
        tables[name] = _parsed(ModelTable, table, f"models.{name}", problems)
    return {name: table for name, table in tables.items() if table is not None}


def _sources(content: Any, folder: Path, problems: list[str]) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(content, dict):
        problems.append("data is a table of tables: [data.NAME]")
        return {}
    for name, table in content.items():
        try:
            made = source(table)
            if made.of_file and not made.name.startswith("organism:"):
                require_inside(made.name)
            if missing := made.missing(folder):
                problems.append(f"data.{name}: {missing}")
        except MechcausalError as error:
            problems.append(f"data.{name}: {error}")
    return content


def _steps(content: Any, problems: list[str]) -> tuple[Step, ...]:  # noqa: ANN401
    if not isinstance(content, list) or not content:
        problems.append("it has no [[step]]")
        return ()
    steps = []
    for number, table in enumerate(content, 1):
        where = f"step {table.get('id', number) if isinstance(table, dict) else number}"
        if not isinstance(table, dict):
            problems.append(f"{where}: a step is a table")
            continue
        entries = {key: value for key, value in table.items() if key in Step.model_fields and key != "fields"}
        if isinstance(entries.get("seeds"), int):  # how often a method draws is its own field: `seeds = 3` of scrub
            del entries["seeds"]
        for key in ("data", "models", "dictionaries"):
            if isinstance(entries.get(key), (str, list)):
                entries[key] = tuple(_listed(entries[key]))
        if isinstance(entries.get("seeds"), list):
            entries["seeds"] = tuple(entries["seeds"])
        entries["fields"] = {key: value for key, value in table.items() if key not in entries}
        step = _parsed(Step, entries, where, problems)
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _parsed(
    kind: type[Table],
    content: Any,  # noqa: ANN401
    where: str,
    problems: list[str],
    valid_keys: Sequence[str] = (),
) -> Any:  # noqa: ANN401
    """Return a table, or None after adding what is wrong with it."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"])
            place = f"{where}: " if where else ""
            if item["type"] == "extra_forbidden":
                names = valid_keys or [name for name in kind.model_fields if name != "fields"]
                problems.append(f"{place}there is no key {key!r}: {did_you_mean(key, names)}")
            elif item["type"] == "missing":
                problems.append(f"{place}it has no {key}")
            else:
                got = shortened(repr(item["input"]), 60)
                problems.append(f"{place}{key}: {item['msg'][:1].lower()}{item['msg'][1:]} (got {got})")
    return None


def _problems(
    models: Mapping[str, ModelTable], data: Mapping[str, Any], steps: Sequence[Step], folder: Path
) -> Iterator[str]:
    """Yield what is wrong between the parts: names that lead nowhere, fields that a method does not take."""
    for name in (*models, *data):
        if not _NAME.fullmatch(name) and name not in {table.load for table in models.values()}:
            yield f"{name!r} cannot be a name: use letters, digits, and . : + - _"
    before: list[str] = []
    for step in steps:
        where = f"step {step.id}"
        if not _NAME.fullmatch(step.id) or ".." in step.id:
            yield f"{where}: {step.id!r} cannot be an id: use letters, digits, and . : + - _"
        if step.id in before:
            yield f"{where}: two steps are called {step.id!r}: give each an id of its own"
        for what, names, there in (("model", step.models or (), models), ("data", step.data, data)):
            for name in names:
                if name not in there:
                    hint = did_you_mean(name, there) if there else f"add a table [{what}.{name}]"
                    yield f"{where}: there is no {what} {name!r}: {hint}"
        for what in ("models", "seeds"):
            if getattr(step, what) == ():
                yield f"{where}: its list of {what} is empty"
        if step.run != AUDIT and not step.data:
            yield f"{where}: it names no data: {did_you_mean('', data) if data else 'add a table [data.NAME]'}"
        for key, values in step.each.items():
            if not isinstance(values, list) or not values:
                yield f"{where}: each.{key} needs a list with at least one value (got {shortened(repr(values), 40)})"
            elif key in step.fields:
                yield f"{where}: {key} stands both in the step and in each"
        for name in step.earlier if all(isinstance(values, list) for values in step.each.values()) else ():
            if name not in before:
                yield f"{where}: there is no earlier step {name!r}" + (
                    f": {did_you_mean(name, before)}" if before else ""
                )
        yield from (
            f"{where}: {problem}" for problem in field_problems(step.run, step.fields, step.each, data, models, folder)
        )
        before.append(step.id)
