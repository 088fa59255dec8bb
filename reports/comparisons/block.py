"""Lists that share a limited space: each gets what it needs while there is room, the more important ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Lines between others, of which the last may be left out.

    Attributes:
        importance: the smallest is given room first.
        before: stands above the lines, where there are any.
        lines: what may be cut.
        after: stands below them.
        cut: says that some are missing, with their number in place of `{}`.
        most: of the lines are kept, whatever the room.
    """

    importance: int
    lines: Sequence[str]
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    cut: str = "{} more left out."
    most: int | None = None

    def written(self, kept: int) -> list[str]:
        """The block with so many of its lines, and the sentence about the others."""
        missing = len(self.lines) - kept
        remark = [self.cut.format(f"{missing:,}")] if missing else []
        if not kept:
            return [*remark, ""] if remark else []
        return [*self.before, *self.lines[:kept], *(["", *remark] if remark else []), *self.after, ""]


def fill(blocks: Sequence[Block], room: int) -> list[str]:
    """The blocks' lines in their order, together of at most so many bytes in UTF-8, line breaks included.

    Headings and the sentences about what is missing are counted first, so that they always fit.
    """
    room -= sum(
        _size([*block.before, *block.after, block.cut, "", ""]) + _DIGITS for block in blocks if len(block.lines)
    )
    kept: dict[int, int] = {}
    for index in sorted(range(len(blocks)), key=lambda index: blocks[index].importance):
        lines = blocks[index].lines[: blocks[index].most]
        count = 0
        while count < len(lines) and _size(lines[count : count + 1]) <= room:
            room -= _size(lines[count : count + 1])
            count += 1
        kept[index] = count
    return [line for index, block in enumerate(blocks) for line in block.written(kept[index])]


# A number of lines in place of `{}` takes up to so many more bytes.
_DIGITS = 16


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
