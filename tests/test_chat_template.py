"""Chat templates: the same text as transformers gives, and what happens to chats that a template refuses."""

from __future__ import annotations

import importlib.util
import warnings
from datetime import datetime

import pytest

import tiny
from quantcurve.chat_template import DAY, ChatTemplate, TemplateRefusedError, adapt
from quantcurve.engines import llamacpp_files
from quantcurve.engines.child import Child

HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOLS = """{{- bos_token }}
{%- if tools %}
    {%- set ns = namespace(count=0) %}
    # Tools
    {%- for tool in tools %}
        {%- set ns.count = ns.count + 1 %}
{{ ns.count }}: {{ tool | tojson }}
{{ tool.function.parameters | tojson(indent=2) }}
    {%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'skipped' %}{% continue %}{% endif %}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
<call>{{ call.function | tojson(sort_keys=true) }}</call>
        {%- endfor %}
    {%- else %}
<|{{ message.role }}|>{{ message.content | trim }}{{ eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
<|assistant|>
{% endif %}
"""
STRICT = """{{ bos_token }}
{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
  {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
    {{ raise_exception('Roles must alternate user/assistant') }}
  {% endif %}
[{{ message['role'] }}] {{ message['content'] }}
{% endfor %}
{% if add_generation_prompt %}[model]{% endif %}"""
DATED = """{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}
{% for message in messages %}{% if message.role == 'assistant' %}
{% generation %}{{ message.content }}{% endgeneration %}
{% else %}{{ message.content }}{% if not loop.last %}|{% endif %}{% endif %}{% endfor %}"""
TEMPLATES = {"smollm2": SMOLLM2, "tools": TOOLS, "strict": STRICT, "dated": DATED}

PLAIN = ({"role": "user", "content": " two & two? <b> "}, {"role": "assistant", "content": '4 "four" – 四\n'})
SYSTEM = ({"role": "system", "content": "Be brief."}, *PLAIN, {"role": "user", "content": "and three?"})
FUNCTION = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": "é<'>"}}}]}
CALLING = (PLAIN[0], CALL, {"role": "tool", "content": '{"sum": 4}'}, PLAIN[1])
CHATS = {"plain": PLAIN, "system": SYSTEM, "calling": CALLING}


def transformers_text(source: str, messages, tools, prompt: bool) -> str:
    """By apply_chat_template of a tokenizer with this template."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast

        words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>"))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
        return tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            tools=tools,
            chat_template=source,
            add_generation_prompt=prompt,
            tokenize=False,
        )


@pytest.mark.skipif(not HAS_TRANSFORMERS, reason="needs transformers: pip install 'quantcurve[convert]'")
@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": FUNCTION}]])
@pytest.mark.parametrize("chat", list(CHATS))
@pytest.mark.parametrize("name", list(TEMPLATES))
def test_the_text_is_that_of_transformers(name, chat, tools, prompt):
    template = ChatTemplate(TEMPLATES[name], "<s>", "</s>", day=datetime.now())
    try:
        expected = transformers_text(TEMPLATES[name], CHATS[chat], tools, prompt)
    except Exception as error:
        with pytest.raises(TemplateRefusedError, match=str(error).splitlines()[0]):
            template.render(CHATS[chat], tools, prompt)
        assert name == "strict" and chat != "plain", "only the strict template refuses"
        return
    assert template.render(CHATS[chat], tools, prompt) == expected
    assert len(expected) > 20


def test_smollm2_by_hand():
    text = ChatTemplate(SMOLLM2, "<|im_start|>", "<|im_end|>").render(PLAIN[:1], add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n two & two? <b> <|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_day_is_always_the_same():
    assert ChatTemplate(DATED, "", "").render(PLAIN).startswith(f"{DAY:%d %b %Y}")


def test_a_refused_system_message_stands_before_the_first_user_turn():
    rendered = ChatTemplate(STRICT, "<s>", "").render_any(SYSTEM)
    assert rendered.refusal == "System role not supported"
    assert "[user] Be brief.\n\n two & two? <b> \n[assistant] 4" in rendered.text
    assert rendered.text.endswith("[model]"), "a chat that ends with the user asks for an answer"
    assert rendered.left_out == 0


def test_a_taken_chat_is_not_adapted():
    rendered = ChatTemplate(STRICT, "<s>", "").render_any(PLAIN)
    assert rendered.refusal == ""
    assert rendered.text == ChatTemplate(STRICT, "<s>", "").render(PLAIN)


def test_tools_are_the_users_where_the_template_knows_no_tools():
    adapted = adapt(CALLING)
    assert [m["role"] for m in adapted] == ["user", "assistant", "user", "assistant"]
    assert adapted[1]["content"] == '{"name": "add", "arguments": {"a": "é<\'>"}}'
    assert ChatTemplate(STRICT, "", "").render_any(CALLING).refusal == "Roles must alternate user/assistant"


def test_a_template_that_wants_a_list_of_tools_gets_an_empty_one():
    source = "{% for tool in tools %}{{ tool.name }}{% endfor %}{{ messages[0].content }}"
    rendered = ChatTemplate(source, "", "").render_any(PLAIN[:1])
    assert (rendered.text, rendered.refusal) == (PLAIN[0]["content"], "'NoneType' object is not iterable")


def test_what_refuses_everything_is_a_named_refusal():
    with pytest.raises(TemplateRefusedError, match="never"):
        ChatTemplate("{{ raise_exception('never') }}", "", "").render_any(PLAIN)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages[0].role + 1 }}",
        "{% for i in range(10**9) %}{% endfor %}",
    ],
)
def test_the_sandbox_holds(source):
    with pytest.raises(TemplateRefusedError):
        ChatTemplate(source, "", "").render(PLAIN)


@pytest.mark.parametrize("source", ["{% for %}", "{{ 1", "{% unknown %}"])
def test_what_is_no_template_is_told_at_once(source):
    with pytest.raises(TemplateRefusedError):
        ChatTemplate(source, "", "")


def test_messages_that_the_template_does_not_write_are_counted():
    only_user = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    assert ChatTemplate(only_user, "", "").render_any(SYSTEM).left_out == 2
    as_json = "{% for m in messages %}{{ m.content | tojson }}{% endfor %}"
    assert ChatTemplate(as_json, "", "").render_any(CALLING).left_out == 0


# ---- control tokens, in the file's own vocabulary ----


@pytest.mark.real
def test_control_tokens_are_single_tokens_only_where_they_are_parsed(tmp_path, smollm2):
    text = "<|im_start|>user\nhello<|im_end|>\n"
    with Child("tokens", tmp_path / "log") as child:
        facts = child.call(llamacpp_files.chat_facts, smollm2)
        parsed = child.call(llamacpp_files.tokenize, smollm2, [text], True)[0].tolist()
        spelled = child.call(llamacpp_files.tokenize, smollm2, [text])[0].tolist()
    assert facts.template == SMOLLM2
    assert (facts.bos, facts.bos_text, facts.eos_text) == (None, "<|im_start|>", "<|im_end|>")
    assert facts.control[1] == "<|im_start|>" and facts.control[0] == "<|endoftext|>" and len(facts.control) == 17
    assert parsed[0] == 1 and parsed.count(2) == 1
    assert not set(spelled) & set(facts.control) and len(spelled) > len(parsed)


@pytest.mark.real
def test_a_file_without_a_template_says_so(tmp_path):
    model = tiny.write_tiny_llama(tmp_path / "tiny.gguf", add_bos=True)
    with Child("tokens", tmp_path / "log") as child:
        facts = child.call(llamacpp_files.chat_facts, model)
    assert (facts.template, facts.bos, facts.bos_text, facts.eos_text) == (None, 1, "<|start|>", "<|end|>")
    assert facts.control == dict(enumerate(tiny.SPECIALS))
