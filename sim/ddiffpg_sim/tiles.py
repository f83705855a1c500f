"""Several pictures as one sheet: tiles side by side, each with a caption in a colour of its own, and a headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .render import INK, Color, fitted

PAPER: Color = (255, 255, 255)
GAP = 6  # pixels
LINE = 22  # pixels: height of a line of text
_TEXT = 13.0  # pixels


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture, and the caption below it after a spot of ``color``."""

    picture: Image.Image
    color: Color
    caption: str


def columns_for(count: int) -> int:
    """How many of ``count`` tiles stand side by side: three at most, or four where there are seven and more."""
    return count if count <= 3 else min(4, (count + 1) // 2)


def sheet(tiles: Sequence[Tile], headline: str) -> Image.Image:
    """All ``tiles``, row by row, below the ``headline``. They must be of one size."""
    columns = columns_for(len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].picture.size
    page = _page(columns * (width + GAP) + GAP, rows * (height + LINE + GAP) + LINE)
    write(page, headline, (GAP, 0), page.width - 2 * GAP)
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        corner = (GAP + column * (width + GAP), LINE + row * (height + LINE + GAP))
        page.paste(tile.picture, corner)
        entry(page, tile.color, tile.caption, (corner[0], corner[1] + height), width)
    return page


def with_legend(pictures: Sequence[Image.Image], entries: Sequence[tuple[Color, str]], headline: str) -> Image.Image:
    """``pictures`` of one height side by side below the ``headline``; below them a line for each entry."""
    width = sum(p.width + GAP for p in pictures) + GAP
    beside = max(1, width // 240)  # entries
    lines = -(-len(entries) // beside)
    page = _page(width, LINE + pictures[0].height + GAP + lines * LINE)
    write(page, headline, (GAP, 0), width - 2 * GAP)
    left = GAP
    for picture in pictures:
        page.paste(picture, (left, LINE))
        left += picture.width + GAP
    for i, (color, text) in enumerate(entries):
        row, column = divmod(i, beside)
        corner = (GAP + column * (width // beside), LINE + pictures[0].height + GAP + row * LINE)
        entry(page, color, text, corner, width // beside)
    return page


def entry(page: Image.Image, color: Color, text: str, corner: tuple[int, int], width: int) -> None:
    """A spot of ``color`` and ``text`` after it, ``width`` pixels together, in the line with this upper left corner."""
    x, y = corner
    middle = y + LINE / 2
    ImageDraw.Draw(page).rounded_rectangle((x + 1, middle - 6, x + 13, middle + 6), 3, fill=color)
    write(page, text, (x + 20, y), width - 20)


def write(page: Image.Image, text: str, corner: tuple[int, int], width: int) -> None:
    """``text`` in the line with this upper left ``corner``, smaller or cut where it is longer than ``width`` pixels."""
    (x, y), pen = corner, ImageDraw.Draw(page)
    text, font = fitted(pen, text, width, _TEXT)
    pen.text((x, y + LINE / 2), text, fill=INK, font=font, anchor="lm")


def _page(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), PAPER)
