"""A memory that strangers fill stays as small as it was made."""

from gateway.bounded_memory import BoundedMemory


def test_what_was_not_used_for_longest_is_forgotten_first() -> None:
    memory: BoundedMemory[str, int] = BoundedMemory(2, 100)
    memory.put("a", 1)
    memory.put("b", 2)
    memory.put("a", 3)
    memory.put("c", 4)
    assert [memory.get(key) for key in "cba"] == [4, None, 3]
    assert len(memory) == 2
    assert "b" not in memory
    memory.put("d", 5)
    assert [memory.get(key) for key in "acd"] == [3, None, 5]


def test_it_is_bounded_in_bytes_and_counts_each_value_once() -> None:
    memory: BoundedMemory[int, str] = BoundedMemory(1_000, 100)
    for key in range(1_000):
        memory.put(key % 20, "x", 40)
        assert len(memory) <= 2
    memory.put(1, "too large", 101)
    assert len(memory) == 0
    memory.put(2, "fits", 100)
    memory.forget(2)
    memory.put(3, "fits", 100)
    assert memory.get(3) == "fits"
