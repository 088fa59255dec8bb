from hypothesis import given
from hypothesis import strategies as st

from reports.comparisons.block import Block, fill

blocks = st.lists(
    st.builds(
        Block,
        importance=st.integers(0, 3),
        lines=st.lists(st.text("aµ", max_size=20), max_size=12),
        before=st.lists(st.text("b", max_size=10), max_size=2),
        after=st.lists(st.text("c", max_size=10), max_size=2),
        most=st.none() | st.integers(0, 12),
    ),
    max_size=5,
)


def size(lines):
    return sum(len(line.encode()) + 1 for line in lines)


def test_all_that_fits_is_there_in_its_order():
    first = Block(1, ["- a", "- b"], before=["Title:", ""])
    second = Block(0, ["- c"], after=["", "end"])
    assert fill([first, second, Block(0, [])], 1000) == ["Title:", "", "- a", "- b", "", "- c", "", "end", ""]


def test_the_less_important_is_cut_and_says_so():
    first = Block(1, ["x" * 50] * 10, cut="{} left out.")
    second = Block(0, ["y" * 50] * 4)
    # 4 lines of 51 bytes for the more important, and what the sentences need; one more line fits.
    assert fill([first, second], 370) == ["x" * 50, "", "9 left out.", "", *["y" * 50] * 4, ""]


def test_without_any_line_only_the_sentence_is_left():
    assert fill([Block(0, ["x" * 500], before=["| head |"], after=["end"])], 100) == ["1 more left out.", ""]


@given(blocks, st.integers(0, 2000))
def test_the_room_is_kept_and_every_line_is_shown_or_counted(given_blocks, room):
    fixed = sum(size([*block.before, *block.after, block.cut, "", ""]) + 16 for block in given_blocks)
    lines = fill(given_blocks, room)
    assert size(lines) <= max(room, fixed)
    counted = sum(int(line.split()[0]) for line in lines if line.endswith("more left out."))
    kept = [line for block in given_blocks for line in block.lines]
    shown = sum(line in set(kept) and line != "" for line in lines)
    assert shown + counted >= sum(line != "" for line in kept)
