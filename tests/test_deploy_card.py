"""Model cards and Modelfiles: what they say, and that they are sound."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCardData

from factories import estimate
from quantcurve.chat_template import ChatTemplate
from quantcurve.deploy import gguf_copy, licence, ollama
from quantcurve.deploy.bundle import Hashes, License, LlamaCppSettings, Manifest, NamedFigure, Noise
from quantcurve.deploy.card import card
from quantcurve.estimates import Missing

SETTINGS = LlamaCppSettings(
    alias="m-Q4_0",
    device="cpu",
    threads=2,
    context_tokens=512,
    batch_tokens=512,
    micro_batch_tokens=512,
    k_type="f16",
    v_type="f16",
    flash_attention=True,
    chat_template=True,
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    + CHATML
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
    "m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
COUNTING = "{% for m in messages %}{{ loop.index ~ ' ' ~ m['role'] ~ ': ' ~ m['content'] ~ '\n' }}{% endfor %}"


def make_manifest(**changes) -> Manifest:
    found = Manifest(
        forced=(),
        quantcurve_version="0.1.0",
        target="llama.cpp",
        variant="Q4_0",
        run="m",
        run_key="1" * 64,
        source="hf:owner/model@0123456789#model.gguf",
        reference_precision="F16",
        quantization="Q4_0 (Q4_0 100.0%)",
        bits_per_weight=4.5,
        size_bytes=100 * 2**20,
        license=License(name="apache-2.0"),
        hashes=Hashes(measured="2" * 64, reference="3" * 64, calibration=None, imatrix=None, recipe="4" * 64),
        settings=SETTINGS,
        measured_context_tokens=512,
        measured_on="a processor",
        noise=Noise(logits=0.02, how="measured", steps=768, other_tokens=17, most_other_tokens=38),
        figures=(
            NamedFigure(name="mean KL divergence from the reference", figure=estimate(0.031, 0.002, "nats")),
            NamedFigure(name="decode", figure=Missing(missing="not measured")),
        ),
        verdicts=("contract: pass: all 3 budgets are kept",),
        measured_with=("quantcurve 0.1.0", "llama.cpp 0.3.36"),
        not_verified=("Modelfile: Ollama was not run",),
        files=(),
    )
    return found.model_copy(update=changes)


def front_matter(text: str) -> dict:
    from huggingface_hub import ModelCard

    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    return data.to_dict()


def test_the_front_matter_is_what_the_hub_reads():
    found = front_matter(card(make_manifest()))
    assert found["base_model"] == "owner/model" and found["base_model_relation"] == "quantized"
    assert found["license"] == "apache-2.0" and found["library_name"] == "gguf"
    assert found["pipeline_tag"] == "text-generation" and {"gguf", "Q4_0", "llama.cpp"} <= set(found["tags"])


def test_what_is_not_known_is_not_made_up():
    manifest = make_manifest(source="models/own.gguf", license=License())
    found, text = front_matter(card(manifest)), card(manifest)
    assert "base_model" not in found and "license" not in found
    assert "Licence: the reference does not tell." in text and "| decode | missing: not measured |" in text


def test_a_licence_of_its_own_keeps_its_name_and_link():
    own = License(name="other", title="gemma", link="https://ai.google.dev/gemma/terms", file="LICENSE")
    found, text = front_matter(card(make_manifest(license=own))), card(make_manifest(license=own))
    assert found["license_name"] == "gemma" and found["license_link"] == own.link
    assert "its text is in LICENSE" in text


def test_force_is_said_first():
    text = card(make_manifest(forced=("breaks the contract: too slow",)))
    assert text.index("breaks the contract: too slow") < text.index("## What it loses")


def test_figures_have_their_intervals():
    assert "0.0310 nats \\[0.0290, 0.0330\\] (95% interval, n = 40)" in card(make_manifest())


@pytest.mark.parametrize("source", [CHATML, WITH_DEFAULT, LLAMA_3])
def test_the_form_of_a_template_is_proved_on_chats(source):
    template = ChatTemplate(source, "<s>", "</s>")
    form = ollama.form_of(template, "<s>")
    assert form
    chat = [("system", "x y"), ("user", "1"), ("assistant", "2"), ("user", "3")]
    for some in (chat, chat[1:]):
        messages = [{"role": role, "content": content} for role, content in some]
        assert form.compose(some) == template.render(messages, None, True)


def test_a_template_of_another_kind_has_no_form_and_the_modelfile_says_so():
    template = ChatTemplate(COUNTING, "<s>", "</s>")
    assert ollama.form_of(template, "") is None
    text = ollama.modelfile(SETTINGS, template, "", "")
    assert "TEMPLATE" not in text and "has no equal here: Ollama guesses one" in text


def test_a_modelfile_of_chatml():
    text = ollama.modelfile(SETTINGS, ChatTemplate(WITH_DEFAULT, "<|im_start|>", "<|im_end|>"), "", "mit")
    assert "FROM ./model.gguf\nPARAMETER num_ctx 512\n" in text
    assert 'PARAMETER stop "<|im_end|>"' in text and 'LICENSE """mit"""' in text
    written = text.split('TEMPLATE """')[1].split('"""')[0]
    assert written.startswith("{{ if not .System }}<|im_start|>system\nYou are helpful.<|im_end|>\n{{ end }}{{ range")
    assert (
        '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n{{ else if eq .Role "user" }}'
        in written
    )
    assert written.endswith("{{ .Content }}<|im_end|>\n{{ end }}{{ end }}<|im_start|>assistant\n")


def test_the_beginning_of_text_is_left_to_ollama():
    text = ollama.modelfile(SETTINGS, ChatTemplate(LLAMA_3, "<|begin|>", "<|eot_id|>"), "<|begin|>", "")
    assert 'TEMPLATE """{{ range .Messages }}' in text and "<|begin|>" not in text


def test_a_cache_that_ollama_has_not_is_told():
    text = ollama.modelfile(SETTINGS.model_copy(update={"k_type": "q8_0"}), None, "", "")
    assert "K in q8_0 and V in f16, which Ollama cannot do" in text and "no chat template" in text


def test_the_licence_is_that_of_the_model_card_or_of_the_gguf_file(tmp_path, smollm2):
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: own\nlicense_link: LICENSE\n---\n# Model\n")
    assert licence.of_card(tmp_path) == License(name="other", title="own", link="LICENSE")
    assert licence.of_card(tmp_path / "nothing") == License()
    assert gguf_copy.license_fields(smollm2) == {"general.license": "apache-2.0"}
