"""quantcurve: accuracy-aware quantization for GGUF and Intel targets.

from quantcurve import load_recipe, plan, run
result = run(load_recipe("recipes/smollm2-135m.yaml"))
print(result.variants[0].overall.divergence.kl_mean)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantcurve.estimates import Estimate
    from quantcurve.planning import plan
    from quantcurve.recipe import load as load_recipe
    from quantcurve.results import RunResult
    from quantcurve.run import run

__version__ = "0.1.0"
__all__ = ["Estimate", "RunResult", "__version__", "load_recipe", "plan", "run"]

_HOMES = {
    "load_recipe": ("quantcurve.recipe", "load"),
    "plan": ("quantcurve.planning", "plan"),
    "run": ("quantcurve.run", "run"),
    "RunResult": ("quantcurve.results", "RunResult"),
    "Estimate": ("quantcurve.results", "Estimate"),
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: the command's help needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'quantcurve' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
