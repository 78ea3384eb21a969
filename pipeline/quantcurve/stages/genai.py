"""OpenVINO GenAI's own figures of the folders that would be deployed: IR, and the tokenizer's IRs beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np

from quantcurve import machine
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.engines.openvino import INSTALL
from quantcurve.errors import BackendError, PrerequisiteError, reason
from quantcurve.estimates import Missing
from quantcurve.latency_records import GenAiLatency, GenAiSamples, GenAiWorkload
from quantcurve.metrics.statistics import median_estimate
from quantcurve.records import EngineIdentity, Frozen, MachineFacts
from quantcurve.session import Event, Session
from quantcurve.stages.scoring import Model

PACKAGE = "openvino-genai"


class GenAiInputs(Frozen):
    """Key of one folder's figures."""

    version: Literal[3] = 3
    content_hash: str
    tokenizer_hash: str
    config: OpenVinoConfig
    workload: GenAiWorkload
    package_version: str
    engine: EngineIdentity
    machine: MachineFacts


def measure(models: Sequence[Model], workload: GenAiWorkload, session: Session) -> dict[str, GenAiLatency | Missing]:
    """Figures by name; a folder that OpenVINO GenAI cannot run, or that the disk is too small for, is Missing with
    the reason.

    Args:
        models: their runtime is an OpenVinoRuntime; `path` is the folder.
        workload: what is generated.
        session: store, threads, logs.

    Raises:
        PrerequisiteError: OpenVINO GenAI is not installed.
    """
    found: dict[str, GenAiLatency | Missing] = {}
    for i, model in enumerate(models):
        session.progress(Event("genai", i, len(models), model.name))
        inputs = genai_inputs(model, workload, session)
        try:
            samples, _ = session.make("genai", inputs, GenAiSamples, partial(_generate, model, inputs, session))
            found[model.name] = summary(samples)
        except (BackendError, PrerequisiteError) as error:
            found[model.name] = Missing(missing=reason(error, model.name))
    session.progress(Event("genai", len(models), len(models), "done"))
    return found


def summary(samples: GenAiSamples) -> GenAiLatency:
    """Figures over repetitions; a repetition's time per output token is the mean over its tokens."""
    return GenAiLatency(
        time_to_first_token_ms=median_estimate(np.array(samples.first_token_ms), "ms"),
        time_per_output_token_ms=median_estimate(np.array([np.mean(t) for t in samples.token_ms]), "ms"),
        samples=samples,
    )


def genai_inputs(model: Model, workload: GenAiWorkload, session: Session) -> GenAiInputs:
    """Key of one folder's figures.

    Raises:
        PrerequisiteError: OpenVINO GenAI is not installed.
    """
    assert isinstance(model.runtime, OpenVinoRuntime)
    try:
        version = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise PrerequisiteError(f"{PACKAGE} is not installed", INSTALL) from error
    tokenizers = sorted(model.path.glob("openvino_*tokenizer.*"))
    named = "".join(f"{p.name} {session.store.hash_file(p)}\n" for p in tokenizers)
    longest = workload.prompt_tokens + workload.new_tokens
    return GenAiInputs(
        content_hash=model.content_hash,
        tokenizer_hash=hashlib.sha256(named.encode()).hexdigest(),
        config=OpenVinoConfig(threads=session.threads, window_tokens=longest, runtime=model.runtime),
        workload=workload,
        package_version=version,
        engine=session.engine_of(model.runtime),
        machine=machine.facts(),
    )


def _generate(model: Model, inputs: GenAiInputs, session: Session, _: Path) -> GenAiSamples:
    from quantcurve.engines import genai

    work = inputs.workload
    with Child(model.name, session.log(f"{model.name}.genai")) as child:
        samples = child.call(
            genai.time_generation, model.path, inputs.config, work.prompt_tokens, work.new_tokens, work.repetitions
        )
        return samples.model_copy(update={"attention_backend": genai.backend_in(child.log_since_start())})
