"""The recipe's GGUF variants: how weights are written, and the KV cache that they run with."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from quantcurve.engines.base import CACHE_TYPES, CacheTypes
from quantcurve.engines.gguf_types import BY_NAME
from quantcurve.engines.tensor_types import TensorRule
from quantcurve.records import Frozen


def _known_cache(value: str) -> str:
    if value not in CACHE_TYPES:
        raise PydanticCustomError("cache_type", "unknown KV cache type", {"candidates": list(CACHE_TYPES)})
    return value


CacheType = Annotated[str, AfterValidator(_known_cache), Field(json_schema_extra={"enum": list(CACHE_TYPES)})]


def _known_type(value: str) -> str:
    if value not in BY_NAME:
        raise PydanticCustomError("gguf_type", "unknown GGUF type", {"candidates": list(BY_NAME)})
    return value


GgufType = Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": list(BY_NAME)})]


def _or_type(schema: dict[str, Any]) -> None:
    """A variant may be written as its type alone."""
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string", "enum": list(BY_NAME)}, whole]


class GgufVariant(Frozen):
    """One variant: how its weights are written, and their KV cache. `Q4_K_M` is short for {type: Q4_K_M}."""

    model_config = ConfigDict(json_schema_extra=_or_type)

    type: GgufType = Field(description="file type, as `quantcurve types` lists them")
    name: str | None = Field(None, min_length=1, max_length=60, pattern=r"^[\w.+-]+$")
    imatrix: bool = Field(False, description="weigh errors by the recipe's importance matrix")
    tensors: tuple[TensorRule, ...] = Field((), description="types of single tensors; the first pattern that matches")
    kv: CacheType | None = Field(None, description="type of the KV cache, K and V")
    k: CacheType | None = Field(None, description="type of K alone")
    v: CacheType | None = Field(None, description="type of V alone; a quantised one needs flash attention")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_way(self) -> GgufVariant:
        if self.kv and (self.k or self.v):
            raise PydanticCustomError("kv", "kv is short for both k and v: give kv, or k and v")
        return self

    @property
    def cache(self) -> CacheTypes:
        """Types of its KV cache."""
        return CacheTypes(k=self.kv or self.k or "f16", v=self.kv or self.v or "f16")

    @property
    def label(self) -> str:
        """Its name, or one made of what it is."""
        parts = (self.type, "imatrix" * self.imatrix, "tensors" * bool(self.tensors), self.cache.label())
        return self.name or "+".join(part for part in parts if part)
