"""Run a plan: each question at its desk, answers kept as they come, p-values and statuses at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mechcausal.audits.attaching import about_dictionaries, contents_of, named_by
from mechcausal.audits.finding import Finding, answer_from, answer_to_json, judged, p_of
from mechcausal.audits.journal import Journal, digest
from mechcausal.audits.outcome import in_its_unit, outcome_of
from mechcausal.audits.plan import Plan
from mechcausal.audits.question import AuditQuestion
from mechcausal.audits.report import Report
from mechcausal.audits.sources import digest_of
from mechcausal.errors import ArgumentError, MechcausalError, did_you_mean
from mechcausal.method import Spec, once
from mechcausal.models import bridge
from mechcausal.models.classifier import head_of
from mechcausal.models.condition import altered
from mechcausal.models.counting import counting
from mechcausal.models.fingerprint import tokenizer_fingerprint, weights_fingerprint
from mechcausal.models.origin import origin_of
from mechcausal.results.multiplicity import holm
from mechcausal.results.provenance import git_state, package_versions
from mechcausal.results.storage import replacing


def run(
    plan: Plan,
    model: Any,  # noqa: ANN401 - a model, its name, or None
    out: Path | None,
    *,
    only: Sequence[str] = (),
    max_minutes: float | None = None,
    quiet: bool = False,
) -> Report:
    """Ask the questions of a plan; see `Plan.run`."""
    started, created = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    unknown = [name for name in only if name not in [question.id for question in plan.questions]]
    if unknown:
        ids = [question.id for question in plan.questions]
        raise ArgumentError(f"the plan has no question {unknown[0]!r}", fix=did_you_mean(unknown[0], ids))
    loaded = plan.load(model)
    plan.require(loaded)
    data = plan.read(loaded)
    journal = Journal(out)
    about = about_model(loaded)
    if out is not None:
        _fix_plan(plan, out)

    def skipped(question: AuditQuestion) -> str:
        """Say why a question is not asked; empty where it is."""
        if max_minutes is not None and time.perf_counter() - started > 60 * max_minutes:
            return f"the {max_minutes:g} minutes were over"
        return "it was not among the questions asked" if only and question.id not in only else ""

    files = about_files(plan, plan.questions)
    with plan.lending(loaded):
        dictionaries = about_dictionaries(loaded)
        subject = _subject(about, dictionaries)
        findings = _answers(plan, loaded, data, journal, subject, files, skipped, quiet)
    outcome = outcome_of(loaded, plan.outcome)
    findings = [
        replace(finding, estimand=in_its_unit(finding.estimand, outcome), scale=in_its_unit(finding.scale, outcome))
        for finding in _judged(findings, plan)
    ]
    facts = {
        "created": created, "seconds": round(time.perf_counter() - started, 3), "model": about,
        "packages": package_versions(), "git": git_state(), "plan_hash": plan.hash, "settings": plan.settings(),
        "data": {name: about_data(value) for name, value in data.items()}, "dictionaries": dictionaries,
        "files": files,
        "earlier_plans": [] if out is None else _earlier(plan, out),
    }  # fmt: skip
    report = Report(plan.title, plan.to_json(), tuple(findings), facts)
    if out is not None:
        report.save(out)
    return report


def _subject(about: Mapping[str, Any], dictionaries: Mapping[str, Any]) -> list[Any]:
    """Return what an answer is about, besides its data: the model as it is, with its dictionaries."""
    names = ("weights", "head", "altered", "tokenizer", "dtype")
    return [*(about.get(name, "") for name in names), *([dictionaries] if dictionaries else [])]


def _answers(
    plan: Plan, loaded: Any, data: Mapping[str, Any], journal: Journal, subject: Sequence[Any],  # noqa: ANN401
    files: Mapping[str, str], skipped: Callable[[AuditQuestion], str], quiet: bool,
) -> list[Finding]:  # fmt: skip
    """Ask one question after the other; an answer is kept under a digest of all that it rests on."""
    memory: dict[Any, Any] = {}
    findings = []
    bar = tqdm(plan.questions, desc="audit", unit="question", disable=True if quiet else None, leave=False)
    for question in bar:
        bar.set_postfix_str(question.id)
        if reason := skipped(question):
            findings.append(_finding(plan, question, data, error=reason))
            continue
        digests = [digest_of(data[name]) for name in question.sources.values()]
        named = [files.get(name) for name in named_by(question)]
        settings = [plan.outcome, plan.seed, plan.alpha, plan.networks, question.meaning]
        key = digest(question.to_json(), digests, named, subject, settings)
        findings.append(_asked(plan, question, loaded, data, journal, key, memory, quiet))
    return findings


def _asked(
    plan: Plan, question: AuditQuestion, model: Any, data: Mapping[str, Any], journal: Journal, key: str,  # noqa: ANN401
    memory: dict[Any, Any], quiet: bool,
) -> Finding:  # fmt: skip
    """Answer one question, or read the answer that was kept; what goes wrong becomes the finding."""
    begun = time.perf_counter()
    kept = journal.answer(key)
    if kept is not None:
        return _finding(plan, question, data, answer=answer_from(kept["answer"]), cost=kept["cost"])
    desk = plan.desk(question, model, data, rows=journal.rows(key), memory=memory, quiet=quiet)
    try:
        with counting(desk.counter.add):
            answer = question.answer(desk)
    except MechcausalError as error:
        return _finding(plan, question, data, status="error", error=str(error))
    except Exception as error:
        return _finding(plan, question, data, status="error", error=f"{type(error).__name__}: {error}"[:400])
    cost = {"forwards": desk.counter.whole, "seconds": round(time.perf_counter() - begun, 3)}
    written = in_its_unit(answer_to_json(answer), desk.outcome)
    journal.keep(key, {"answer": written, "cost": cost})
    # What is read back is what is reported, whether the run was interrupted or not.
    return _finding(plan, question, data, answer=answer_from(written), cost=cost)


def _finding(
    plan: Plan, question: AuditQuestion, data: Mapping[str, Any], *, answer: Any = None, error: str = "",  # noqa: ANN401
    status: Any = None, cost: Mapping[str, float] | None = None,  # noqa: ANN401
) -> Finding:  # fmt: skip
    """Return a finding with the words of its question; its status is filled in at the end."""
    words: dict[str, Any] = {
        name: getattr(question, name, "")
        for name in ("family", "estimand", "contrast", "population", "held_fixed", "identified", "site", "scale")
    }
    about = {key: {"name": name, **about_data(data[name])} for key, name in question.sources.items()}
    more = answer.assumptions if answer is not None else ()
    limits = answer.limits if answer is not None else ()
    return Finding(
        id=question.id, question=question.word, status=status or ("not-run" if answer is None else "measured"), **words,
        threshold=question.threshold, answer=answer, assumptions=(*question.assumptions, *more),
        limits=(*question.limits, *_of_one_side(question), *limits), cost=cost or {}, data=about, error=error, spec=question.in_full(),
    )  # fmt: skip


def _of_one_side(question: AuditQuestion) -> tuple[str, ...]:
    """Return what a threshold on one side of a number with two sides does not say."""
    bounds = question.threshold
    if question.better != "zero" or bounds.declared is False or None not in (bounds.at_most, bounds.at_least):
        return ()
    side = "below" if bounds.at_least is None else "above"
    return (f"the threshold bounds one side: any number {side} it keeps it, however far from none",)


def _judged(findings: Sequence[Finding], plan: Plan) -> list[Finding]:
    """Return the findings with p-values, adjusted for all that have a threshold, and statuses."""
    raw = np.array([
        p_of(finding.answer, finding.threshold) if finding.answer is not None and finding.threshold.declared
        and not finding.answer.cannot_fail else np.nan for finding in findings
    ])  # fmt: skip
    adjusted = holm(raw) if plan.correction == "holm" else raw
    size = int(np.isfinite(raw).sum())
    out = []
    for finding, p, corrected in zip(findings, raw, adjusted, strict=True):
        if finding.answer is None:
            out.append(finding)
            continue
        status = judged(finding.answer, finding.threshold, float(corrected), plan.alpha)
        tested = bool(np.isfinite(p))
        unadjusted = float(p) if tested else p_of(finding.answer, finding.threshold, plan[finding.id].null)
        out.append(
            replace(
                finding, status=status, p=unadjusted, p_adjusted=float(corrected), family_size=size if tested else 0
            )
        )
    return out


def about_model(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a TransformerBridge
    """Return what a report says of the model: name, digests of weights, tokenizer and configuration, precision."""
    parameter = next(bridge.underlying(model).parameters())
    config = getattr(bridge.underlying(model), "config", None)
    settings = config.to_dict() if hasattr(config, "to_dict") else dict(vars(model.cfg))
    public = {
        str(name): str(value)
        for name, value in settings.items()
        if not str(name).startswith("_") and "path" not in str(name)
    }
    return once(
        model,
        "audit facts",
        lambda: {
            "name": str(model.cfg.model_name),
            "architecture": bridge.architecture_of(model),
            "weights": weights_fingerprint(model),
            "tokenizer": tokenizer_fingerprint(model.tokenizer),
            "config": digest(public),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "device": str(parameter.device),
            "attention": str(getattr(config, "_attn_implementation", "")),
            **origin_of(model).to_json(),
            **({"head": head.digest, "labels": list(head.labels)} if (head := head_of(model)) is not None else {}),
            **({"altered": changes} if (changes := altered(model)) else {}),
        },
    )


def about_files(plan: Plan, specs: Sequence[Spec]) -> dict[str, str]:
    """Return the digests of all files and folders that are named besides the data: dictionaries, other models, adapters."""
    return contents_of([*plan.dictionaries, *(name for spec in specs for name in named_by(spec))], plan.folder)


def about_data(value: Any) -> dict[str, Any]:  # noqa: ANN401 - pairs, prompts, texts
    """Return what a report says of data: their digest, how many units and clusters they have, and what was dropped."""
    sides = getattr(value, "clean", value)
    return {
        "digest": digest_of(value),
        "n": len(value) if hasattr(value, "__len__") else 1,
        "n_clusters": getattr(sides, "n_clusters", len(value) if hasattr(value, "__len__") else 1),
        "dropped": [list(pair) for pair in getattr(value, "dropped", ())],
    }


def _fix_plan(plan: Plan, out: Path) -> None:
    """Write down which plan is run, before anything is."""
    file = out / "plans.txt"
    before = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    if plan.hash in before:
        before.remove(plan.hash)
    with replacing(file) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in [*before, plan.hash]), encoding="utf-8")


def _earlier(plan: Plan, out: Path) -> list[str]:
    """Return the digests of other plans that were run into this folder: deviations that a reader should know of."""
    return [line for line in (out / "plans.txt").read_text(encoding="utf-8").splitlines() if line != plan.hash]
