"""The model card: what the bundle is, what it loses, how it was measured, how to start it and how to verify it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from quantcurve.deploy.bundle import CARD, LlamaCppSettings, Manifest
from quantcurve.deploy.figures import shown
from quantcurve.report.markdown import escape, plain_table
from quantcurve.report.words import mib

HUB = re.compile(r"^hf:(?P<repository>[\w.-]+/[\w.-]+)")
LIBRARIES = {"llama.cpp": "gguf", "openvino": "openvino"}
INSTALL = {"llama.cpp": "pip install 'llama-cpp-python[server]'", "openvino": "pip install openvino-genai"}


def card(manifest: Manifest) -> str:
    """Markdown with the YAML front matter that the hub reads."""
    from huggingface_hub import ModelCard, ModelCardData

    hub = HUB.match(manifest.source)
    known = manifest.license
    data = ModelCardData(
        base_model=hub["repository"] if hub else None,
        license=known.name,
        license_name=known.title if known.name == "other" else None,
        license_link=known.link if known.name == "other" else None,
        library_name=LIBRARIES[manifest.target],
        pipeline_tag="text-generation",
        tags=[LIBRARIES[manifest.target], manifest.target, "quantcurve", *_types(manifest)],
        base_model_relation="quantized" if hub else None,
    )
    body = "\n\n".join(_parts(manifest))
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n", ignore_metadata_errors=False)) + "\n"


def _types(manifest: Manifest) -> list[str]:
    return [manifest.quantization.partition(" ")[0]]


def _parts(manifest: Manifest) -> Iterator[str]:
    yield f"# {escape(manifest.run)}: {escape(manifest.variant)} for {manifest.target}"
    if manifest.forced:
        reasons = "\n".join(f"> - {escape(reason)}" for reason in manifest.forced)
        yield f"> **Deployed by force.** quantcurve would not have let it pass:\n{reasons}"
    yield (
        f"{escape(manifest.source)} in {escape(manifest.quantization)}: {mib(manifest.size_bytes)}, "
        f"{manifest.bits_per_weight:.2f} bits per weight. Licence: {escape(license_words(manifest))}."
    )
    yield "## What it loses"
    yield plain_table(("figure", "value"), [(one.name, shown(one.figure)) for one in manifest.figures], left=2)
    yield _listed(manifest.verdicts)
    yield "## How it was measured"
    yield _listed(tuple(_measured(manifest)))
    yield "## Start it"
    yield from _start(manifest)
    yield "## Verify it"
    yield (
        f"```\n{INSTALL[manifest.target]}\npython verify.py\n```\n\n"
        "It checks the SHA-256 of every file, the settings, what the runtime says of the open model, the ids of "
        f"recorded prompts, and one token from every recorded prefix. {escape(noise_words(manifest))}"
    )
    yield "Written and not verified:"
    yield _listed(manifest.not_verified)


def license_words(manifest: Manifest) -> str:
    """The licence in one line."""
    known = manifest.license
    if known.name is None:
        told = "the reference does not tell"
    else:
        told = " ".join(part for part in (known.name, known.title, known.link and f"({known.link})") if part)
    return f"{told}; its text is in {known.file}" if known.file else told


def noise_words(manifest: Manifest) -> str:
    """The rule of the replays."""
    noise = manifest.noise
    return (
        "Another token than the recorded one passes only where the two likeliest tokens were within "
        f"{noise.logits:.3g} logits of each other: {noise.how}. At most {noise.most_other_tokens} may be others: the "
        f"measured engine itself took {noise.other_tokens} of {noise.steps}."
    )


def _measured(manifest: Manifest) -> Iterator[str]:
    hashes = manifest.hashes
    yield f"reference: {manifest.reference_precision}, SHA-256 {hashes.reference}"
    yield f"measured file: SHA-256 {hashes.measured}; the weights in this bundle are the same bytes"
    if hashes.calibration:
        yield f"calibration set: SHA-256 {hashes.calibration}"
    if hashes.imatrix:
        yield f"importance matrix: SHA-256 {hashes.imatrix}"
    yield f"recipe: SHA-256 {hashes.recipe}; run {manifest.run_key[:16]}"
    yield f"with {', '.join(manifest.measured_with)}, on {manifest.measured_on}"
    yield f"settings: {_settings(manifest)}"
    if manifest.settings.context_tokens > manifest.measured_context_tokens:
        yield (
            f"the context of {manifest.settings.context_tokens:,} tokens is longer than anything that was measured "
            f"({manifest.measured_context_tokens:,} tokens)"
        )


def _settings(manifest: Manifest) -> str:
    told = manifest.settings.model_dump()
    return ", ".join(f"{name} {'not told' if value is None else value}" for name, value in told.items())


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences)


def _start(manifest: Manifest) -> Iterator[str]:
    if isinstance(manifest.settings, LlamaCppSettings):
        yield (
            "```\n./start-llama-cpp-python.sh      # OpenAI's protocol on http://127.0.0.1:8000/v1\n"
            "./start-llama-server.sh          # the same on port 8080, by llama.cpp's own server\n"
            f"ollama create {manifest.settings.alias.lower()} -f Modelfile\n"
            'python chat.py "What is a harbour?"\n```'
        )
        yield (
            "The first needs `llama-cpp-python[server]`, the last `llama-cpp-python`. PORT chooses another port. "
            "Servers draw tokens and punish repetition by defaults of their own: what was measured are answers with "
            "temperature 0 and repeat_penalty 1."
        )
    else:
        yield (
            '```\npython chat.py "What is a harbour?"\n'
            "ovms --config_path model_server.json --rest_port 8000   # OpenVINO Model Server\n```"
        )
        yield (
            "chat.py needs `openvino-genai`. This folder is one that `openvino_genai.LLMPipeline` loads; what it is to "
            f"be opened with is in settings.json. {CARD} and the other files of quantcurve are not needed for that."
        )
