"""QR codes as SVG inside a page: nothing is fetched for them, and nobody else is told what is in them."""

from __future__ import annotations

import segno
from markupsafe import Markup


def drawn(text: str) -> Markup:
    """Dark on white with its quiet zone, also on a dark page: scanners want it so. Its size is the stylesheet's."""
    code = segno.make_qr(text, error="m")
    drawing = code.svg_inline(border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None)
    return Markup(drawing)  # noqa: S704 (numbers alone are in it, none of the text)
