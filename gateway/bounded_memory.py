"""A mapping that is bounded in number and in bytes."""

from collections import OrderedDict
from math import inf
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedMemory(Generic[Key, Value]):
    """Forgets first what was not used for longest.

    Args:
        values_max: values.
        bytes_max: the sum of the sizes that they are put with.
    """

    def __init__(self, values_max: int, bytes_max: float = inf) -> None:
        self._values_max = values_max
        self._bytes_max = bytes_max
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, size: int = 0) -> None:
        self.forget(key)
        self._values[key] = value, size
        self._bytes += size
        while len(self._values) > self._values_max or self._bytes > self._bytes_max:
            _, (_, freed) = self._values.popitem(last=False)
            self._bytes -= freed

    def forget(self, key: Key) -> None:
        if (found := self._values.pop(key, None)) is not None:
            self._bytes -= found[1]
