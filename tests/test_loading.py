"""Reading results: what was saved is what is read, and whatever else a file holds is told in a sentence or two."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from factories import make_run
from quantcurve.encoder_results import EncoderResult
from quantcurve.errors import RecipeError
from quantcurve.report import folder, loading
from quantcurve.results import RunResult

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    """The record of a run, as JSON."""
    return json.loads(make_run().model_dump_json())


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as error:
        loading.load_any(path)
    said = str(error.value)
    assert len(said) < 800 and "Traceback" not in said and "pydantic" not in said
    assert said.startswith(str(path))
    return said


def refused(tmp_path: Path, content: str | bytes | dict[str, Any]) -> str:
    """What is said of a results file with this content."""
    file = tmp_path / "results.json"
    text = json.dumps(content) if isinstance(content, dict) else content
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return refusal(file)


@pytest.mark.parametrize("name", ["demo", "kv"])
def test_recorded_runs_are_read_as_they_were_written(name: str) -> None:
    text = (DATA / name / "results.json").read_text()
    assert loading.load(DATA / name) == RunResult.model_validate_json(text)


def test_an_encoders_run_is_read_as_one() -> None:
    text = (DATA / "encoder" / "results.json").read_text()
    assert loading.load_any(DATA / "encoder") == EncoderResult.model_validate_json(text)
    with pytest.raises(RecipeError, match="the run of an embedding model"):
        loading.load(DATA / "encoder")


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "there is no such file or folder; `quantcurve run RECIPE` writes them" in refusal(tmp_path / "nothing")
    assert refusal(tmp_path).endswith(f"quantcurve run RECIPE --out {tmp_path}")
    (tmp_path / "recipe.yaml").touch()
    assert refusal(tmp_path).endswith(f"quantcurve run {tmp_path / 'recipe.yaml'} --out {tmp_path}")


def test_a_folder_of_runs_names_some_of_them(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").touch()
    said = refusal(tmp_path)
    assert f"{tmp_path / 'a'}, {tmp_path / 'b'}, {tmp_path / 'c'}, ... are in it; name one" in said


def test_a_file_cut_off_anywhere_is_damaged_and_says_how_to_make_it_again(tmp_path: Path) -> None:
    run = make_run(name="smøllm")
    data = run.model_dump_json(indent=1).encode()
    (tmp_path / "recipe.yaml").touch()
    inside = data.index("ø".encode()) + 1
    for kept in (*random.Random(0).sample(range(len(data) - 1), 40), inside):
        said = refused(tmp_path, data[:kept])
        assert "damaged" in said and said.endswith(f"quantcurve run {tmp_path / 'recipe.yaml'} --out {tmp_path}")
        assert f"after byte {kept:,}" in said or "empty" in said
    lines = data[:inside].count(b"\n")
    assert f"cut off in line {lines + 1}," in refused(tmp_path, data[: inside - 1])
    assert "in a character" in refused(tmp_path, data[:inside])


def test_a_file_damaged_in_the_middle_says_where(tmp_path: Path, good: dict[str, Any]) -> None:
    lines = json.dumps(good, indent=1).splitlines()
    lines[4] = lines[4].replace('"', "", 1)
    column = len(lines[4]) - len(lines[4].lstrip()) + 1
    assert f"line 5, column {column} is no JSON" in refused(tmp_path, "\n".join(lines))


def test_no_change_of_bytes_gives_a_traceback(tmp_path: Path) -> None:
    dice, data = random.Random(1), make_run().model_dump_json().encode()
    file = tmp_path / "results.json"
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(dice.choice([1, 1, 3, 50])):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        file.write_bytes(changed)
        with suppress(RecipeError):
            loading.load_any(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "damaged: the file is empty"),
        (" \n", "damaged: the file is empty"),
        ("[1]", "it is a list, not an object"),
        ("null", "it is null, not an object"),
        ("3.5", "it is a number, not an object"),
        ('"results"', "it is a string, not an object"),
        ("{}", "it has no schema_version and no name"),
        ('{"schema_version": 1}', "it has no name"),
        ('{"name": "x", "version": 2}', "it has no schema_version"),
        ('{"schema_version": "1", "name": "x"}', "its schema_version is 1, no whole number"),
        ('{"schema_version": true, "name": "x"}', "its schema_version is true, no whole number"),
        ('{"schema_version": [1], "name": "x"}', "its schema_version is [1], no whole number"),
        ("[" * 100_000, "no results of quantcurve"),
        ('{"schema_version": ' + "1" * 5000 + ', "name": "x"}', "no results of quantcurve"),
        ("name: smollm2-135m\n", "line 1, column 1 is no JSON"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "byte 1 is 0x89, and that is no text in UTF-8"),
        (b"GGUF" + bytes(100), "line 1, column 1 is no JSON"),
        (bytes(1000), "line 1, column 1 is no JSON"),
    ],
)
def test_other_files_are_no_results(tmp_path: Path, content: str | bytes, words: str) -> None:
    assert words in refused(tmp_path, content)


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "results.json").open("wb") as file:
        file.truncate(loading.LARGEST_BYTES + 1)
    assert "larger than 256 MiB" in refusal(tmp_path / "results.json")


def test_a_newer_schema_asks_for_an_update(tmp_path: Path, good: dict[str, Any]) -> None:
    said = refused(tmp_path, good | {"schema_version": 7, "something_new": 1})
    assert "written by a newer quantcurve (schema version 7; this one reads 1): update quantcurve" in said


@pytest.mark.parametrize("version", [0, -3])
def test_an_older_schema_names_the_command_that_mends_it(tmp_path: Path, good: dict[str, Any], version: int) -> None:
    spaced = tmp_path / "my runs"
    spaced.mkdir()
    (spaced / "recipe.yaml").touch()
    said = refused(spaced, good | {"schema_version": version})
    assert f"of schema version {version}, and this quantcurve reads 1" in said
    assert said.endswith(f"quantcurve run '{spaced / 'recipe.yaml'}' --out '{spaced}'")


def test_older_schemas_are_brought_up_step_by_step(good: dict[str, Any]) -> None:
    def second(record: dict[str, Any]) -> dict[str, Any]:
        old = {key: value for key, value in record.items() if key != "version"}
        return old | {"schema_version": 1, "quantcurve_version": record["version"]}

    def first(record: dict[str, Any]) -> dict[str, Any]:
        return record | {"schema_version": 0, "version": f"0.{record['version']}"}

    oldest = {key: value for key, value in good.items() if key != "quantcurve_version"}
    oldest |= {"schema_version": -1, "version": "1.0"}
    read = loading.parse(json.dumps(oldest).encode(), Path("results.json"), {-1: first, 0: second})
    assert read == make_run().model_copy(update={"quantcurve_version": "0.1.0"})
    with pytest.raises(RecipeError, match="of schema version -1"):
        loading.parse(json.dumps(oldest).encode(), Path("results.json"), {0: second})


def changed(good: dict[str, Any], *changes: tuple[str, object]) -> dict[str, Any]:
    """A copy with values put at paths such as variants.2.file.size_bytes; None takes the key away."""
    copy = json.loads(json.dumps(good))
    for path, value in changes:
        *above, last = path.split(".")
        at = copy
        for step in above:
            at = at[int(step)] if isinstance(at, list) else at[step]
        if value is None:
            del at[last]
        else:
            at[last] = value
    return copy


KL = "variants.1.overall.divergence.kl_mean"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("variants.2.file.size_bytes", "large")], 'variants[2].file.size_bytes is "large": input should be'),
        ([("reference.file.weights", None)], "reference.file.weights is not there\n"),
        ([("machine.colour", "blue")], "machine.colour is not known\n"),
        ([(f"{KL}.value", "much")], 'variants[1].overall.divergence.kl_mean.value is "much": input should be'),
        ([(f"{KL}.value", float("nan"))], "variants[1].overall.divergence.kl_mean.value is NaN: input should be a fin"),
        ([(KL, "little")], 'variants[1].overall.divergence.kl_mean is "little": input should be'),
        ([("variants.0.speed.decode_tokens_per_s.n", [])], "variants[0].speed.decode_tokens_per_s.n is []: "),
        ([("variants", {})], "variants is {}: input should be"),
        ([("name", 3)], "name is 3: input should be"),
    ],
)
def test_one_misfit_is_named_by_its_path(
    tmp_path: Path, good: dict[str, Any], changes: list[tuple[str, object]], words: str
) -> None:
    said = refused(tmp_path, changed(good, *changes))
    assert f"not what results of schema version 1 are: {words}" in said
    assert " more field" not in said


def test_of_several_misfits_the_first_is_told_and_the_others_counted(tmp_path: Path, good: dict[str, Any]) -> None:
    broken = changed(good, ("machine.logical_cores", "two"), (f"{KL}.value", "x"), (f"{KL}.low", "x"))
    assert 'machine.logical_cores is "two": ' in refused(tmp_path, broken)
    assert ", and 2 more fields" in refused(tmp_path, broken)


def test_a_misfit_of_another_release_names_both(tmp_path: Path, good: dict[str, Any]) -> None:
    said = refused(tmp_path, changed(good, ("quantcurve_version", "0.9.3"), ("colour", "blue")))
    assert "; quantcurve 0.9.3 wrote it, this is " in said


def test_names_from_the_file_cannot_disturb_a_terminal(tmp_path: Path, good: dict[str, Any]) -> None:
    said = refused(tmp_path, good | {"\x1b[2J\ud800": 1})
    assert "\x1b" not in said and said.encode()


def test_the_command_says_it_once_and_ends_with_2(tmp_path: Path) -> None:
    folder.save(make_run([]), tmp_path)
    file = tmp_path / "results.json"
    file.write_bytes(file.read_bytes()[:-100])
    command = [sys.executable, "-m", "quantcurve.cli", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2 and not done.stdout and done.stderr.count("damaged: cut off in line") == 1
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 2
