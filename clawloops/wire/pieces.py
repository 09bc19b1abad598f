"""A body as it comes."""

from __future__ import annotations


class Pieces:
    """Bytes that wait to be read. They take no more memory than they are, in whatever pieces they come."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""

    def __len__(self) -> int:
        return len(self._data)

    def add(self, piece: bytes) -> None:
        if not self._data:  # the only one, mostly: it is not copied
            self._data = piece
        elif isinstance(self._data, bytearray):
            self._data += piece
        else:
            self._data = bytearray(self._data + piece)

    def take(self) -> bytes:
        """All of them; none is left."""
        data, self._data = self._data, b""
        return bytes(data)
