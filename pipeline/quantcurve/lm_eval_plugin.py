"""Makes `lm_eval --model quantcurve` known to releases of lm-evaluation-harness that read no entry points.

Later ones find the model by pyproject.toml's `lm_eval.models`. For those up to 0.4.13 the wheel brings
quantcurve_lm_eval.pth, which imports this module in processes of the command lm_eval and in no other.
"""

from __future__ import annotations

NAME, TARGET = "quantcurve", "quantcurve.lm_eval_model:QuantcurveLM"


def register() -> None:
    """Put the model into lm-eval's registry, where it is not imported before it is asked for."""
    try:
        from lm_eval.api.registry import model_registry
    except ImportError:
        return
    if NAME not in model_registry:
        model_registry.register(NAME, target=TARGET)


register()
