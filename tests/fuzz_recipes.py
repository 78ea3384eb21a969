"""Recipes with something wrong in them: the generator, and what must hold for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzz_values import KEYS, LINES, NOISE, VALUES
from fuzzing import Outcome, TooSlowError, Violation, memory_limit, processor_limit, refused
from quantcurve import sources
from quantcurve.errors import QuantcurveError, RecipeError
from quantcurve.recipe import LoadedRecipe, Recipe, load
from quantcurve.texts import load_texts

LOAD_LIMIT_S = 2.0
USE_LIMIT_S = 5.0
MEMORY_LIMIT_BYTES = 3 * 2**30

_PAIR = re.compile(r"^(?P<before>[\s-]*)(?P<key>[^\s:#{]+):(?P<value>.*)$")


def mutated_recipe(good: str, random: Random) -> bytes:
    """A recipe's text with one to four things done to it; in few cases another text altogether."""
    if random.randrange(25) == 0:
        return _whole(good, random)
    lines = good.split("\n")
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        random.choice(_EDITS)(lines, random)
    raw = "\n".join(lines).encode("utf-8", "surrogatepass")
    if random.randrange(5) == 0:
        raw = _noise(raw, random)
    return raw


def _whole(good: str, random: Random) -> bytes:
    layers = random.choice((3, 9, 30, 200))
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, layers))
    merges = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: 1}}\n" for i in range(1, 20)
    )
    depth = random.choice((20, 100, 1_000, 20_000))
    last = f"*a{layers - 1}"
    text = random.choice(
        (
            *("", "\n", "#", "---", "null", "[]", "{}", "5", "x", "\ufeff", "\ufeff" + good, good + "\0", "%", "!!str"),
            *(good + "---\n" + good, "---\n" + good + "...\n", good + good, good.replace("\n", "\r\n")),
            *(
                good.replace("\n", "\r"),
                good.replace("  ", "\t"),
                good.replace("  ", "\u00a0 "),
                good.replace(": ", ":"),
            ),
            *(laughs, laughs + good, good + laughs, laughs + good.replace("smollm2-135m\n", f"{last}\n")),
            *(laughs + good.replace("[Q8_0", f"[{last}"), laughs + good + f"engine: {last}\n"),
            *(merges, merges + good, good + merges, merges + good + "engine: *a19\n", merges + good + "<<: *a19\n"),
            *(
                "[" * depth,
                "{a: " * depth,
                "- " * depth,
                "? " * depth,
                "a:\n" + "\n".join(" " * i + "a:" for i in range(1, 300)),
            ),
            *("!!python/object/apply:os.system [exit]", "- " + "x" * 100_000, "name: " + "x" * 100_000 + "\n" + good),
            *(
                "\n" * 20_000 + "x",
                "".join(f"k{i}: {i}\n" for i in range(1_000)),
                good + "".join(f"k{i}:\n" for i in range(300)),
            ),
            good.replace("variants:", "variants: &v\n  <<: *v"),
        )
    )
    raw = text.encode("utf-8", "surrogatepass")
    if random.randrange(8) == 0:
        raw = text.encode(random.choice(("utf-16", "utf-16-le", "utf-32", "utf-7")), "surrogatepass")
    return raw


def _noise(raw: bytes, random: Random) -> bytes:
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(raw) + 1)
        cut = random.choice((0, 0, 1, 2, 10, 200))
        raw = raw[:at] + random.choice(NOISE) * random.choice((1, 1, 1, 3, 50)) + raw[at + cut :]
    return raw[: random.randrange(len(raw) + 1)] if random.randrange(6) == 0 else raw


def _any(lines: list[str], random: Random) -> int:
    return random.randrange(len(lines))


def _value(lines: list[str], random: Random) -> None:
    pairs = [i for i, line in enumerate(lines) if _PAIR.match(line)]
    if pairs:
        at = random.choice(pairs)
        found = _PAIR.match(lines[at])
        assert found
        lines[at] = f"{found['before']}{found['key']}: {random.choice(VALUES)}"


def _in_flow(lines: list[str], random: Random) -> None:
    places = [(i, m) for i, line in enumerate(lines) for m in re.finditer(r"(?<=[:,\[] )[^,\]}]+(?=[,\]}])", line)]
    if places:
        at, found = random.choice(places)
        lines[at] = lines[at][: found.start()] + random.choice(VALUES) + lines[at][found.end() :]


def _key(lines: list[str], random: Random) -> None:
    places = [(i, m) for i, line in enumerate(lines) for m in re.finditer(r"[a-z_]+(?=:)", line)]
    if places:
        at, found = random.choice(places)
        lines[at] = lines[at][: found.start()] + random.choice(KEYS) + lines[at][found.end() :]


def _new_line(lines: list[str], random: Random) -> None:
    pair = f"{random.choice(KEYS)}: {random.choice(VALUES)}"
    indent = random.choice(("", "", "  ", "    ", "  - ", "\t", " "))
    lines.insert(random.randrange(len(lines) + 1), indent + random.choice((pair, pair, random.choice(LINES))))


def _drop(lines: list[str], random: Random) -> None:
    if len(lines) > 1:
        del lines[_any(lines, random)]


def _double(lines: list[str], random: Random) -> None:
    at = _any(lines, random)
    lines[at : at + 1] = [lines[at]] * random.choice((2, 2, 50))


def _swap(lines: list[str], random: Random) -> None:
    a, b = _any(lines, random), _any(lines, random)
    lines[a], lines[b] = lines[b], lines[a]


def _indent(lines: list[str], random: Random) -> None:
    at = _any(lines, random)
    lines[at] = random.choice(("", " ", "   ", "\t", "- ", "-\t", "> ")) + lines[at].lstrip()


def _anchor(lines: list[str], random: Random) -> None:
    """An anchor on one value, and an alias to it in place of another."""
    pairs = [i for i, line in enumerate(lines) if _PAIR.match(line)]
    if len(pairs) > 1:
        first, second = sorted(random.sample(pairs, 2))
        lines[first] = re.sub(r":", ": &a", lines[first], count=1)
        lines[second] = re.sub(r":.*", ": *a", lines[second], count=1)


_EDITS: tuple[Callable[[list[str], Random], None], ...] = (
    *(_value, _value, _value, _value, _in_flow, _in_flow, _in_flow),
    *(_key, _key, _new_line, _new_line, _drop, _double, _swap, _indent, _anchor),
)


def check_recipe(path: Path) -> Outcome:
    """Load a recipe, and what it names if it loads; what must hold is that all of it ends soon, as asked for or by
    name."""
    raw = path.read_bytes()
    try:
        with memory_limit(MEMORY_LIMIT_BYTES), processor_limit(LOAD_LIMIT_S):
            loaded = load(path)
    except RecipeError as error:
        return _placed(refused("load", error, (f"{path}:",)), str(error), path, raw)
    except Exception as error:
        return refused("load", error, (f"{path}:",))
    if not isinstance(loaded, LoadedRecipe):
        return Outcome("accepted", Violation("load", f"it returned {loaded!r:.200}"))
    violation = _round_trip(loaded) or _use(loaded)
    return Outcome("accepted", violation)


def _placed(outcome: Outcome, message: str, path: Path, raw: bytes) -> Outcome:
    """An error's first line must name a line that the file has, or say that the file cannot be read."""
    rest = message.removeprefix(f"{path}:")
    number = re.match(r"(\d+): \S", rest)
    if not number and not rest.startswith(" the recipe cannot be read"):
        return outcome._replace(violation=Violation("load", f"no line in: {message:.300}"))
    last = len(re.split(rb"\r\n|\r|\n|\xc2\x85|\xe2\x80[\xa8\xa9]", raw)) + 1
    if number and not 1 <= int(number[1]) <= last:
        return outcome._replace(violation=Violation("load", f"there are not so many lines: {message:.300}"))
    return outcome


def _round_trip(loaded: LoadedRecipe) -> Violation | None:
    try:
        again = Recipe.model_validate_json(loaded.recipe.model_dump_json())
    except Exception as error:
        return Violation("round trip", f"{type(error).__name__}: {error!s:.300}")
    return None if again == loaded.recipe else Violation("round trip", "another recipe came back")


def _use(loaded: LoadedRecipe) -> Violation | None:
    """Find the model and read the texts, as a run does first."""
    uses: tuple[tuple[str, Callable[[], object]], ...] = (
        ("texts.load_texts", lambda: load_texts(loaded)),
        ("sources.locate", lambda: sources.locate(loaded.recipe.model.source, loaded.path.parent)),
    )
    for step, use in uses:
        try:
            with memory_limit(MEMORY_LIMIT_BYTES), processor_limit(USE_LIMIT_S):
                use()
        except QuantcurveError as error:
            if found := refused(step, error, ("",)).violation:
                return found
        except TooSlowError as error:
            return Violation(step, str(error))
        except Exception as error:
            return Violation(step, f"{type(error).__name__}: {error!s:.300}")
    return None
