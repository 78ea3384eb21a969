"""Which models stay open: orchestration only, with models that merely count memory."""

from __future__ import annotations

import pytest

from quantcurve.engines.pool import ModelPool
from quantcurve.errors import BackendError

GUESS = 30


class Machine:
    """100 bytes of memory, and the models in it; what happened is in `events`."""

    def __init__(self, total: int = 100) -> None:
        self.total = total
        self.sizes: dict[str, int] = {}
        self.events: list[str] = []

    def open(self, name: str) -> Model:
        if name == "broken":
            raise BackendError("broken: no such file")
        self.events.append(f"+{name}")
        self.sizes[name] = GUESS
        return Model(self, name)

    def available(self) -> int:
        return self.total - sum(self.sizes.values())

    def pool(self) -> ModelPool[Model]:
        return ModelPool(self.open, lambda _: GUESS, self.available)


class Model:
    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.name = machine, name

    def resident_bytes(self) -> int:
        return self.machine.sizes[self.name]

    def close(self) -> None:
        self.machine.events.append(f"-{self.name}")
        del self.machine.sizes[self.name]


def test_models_stay_open_while_memory_lasts():
    machine = Machine()
    with machine.pool() as pool:
        first = pool.get("a")
        assert pool.get("b") is not first
        assert pool.get("c").name == "c"
        assert pool.get("a") is first
        assert all(pool.is_open(n) for n in "abc") and not pool.is_open("d")
    assert machine.events == ["+a", "+b", "+c", "-b", "-c", "-a"]


def test_the_least_recently_used_one_is_closed_and_opened_again():
    machine = Machine()
    with machine.pool() as pool:
        for name in ("a", "b", "c", "a", "d", "b"):
            assert pool.get(name).name == name
    assert machine.events[:7] == ["+a", "+b", "+c", "-b", "+d", "-c", "+b"]


def test_a_tenth_of_the_memory_there_was_is_left_alone():
    for total, fits in ((2 * GUESS + 7, True), (2 * GUESS + 6, False)):  # 67 - 60 >= 6.7, 66 - 60 < 6.6
        with Machine(total).pool() as pool:
            pool.get("a")
            pool.get("b")
            assert pool.is_open("a") is fits


def test_a_model_larger_than_memory_is_opened_alone():
    machine = Machine(total=10)
    with machine.pool() as pool:
        pool.get("a")
        pool.get("b")
        assert (pool.is_open("a"), pool.is_open("b")) == (False, True)
    assert machine.events == ["+a", "-a", "+b", "-b"]


def test_the_measured_size_counts_from_then_on():
    machine = Machine()
    with machine.pool() as pool:
        pool.get("a")
        machine.sizes["a"] = 61
        pool.note_size("a")
        pool.drop("a")
        pool.get("b")  # leaves 70 bytes: enough for a guess, not for what `a` became and the reserve
        pool.get("a")
        assert not pool.is_open("b")


def test_a_dropped_model_is_closed_once():
    machine = Machine()
    with machine.pool() as pool:
        pool.get("a")
        pool.drop("a")
        pool.drop("a")
        pool.drop("never opened")
        assert not pool.is_open("a")
        pool.get("a")
    assert machine.events == ["+a", "-a", "+a", "-a"]


def test_a_model_that_cannot_be_opened_leaves_the_others():
    machine = Machine()
    with machine.pool() as pool:
        pool.get("a")
        with pytest.raises(BackendError, match="broken"):
            pool.get("broken")
        assert pool.is_open("a") and not pool.is_open("broken")


@pytest.mark.parametrize("error", [BackendError("died"), KeyboardInterrupt()])
def test_all_are_closed_at_the_end_also_after_an_error(error):
    machine = Machine()

    def work() -> None:
        with machine.pool() as pool:
            pool.get("a")
            pool.get("b")
            raise error

    with pytest.raises(type(error)):
        work()
    assert machine.events == ["+a", "+b", "-a", "-b"]
    assert not machine.sizes


def test_one_that_cannot_be_closed_does_not_keep_the_others_open():
    machine = Machine()

    class Stuck(Model):
        def close(self) -> None:
            super().close()
            raise OSError("stuck")

    pool = ModelPool(lambda n: Stuck(machine, machine.open(n).name), lambda _: GUESS, machine.available)
    pool.get("a")
    pool.get("b")
    with pytest.raises(OSError, match="stuck"):
        pool.__exit__(None, None, None)
    assert not machine.sizes
