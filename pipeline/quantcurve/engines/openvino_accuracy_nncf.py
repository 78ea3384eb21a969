"""NNCF's own accuracy control, guarded; everything here runs inside a child process (see child.py).

nncf.quantize_with_accuracy_control 3.4.0 ranks and restores; it is given nothing to get wrong, and not believed:

- SmoothQuant goes first, over the float model (openvino_smooth.py), so that restored weights are those that belong
  behind its factors.
- It gets a mean and a value for each item, never a bare scalar or tensors, so that it ranks by the metric; by tensors
  it would restore the least helpful group first (ranker.py, algorithm.py: `ranked_groups.pop()`).
- A constant makes the reference's mean 1: it divides by it, whatever the kind of drop (calculate_accuracy_drop).
- What the judge raises gets out as it is: NNCF takes any Exception in its first, one-item call for a hint to use
  tensors (evaluator.py, determine_mode).
- Graphs are compiled as they are deployed: NNCF compiles for the CPU in float32 (openvino_backend.py, OVPreparedModel).
- Which graph is kept, and whether the budget holds, follows from the values alone, and in the end from the file that
  was written. NNCF calls success on the last group a failure, and returns a model whatever happened.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nncf
import openvino as ov
from nncf.common.factory import build_graph
from nncf.openvino.graph.model_utils import remove_friendly_name_duplicates
from nncf.openvino.quantization.backend_parameters import BackendParameters
from nncf.quantization.advanced_parameters import AdvancedAccuracyRestorerParameters, AdvancedQuantizationParameters
from nncf.quantization.algorithms.accuracy_control import openvino_backend
from nncf.quantization.algorithms.accuracy_control.ranker import Ranker
from openvino._offline_transformations import compress_quantize_weights_transformation

from quantcurve.engines.accuracy_outcome import Outcome, Settings, Step
from quantcurve.engines.base import Tokens
from quantcurve.engines.openvino_accuracy_search import OutOfTime, Raised, Search, mean_of, prepared_here
from quantcurve.engines.openvino_child import require_device
from quantcurve.engines.openvino_compress import dataset_of
from quantcurve.engines.openvino_graphs import refusals, unpin_cache
from quantcurve.engines.openvino_ir import MODEL, check_weights
from quantcurve.engines.openvino_judged import Judge, Judged, key_of, quantizers
from quantcurve.engines.openvino_layers import layers, rule_of_constant
from quantcurve.engines.openvino_smooth import OFF, smoothed
from quantcurve.recipe_openvino import OpenVinoVariant

PRESETS = {"mixed": nncf.QuantizationPreset.MIXED, "performance": nncf.QuantizationPreset.PERFORMANCE}


def run(
    source: Path, target: Path, variant: OpenVinoVariant, windows: Tokens, judge: Judge, settings: Settings
) -> Outcome:
    """Quantise weights and activations to 8 bits, and restore layers until a judge is content or a limit is reached.

    Args:
        source: folder with the float32 IR.
        target: folder, there already, that the quantised IR is written to: the best that was found, whether it is
            within the budget or not.
        variant: preset, SmoothQuant, and rules that leave layers as they are.
        windows: calibration tokens (n, T).
        judge: deterministic; an item's value must not depend on the other items.
        settings: budget, limits, and what to judge on.

    Raises:
        ModelFileError: the source is cut short or no IR.
        RecipeError: a rule for single layers matches none, or the judge gave what is not one finite value an item.
        BackendError: NNCF refused, or OpenVINO did.
        Exception: whatever the judge raised, as it was.
    """
    began = time.monotonic()
    require_device(settings.config.runtime.device)
    check_weights(source)
    with refusals(f"{variant.label}: OpenVINO cannot read {source / MODEL}"):
        model = remove_friendly_name_duplicates(ov.Core().read_model(source / MODEL))
    unpin_cache(model)
    search = Search(Judged(source, judge, settings.config, settings.journal), model, settings, began)
    out_of_time = _searched(search, model, source, variant, windows)
    groups = _groups(search.plain)
    best = quantizers(search.best)
    final_mean = _written(search, target, variant)
    return _outcome(search, groups, best, final_mean, out_of_time)


def _searched(search: Search, model: Any, source: Path, variant: OpenVinoVariant, windows: Tokens) -> bool:
    """Let NNCF search; whether it was stopped for lack of time."""
    dataset = dataset_of(model, source, windows)
    search.initial = model
    if variant.smooth_quant is not False:
        with refusals(f"{variant.label}: NNCF cannot smooth it"):
            search.initial = smoothed(model, dataset, len(windows))
    arguments = _arguments(search.settings, variant, _ignored(source, variant), len(windows))
    with refusals(f"{variant.label}: NNCF's accuracy control failed"), prepared_here():
        try:
            nncf.quantize_with_accuracy_control(search.initial, dataset, search.items, search.validation, **arguments)
        except Raised as raised:
            error = raised.error
        except OutOfTime:
            return True
        else:
            return False
    raise error


def _arguments(settings: Settings, variant: OpenVinoVariant, ignored: list[str], samples: int) -> dict[str, Any]:
    return {
        "max_drop": settings.max_drop,
        "drop_type": nncf.DropType.ABSOLUTE,
        "preset": PRESETS[variant.preset or "mixed"],
        "subset_size": samples,
        "model_type": nncf.ModelType.TRANSFORMER,
        "ignored_scope": nncf.IgnoredScope(names=ignored, validate=False) if ignored else None,
        "advanced_quantization_parameters": AdvancedQuantizationParameters(
            smooth_quant_alphas=OFF, backend_params={BackendParameters.COMPRESS_WEIGHTS: False}
        ),
        "advanced_accuracy_restorer_parameters": AdvancedAccuracyRestorerParameters(
            max_num_iterations=settings.max_iterations or sys.maxsize,
            ranking_subset_size=settings.ranking_items,
            num_ranking_workers=1,  # they compile ahead; here nothing is compiled that need not be
        ),
    }


def _ignored(source: Path, variant: OpenVinoVariant) -> list[str]:
    found = layers(source)
    ruled = rule_of_constant(found, variant.layers)
    return [layer.node for layer in found if layer.constant in ruled]


def _written(search: Search, target: Path, variant: OpenVinoVariant) -> float:
    """Write the best graph, its weights as integers; the mean that the file has when it is read again."""
    names = quantizers(search.best)
    with refusals(f"{variant.label}: the IR cannot be written"):
        compress_quantize_weights_transformation(search.best)
        ov.save_model(search.best, target / MODEL, compress_to_fp16=False)
    written = ov.Core().read_model(target / MODEL)
    return mean_of(search.judged.values(f"written {key_of(names)}", written, search.settings.item_numbers))


class _Group(NamedTuple):
    """What NNCF restores together, by the graph's names."""

    quantizers: frozenset[str]
    operations: tuple[str, ...]


def _groups(plain: Any) -> list[_Group]:
    """What NNCF restores together."""
    ranker = Ranker(1, None, openvino_backend.OVAccuracyControlAlgoBackend(), None)
    found = ranker.find_groups_of_quantizers_to_rank(build_graph(plain))
    return [
        _Group(frozenset(q.node_name for q in group.quantizers), tuple(o.node_name for o in group.operations))
        for group in found
    ]


def _reverted(groups: Sequence[_Group], plain: frozenset[str], names: frozenset[str]) -> list[_Group]:
    gone = plain - names
    return [group for group in groups if group.quantizers <= gone]


def _operations(groups: Sequence[_Group]) -> tuple[str, ...]:
    return tuple(sorted({name for group in groups for name in group.operations}))


def _outcome(
    search: Search, groups: Sequence[_Group], best: frozenset[str], final_mean: float, out_of_time: bool
) -> Outcome:
    plain, *iterations = search.whole
    steps = [(step, _reverted(groups, plain.names, step.names)) for step in search.whole]
    reverted = _reverted(groups, plain.names, best)
    limit = search.settings.max_iterations
    at_limit = limit is not None and len(iterations) >= limit and not search.within(search.best_mean)
    judged = search.judged
    return Outcome(
        reached=search.within(final_mean),
        limit="max_seconds" if out_of_time else "max_iterations" if at_limit else None,
        reference_mean=search.reference_mean,
        plain_mean=plain.mean,
        final_mean=final_mean,
        reverted_operations=_operations(reverted),
        removed_quantizers=tuple(sorted(plain.names - best)),
        groups=len(groups),
        reverted_groups=len(reverted),
        iterations=len(iterations),
        rankings=search.rankings,
        validations=len(search.whole) + 2,
        ranking_validations=search.ranking_validations,
        inferred=judged.inferred,
        judged_items=judged.judged_items,
        validation_s=judged.validation_s,
        compilation_s=judged.compilation_s,
        rest_s=time.monotonic() - search.began - judged.validation_s - judged.compilation_s,
        trace=tuple(
            Step(
                seconds=step.seconds,
                reverted_groups=len(found),
                operations=_operations(found),
                removed_quantizers=tuple(sorted(plain.names - step.names)),
                mean=step.mean,
            )
            for step, found in steps
        ),
    )
