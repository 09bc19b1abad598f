"""A table for a spreadsheet, sent as its rows come: a large one is never held at once (RFC 4180)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from aiohttp import web

# A spreadsheet takes what begins so for a formula; to some of them, ";" begins a cell.
_FORMULA = re.compile(r"(^|;)\s*(?=[=+\-@\t\r])")
_PIECE = 1 << 16  # characters that are sent at once


class Table:
    """Nothing is sent before the first row, so that what is refused until then is answered as ever."""

    def __init__(self, request: web.Request, name: str, columns: Sequence[str]) -> None:
        self._request = request
        self._held = io.StringIO()
        self._writer = csv.writer(self._held)
        self._writer.writerow(columns)
        self._reply = web.StreamResponse(
            headers={"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": f'attachment; filename="{name}"'}
        )

    async def add(self, *cells: object) -> None:
        self._writer.writerow([plain(each) for each in cells])
        if self._held.tell() > _PIECE:
            await self._send()

    async def end(self) -> web.StreamResponse:
        await self._send()
        await self._reply.write_eof()
        return self._reply

    async def _send(self) -> None:
        if not self._reply.prepared:
            await self._reply.prepare(self._request)
        await self._reply.write(self._held.getvalue().encode())
        self._held.seek(0)
        self._held.truncate()


def text_of(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A small one, whole."""
    held = io.StringIO()
    writer = csv.writer(held)
    writer.writerow(columns)
    writer.writerows([plain(each) for each in row] for row in rows)
    return held.getvalue()


def plain(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return _FORMULA.sub(r"\1'", cell) if isinstance(cell, str) else cell
