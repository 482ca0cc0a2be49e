"""An SVG in the making: text in lines, edges, dots, pictures. Well-formed whatever the names in it hold.

It has no script, no style sheet and no address outside the file, and brings its own ground and colours, so that it
reads the same on light and on dark pages.
"""

from __future__ import annotations

import base64
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

INK, SOFT, EDGE, TRACK = "#201c26", "#625b6b", "#8d8494", "#e6ded6"
GROUND, LINE, LIT, GLOW = "#faf8f5", "#e3ddd6", "#85205f", "#b34a00"

FONT = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML, however escaped


@dataclass(frozen=True)
class Sheet:
    """Grey edges lie below coloured ones, edges below everything else. All lengths are in units of its width."""

    width: int
    svg: Element
    ground: Element
    grey: Element
    coloured: Element
    nodes: Element

    @classmethod
    def blank(cls, width: int, *, title: str, description: str) -> Sheet:
        """`title` and `description` are what a screen reader says of it."""
        svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "font-family": FONT})
        svg.set("aria-labelledby", "title description")
        SubElement(svg, "title", id="title").text = _clean(title)
        SubElement(svg, "desc", id="description").text = _clean(description)
        ground = SubElement(svg, "rect", x="0.5", y="0.5", width=str(width - 1), rx="12", fill=GROUND, stroke=LINE)
        grey, coloured = (SubElement(svg, "g", fill="none") for _ in range(2))
        return cls(width, svg, ground, grey, coloured, SubElement(svg, "g"))

    def finished(self, height: int) -> str:
        """The sheet as an SVG document of this height."""
        self.ground.set("height", str(height - 1))
        self.svg.attrib |= {"viewBox": f"0 0 {self.width} {height}", "width": str(self.width), "height": str(height)}
        return tostring(self.svg, encoding="unicode")

    def text(self, x: int, y: int, lines: Sequence[str], *, size: int, colour: str = INK, bold: bool = False) -> int:
        """Lines from x on, the first on the baseline y; the baseline of the line that would follow."""
        self._text(x, y, lines, {"font-size": str(size), "fill": colour}, bold=bold)
        return y + len(lines) * leading(size)

    def figure(self, end: int, y: int, text: str, *, size: int, colour: str = INK, bold: bool = False) -> None:
        """A number whose last digit stands at `end`."""
        self._text(end, y, [text], {"font-size": str(size), "fill": colour, "text-anchor": "end"}, bold=bold)

    def _text(self, x: int, y: int, lines: Sequence[str], look: dict[str, str], *, bold: bool) -> None:
        element = SubElement(self.nodes, "text", {**look, "font-weight": "600"} if bold else look)
        for number, line in enumerate(lines):
            part = SubElement(element, "tspan", x=str(x), y=str(y + number * leading(int(look["font-size"]))))
            part.text = _clean(line)
            part.tail = " "

    def edge(self, way: str, *, colour: str = EDGE, width: float = 1.5) -> None:
        """A line along `way`, a path of SVG."""
        group = self.grey if colour == EDGE else self.coloured
        SubElement(group, "path", {"d": way, "stroke": colour, "stroke-width": str(width)})

    def dot(self, x: int, y: int, radius: float, *, fill: str, stroke: str, width: float) -> None:
        """Draw a circle around x, y."""
        place = {"cx": str(x), "cy": str(y), "r": str(radius)}
        SubElement(self.nodes, "circle", {**place, "fill": fill, "stroke": stroke, "stroke-width": str(width)})

    def bar(self, x: int, y: int, length: int, *, share: float) -> None:
        """A share in [0, 1] of a track."""
        for part, colour in ((length, TRACK), (round(length * share, 1), LIT)):
            SubElement(self.nodes, "rect", x=str(x), y=str(y), width=str(part), height="5", rx="2.5", fill=colour)

    def picture(self, x: int, y: int, side: int, *, png: bytes) -> None:
        """Draw a square PNG, `side` wide, with its upper left corner at x, y."""
        place = {"x": str(x), "y": str(y), "width": str(side), "height": str(side)}
        SubElement(self.nodes, "image", {**place, "href": f"data:image/png;base64,{base64.b64encode(png).decode()}"})


def leading(size: int) -> int:
    """The distance from one line of text to the next, for letters of this size."""
    return round(size * 1.3)


def wrapped(text: str, width: int, *, size: int, bold: bool = False, most: int = 3) -> list[str]:
    """Lines that fit into `width` in any of the usual fonts; at most so many."""
    wide = any(unicodedata.east_asian_width(c) in "WF" for c in text)
    letter = 1.0 if wide else 0.75 if text.isupper() else 0.6 if bold else 0.53  # of the size; DejaVu's, a wide font
    return textwrap.wrap(text, max(1, int(width / (size * letter))), max_lines=most, placeholder="…") or [""]


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
