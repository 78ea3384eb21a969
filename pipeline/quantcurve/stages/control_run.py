"""Accuracy control: layers of a variant are restored until a validation function loses no more than the recipe allows.

The search is accuracy_search.py's, or NNCF's own with its defects guarded (engines/openvino_accuracy_nncf.py). What
comes out is validated once more: the file that was written, on the configuration that is deployed, on items that the
search has not seen, paired with the float reference item by item.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve import accuracy_search
from quantcurve.accuracy_records import ControlResult, ControlSeconds, Verdict
from quantcurve.engines.accuracy_outcome import Settings
from quantcurve.engines.base import Doubles, OpenVinoConfig, Tokens
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError
from quantcurve.estimates import Figure, Missing
from quantcurve.journal import Journal
from quantcurve.metrics.paired import paired_drop
from quantcurve.session import Event, Session
from quantcurve.stages import export
from quantcurve.stages.accuracy_control import STAGE, Controlled, JournalInputs, config_of
from quantcurve.stages.control_trials import Built, Quick, Spent
from quantcurve.stages.restorable import Account, Quantizers, Weights
from quantcurve.weight_formats import STATIC


class Found(NamedTuple):
    """What a search came to."""

    outcome: accuracy_search.Outcome
    account: Account
    values: Doubles
    """Of the saved model on held-out items."""
    plain: Doubles
    """The same without anything restored."""
    spent: tuple[Spent, ...]
    seconds: float


def restore(
    task: Controlled, model: Quantizers | Weights, model_hash: str, draft: Path, session: Session
) -> ControlResult:
    """Search what to restore, and write the model.

    Args:
        task: what is controlled.
        model: in which layers can be restored.
        model_hash: of what it is made from.
        draft: folder for the IR.
        session: the run's surroundings.

    Raises:
        BackendError: even with everything restored, more than the budget is lost; or an engine failed.
        RecipeError: the validation function failed.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        quick, built = trials(task, model, model_hash, stack, session)
        built.values(frozenset(), range(len(task.reference.values)))  # once, for the search and for the last word
        outcome = _searched(task, model, quick, built, started, session)
        restored = frozenset(outcome.restored)
        values = built.values(restored, task.held_out)
        plain = built.values(frozenset(), task.held_out)
        built.move(restored, draft)
    found = Found(
        outcome=outcome,
        account=model.account(outcome.restored, outcome.scores),
        values=np.array(values),
        plain=np.array(plain),
        spent=(quick.spent, built.spent),
        seconds=time.perf_counter() - started,
    )
    return result(task, found)


def restore_by_nncf(
    task: Controlled, model: Quantizers, model_hash: str, windows: Tokens, draft: Path, session: Session
) -> ControlResult:
    """The same by NNCF's own ranking and loop.

    Args:
        task: what is controlled.
        model: whose groups NNCF restores.
        model_hash: of the quantised graph.
        windows: calibration tokens (n, T).
        draft: folder for the IR.
        session: the run's surroundings.

    Raises:
        BackendError: even with everything restored, more than the budget is lost; or NNCF or OpenVINO failed.
        RecipeError: the validation function failed.
    """
    from quantcurve.engines import control_child

    started = time.perf_counter()
    settings, deployed = nncf_settings(task, model_hash, session), _deployed(task, session)
    with ExitStack() as stack:
        _, built = trials(task, model, model_hash, stack, session)
        plain = built.values(frozenset(), range(len(task.reference.values)))[task.searched :]
        _require_reachable(task, model, built)  # NNCF would try all groups, one after the other, before it says so
    with ExitStack() as stack:
        session.progress(Event(STAGE, 0, 1, f"{task.entry.label}: NNCF"))
        child = stack.enter_context(Child(f"{task.entry.label} nncf", session.log(task.entry.label)))
        child.call(control_child.judge_by, task.reference.judge)
        said = child.call(control_child.nncf_control, model.source, draft, task.entry, windows, settings)
        child.call(control_child.open_folder, draft, deployed)
        judged = child.call(control_child.judge_open, task.held_out)
    spent = Spent(
        said.validation_s + judged.seconds,
        said.compilation_s,
        said.validations + said.ranking_validations,
        said.judged_items + len(judged.values),
    )
    kept = next(i for i, step in enumerate(said.trace) if step.removed_quantizers == said.removed_quantizers)
    restored = model.numbers(said.trace[: kept + 1])
    drop, plain_drop = (said.reference_mean - mean for mean in (said.final_mean, said.plain_mean))
    outcome = accuracy_search.Outcome(
        restored, said.reached, drop, plain_drop, {}, None if said.reached else said.limit
    )
    account = model.account(restored, {})
    seconds = time.perf_counter() - started
    held = np.array(judged.values)
    return result(task, Found(outcome, account, held, np.array(plain), (spent, built.spent), seconds))


def nncf_settings(task: Controlled, model_hash: str, session: Session) -> Settings:
    """What NNCF's loop is told."""
    control, deployed = task.control, _deployed(task, session)
    return Settings(
        item_numbers=tuple(range(task.searched)),
        reference=tuple(task.reference.values[: task.searched]),
        max_drop=task.max_drop,
        ranking_items=control.ranking_items,
        max_iterations=control.max_reverted,
        max_seconds=60 * control.max_minutes if control.max_minutes else None,
        config=deployed,
        journal=_journal_path(task, f"nncf {model_hash}", deployed, session),
    )


def result(task: Controlled, found: Found) -> ControlResult:
    """The record of an accuracy control."""
    unit, held = task.prepared.validation.function, task.reference.values[task.searched :]
    drop = paired_drop(held, found.values, unit)
    control, items, outcome = task.control, task.prepared.items, found.outcome
    return ControlResult(
        validation=task.prepared.validation.name,
        function=task.prepared.validation.function,
        ranking=control.ranking,
        max_drop=task.max_drop,
        relative_max_drop=control.max_drop if control.drop == "relative" else None,
        items=task.searched,
        held_out_items=len(task.held_out),
        leaked_items=items.leaked,
        reached=outcome.reached,
        verdict=verdict(drop, task.max_drop),
        reference_mean=float(held.mean()),
        drop=drop,
        plain_drop=paired_drop(held, found.plain, unit),
        search_drop=outcome.drop,
        search_plain_drop=outcome.plain_drop,
        restored=found.account.groups,
        groups=found.account.steps,
        layers=found.account.layers,
        operations=found.account.operations,
        restored_share=found.account.share,
        share_of="multiplications by weights" if task.entry.weights in STATIC else "compressed weights",
        validations=sum(s.sets for s in found.spent),
        item_evaluations=sum(s.items for s in found.spent),
        seconds=ControlSeconds(
            total=found.seconds,
            validation=sum(s.validation_s for s in found.spent),
            compilation=sum(s.compilation_s for s in found.spent),
        ),
        stopped=outcome.stopped,
    )


def verdict(drop: Figure, budget: float) -> Verdict:
    """Whether a drop is within a budget, by its whole interval."""
    if isinstance(drop, Missing):
        return "undecided"
    if drop.high <= budget:
        return "pass"
    return "fail" if drop.low > budget else "undecided"


def _deployed(task: Controlled, session: Session) -> OpenVinoConfig:
    return config_of(task.control.runtime or task.entry.as_run, task.prepared, session)


def trials(
    task: Controlled, model: Quantizers | Weights, model_hash: str, stack: ExitStack, session: Session
) -> tuple[Quick, Built]:
    """The two ways of running the model; their processes end with the stack."""
    label, judge, deployed = task.entry.label, task.reference.judge, _deployed(task, session)
    log = session.log(label)
    scratch = stack.enter_context(session.store.scratch(f"control-{label}"))

    def child(kind: str) -> Callable[[], Child]:
        return lambda: stack.enter_context(Child(f"{label} {kind}", log))

    def journal(config: OpenVinoConfig) -> Journal:
        return Journal(_journal_path(task, model_hash, config, session))

    quick = Quick(model, judge, model.config, child("quick"), journal(model.config), "quick")
    return quick, Built(model, judge, deployed, child("built"), journal(deployed), "built", scratch=scratch)


def _journal_path(task: Controlled, model_hash: str, config: OpenVinoConfig, session: Session) -> Path:
    assert session.openvino
    function_hash, items_hash = task.prepared.identity
    inputs = JournalInputs(
        model_hash=model_hash,
        function_hash=function_hash,
        items_hash=items_hash,
        config=config,
        engine=session.openvino,
        packages=export.packages(),
    )
    return session.store.journal(inputs)


def _searched(
    task: Controlled, model: Quantizers | Weights, quick: Quick, built: Built, started: float, session: Session
) -> accuracy_search.Outcome:
    minutes, label = task.control.max_minutes, task.entry.label
    search = accuracy_search.Task(
        reference=task.reference.values[: task.searched],
        max_drop=task.max_drop,
        rungs=model.rungs,
        ranking_items=task.control.ranking_items,
        ranked_alone=model.ranked_alone,
        max_restored=task.control.max_reverted,
        time_is_up=lambda: minutes is not None and time.perf_counter() - started > 60 * minutes,
        say=lambda words: session.progress(Event(STAGE, 0, 1, f"{label}: {words}")),
    )
    try:
        return accuracy_search.search(search, quick, built)
    except accuracy_search.UnreachableError as error:
        raise _unreachable(task, error.drop) from error


def _require_reachable(task: Controlled, model: Quantizers, built: Built) -> None:
    """Judge the model with nothing restored, and with everything."""
    everything = frozenset(group.number for group in model.groups)
    values = (np.array(built.values(some, range(task.searched))) for some in (frozenset[int](), everything))
    drops = [float(np.mean(task.reference.values[: task.searched] - found)) for found in values]
    if min(drops) > task.max_drop:
        raise _unreachable(task, drops[-1])


def _unreachable(task: Controlled, drop: float) -> BackendError:
    return BackendError(
        f"{task.entry.label}: accuracy_control.max_drop: no model keeps {task.max_drop:.4g} on this configuration: "
        f"with everything restored {drop:.4g} of {task.prepared.validation.name} is lost against the float reference "
        "run exactly; allow more, or set runtime.inference_precision and runtime.kv_cache to f32"
    )
