"""OpenVINO GenAI's own figures of a folder that would be deployed; everything here runs inside a child process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from quantcurve.engines.base import OpenVinoConfig
from quantcurve.engines.openvino import INSTALL
from quantcurve.engines.openvino_child import first_line, properties, require_device
from quantcurve.engines.openvino_ir import check_weights
from quantcurve.errors import BackendError, ModelFileError
from quantcurve.latency_records import GenAiSamples, MeanStd
from quantcurve.records import AttentionBackend

TOKENIZERS = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")
TEXT = "The river rises in the hills, passes three towns and an old mill, and reaches the sea in the evening. "
"""Repeated to make the prompt."""
LOG_LEVEL = {"OPENVINO_LOG_LEVEL": "2"}
"""From this level on GenAI prints what it has compiled (src/cpp/src/utils.cpp, print_compiled_model_properties)."""
BACKENDS: dict[str, AttentionBackend] = {"Model: LLM with Paged Attention": "PA", "Model: Stateful LLM model": "SDPA"}
"""What it prints then, by the attention backend."""


def time_generation(
    folder: Path, config: OpenVinoConfig, prompt_tokens: int, new_tokens: int, repetitions: int
) -> GenAiSamples:
    """Generate greedily, after a warm-up, on the backend that the configuration names. Every prompt begins otherwise:
    with paged attention GenAI keeps the cache of a prompt it has seen, and skips its prefill (prefix caching, on
    unless a scheduler configuration says otherwise).

    Args:
        folder: IR and tokenizer IRs.
        config: how; what it leaves open is left to OpenVINO GenAI, also the attention backend.
        prompt_tokens: length of the prompt; cut from text, so that it may miss by a few (the samples have the length).
        new_tokens: tokens generated, whether or not the model would end before.
        repetitions: how often, after the warm-up.

    Raises:
        ModelFileError: a file is missing or cut short.
        BackendError: OpenVINO GenAI is not installed or cannot be loaded, or refused.
    """
    check_weights(folder)
    if missing := [name for name in TOKENIZERS if not (folder / name).is_file()]:
        raise ModelFileError(
            f"{folder}: {' and '.join(missing)} missing: OpenVINO GenAI needs them; export the tokenizer beside the IR"
        )
    require_device(config.runtime.device)
    try:
        return _time(folder, config, prompt_tokens, new_tokens, repetitions)
    except ImportError as error:
        raise BackendError(f"{folder}: OpenVINO GenAI cannot be loaded ({error}); to mend it: {INSTALL}") from error
    except RuntimeError as error:
        raise BackendError(f"{folder}: OpenVINO GenAI failed: {first_line(error)}") from error


def _time(folder: Path, config: OpenVinoConfig, prompt_tokens: int, new_tokens: int, repetitions: int) -> GenAiSamples:
    os.environ |= LOG_LEVEL
    import openvino_genai  # type: ignore[import-not-found, unused-ignore]

    pipeline = openvino_genai.LLMPipeline(folder, config.runtime.device, **_properties(config))
    tokenizer = pipeline.get_tokenizer()
    prompts = [_prompt(tokenizer, number, prompt_tokens) for number in range(repetitions + 1)]
    generation = openvino_genai.GenerationConfig(
        max_new_tokens=new_tokens, ignore_eos=True, do_sample=False, apply_chat_template=False
    )
    metrics = [pipeline.generate([prompt], generation).perf_metrics for prompt in prompts]
    return _samples(metrics[1:])


def backend_in(printed: str) -> AttentionBackend | None:
    """The attention backend that GenAI has taken, None if it did not say.

    Args:
        printed: what it printed while it loaded a model; where paged attention fails, it goes on with SDPA.
    """
    found = {printed.rfind(line): backend for line, backend in BACKENDS.items() if line in printed}
    return found[max(found)] if found else None


def _properties(config: OpenVinoConfig) -> dict[str, Any]:
    backend = {"ATTENTION_BACKEND": config.runtime.attention} if config.runtime.attention else {}
    return properties(config) | backend


def _prompt(tokenizer: Any, number: int, tokens: int) -> str:
    """Text of about so many tokens that begins with its number."""
    ids = tokenizer.encode(TEXT, add_special_tokens=False).input_ids.data
    text = f"{number}. " + TEXT * (1 + tokens // ids.shape[1])
    ids = tokenizer.encode(text, add_special_tokens=False).input_ids.data
    return str(tokenizer.decode([int(i) for i in ids[0, :tokens]]))


def _samples(metrics: list[Any]) -> GenAiSamples:
    """Of repetitions: GenAI's sums over all of them, and raw microseconds as milliseconds."""
    total = metrics[0]
    for more in metrics[1:]:
        total = total + more
    raw = [m.raw_metrics for m in metrics]
    return GenAiSamples(
        prompt_tokens=metrics[0].get_num_input_tokens(),
        generated_tokens=metrics[0].get_num_generated_tokens(),
        load_ms=metrics[0].get_load_time(),
        time_to_first_token_ms=_mean_std(total.get_ttft()),
        time_per_output_token_ms=_mean_std(total.get_tpot()),
        inference_per_output_token_ms=_mean_std(total.get_ipot()),
        throughput_tokens_per_s=_mean_std(total.get_throughput()),
        first_token_ms=tuple(t for r in raw for t in _milliseconds(r.m_times_to_first_token)),
        token_ms=tuple(_milliseconds(r.m_durations) for r in raw),
        inference_ms=tuple(_milliseconds(r.token_infer_durations) for r in raw),
    )


def _mean_std(pair: Any) -> MeanStd:
    return MeanStd(mean=pair.mean, std=pair.std)


def _milliseconds(microseconds: list[float]) -> tuple[float, ...]:
    return tuple(float(t) / 1000 for t in microseconds)
