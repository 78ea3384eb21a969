"""A bundle for Intel's CPUs and GPUs: the folder that OpenVINO GenAI loads, and a configuration of Model Server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from quantcurve.deploy.bundle import OpenVinoSettings
from quantcurve.deploy.source import Source
from quantcurve.engines.base import OpenVinoRuntime
from quantcurve.engines.openvino_ir import MODEL
from quantcurve.errors import BackendError, RecipeError
from quantcurve.records import AttentionBackend, OpenVinoEffective
from quantcurve.stages.export import BESIDE_THE_IR
from quantcurve.store_files import hash_of

GRAPH, SERVER = "graph.pbtxt", "model_server.json"
WEIGHTS = str(Path(MODEL).with_suffix(".bin"))
NEEDED = (MODEL, WEIGHTS, "openvino_tokenizer.xml", "openvino_detokenizer.xml")
INSIDE = {"verify.py": "verify.py", "chat.py": "chat.py", "openvino_runtime.py": "runtime.py"}
PIPELINES: dict[AttentionBackend, str] = {"SDPA": "LM", "PA": "LM_CB"}
"""Kinds of pipelines of Model Server (src/llm/llm_calculator.proto), by the attention backend that they run."""

GRAPH_TEXT = """\
# Written by quantcurve from what was measured; not verified: Model Server was not run.
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"

node: {
  name: "LLMExecutor"
  calculator: "HttpLLMCalculator"
  input_stream: "LOOPBACK:loopback"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "LLM_NODE_RESOURCES:llm"
  output_stream: "LOOPBACK:loopback"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  input_stream_info: {
    tag_index: "LOOPBACK:0",
    back_edge: true
  }
  node_options: {
    [type.googleapis.com / mediapipe.LLMCalculatorOptions]: {
%(options)s
    }
  }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler",
    options {
      [mediapipe.SyncSetInputStreamHandlerOptions.ext] {
        sync_set {
          tag_index: "LOOPBACK:0"
        }
      }
    }
  }
}
"""
"""With its options to be put in (docs/llm/quickstart.md of Model Server)."""


def settings(source: Source, alias: str, context_tokens: int, chat_template: bool) -> OpenVinoSettings:
    """How the variant was run, as the device told it when it was measured.

    Raises:
        RecipeError: the run's record does not say.
    """
    effective = source.variant.scoring_config
    runtime = source.runtime
    if not isinstance(effective, OpenVinoEffective) or not isinstance(runtime, OpenVinoRuntime):
        raise RecipeError(f"{source.variant.name}: the run does not say how it was opened; run the recipe again")
    return OpenVinoSettings(
        alias=alias,
        device=runtime.device,
        threads=effective.threads,
        context_tokens=context_tokens,
        execution=runtime.execution,
        inference_precision=effective.inference_precision,
        key_cache_precision=effective.key_cache_precision,
        value_cache_precision=effective.value_cache_precision,
        dynamic_quantization_group=effective.dynamic_quantization_group,
        attention=runtime.attention or effective.attention_backend or "SDPA",
        chat_template=chat_template,
    )


def not_verified(opened: OpenVinoSettings) -> tuple[str, ...]:
    """What is written and was not tried."""
    device = opened.device
    return (
        f"{SERVER} and {GRAPH}: OpenVINO Model Server was not run",
        f"other devices than {device}: chat.py takes one with --device; what was measured holds on {device} alone",
    )


def write(source: Source, draft: Path, opened: OpenVinoSettings) -> None:
    """Write what a bundle for OpenVINO has of its own.

    Raises:
        BackendError: what was copied are not the measured bytes, or GenAI would miss a file.
    """
    names = [name for name in (MODEL, WEIGHTS, *BESIDE_THE_IR) if (source.path / name).is_file()]
    if missing := [name for name in NEEDED if name not in names]:
        raise BackendError(f"{source.variant.name}: {', '.join(missing)} missing; OpenVINO GenAI needs them")
    for name in names:
        shutil.copyfile(source.path / name, draft / name)
        if hash_of(draft / name) != hash_of(source.path / name):
            raise BackendError(f"{draft / name}: not the bytes that were copied; see whether the disk is broken")
    (draft / GRAPH).write_text(graph(opened), encoding="utf-8")
    served = {"mediapipe_config_list": [{"name": opened.alias, "base_path": "."}], "model_config_list": []}
    (draft / SERVER).write_text(json.dumps(served, indent=1) + "\n", encoding="utf-8")


def plugin_config(opened: OpenVinoSettings) -> dict[str, str | int]:
    """Properties of the device; the same as runtime.py of the bundle sets."""
    from quantcurve.deploy.inside import openvino_runtime

    found: dict[str, str | int] = openvino_runtime.properties(opened.model_dump())
    return found


def graph(opened: OpenVinoSettings) -> str:
    """Model Server's graph for one language model (its docs/llm/reference.md)."""
    config = plugin_config(opened)
    if opened.attention == "PA":  # the pipeline's kind says that
        del config["ATTENTION_BACKEND"]
    options = {
        "models_path": '"./"',
        "pipeline_type": PIPELINES[opened.attention],
        "device": json.dumps(opened.device),
        "plugin_config": f"'{json.dumps(config)}'",
    }
    told = "\n".join(f"      {name}: {value}" for name, value in options.items())
    return GRAPH_TEXT % {"options": told}
