"""The colours of a figure inside a page: the palette's become properties, text and all other colours stay."""

import re

import pytest

from reports.figures.theme import OKABE_ITO, PIXELS, THEME_CSS, with_variables


def test_colours_of_the_palette_become_properties_with_themselves_as_fallback():
    svg = '<g><path d="M 0 0" style="fill: #ffffff; stroke: #222222; stroke-width: 0.8"/></g>'
    assert with_variables(svg) == (
        '<g><path d="M 0 0" style="fill: var(--figure-paper, #ffffff); stroke: var(--figure-ink, #222222); '
        'stroke-width: 0.8"/></g>'
    )
    assert with_variables('<text style="fill: #123456">').count("var(") == 0


def test_a_name_that_reads_like_a_style_stays_a_name():
    svg = '<text style="fill: #222222">style="fill: #222222"</text>'
    assert with_variables(svg) == '<text style="fill: var(--figure-ink, #222222)">style="fill: #222222"</text>'


def test_every_property_is_set_for_light_and_dark():
    blocks = [set(re.findall(r"--figure-[\w-]+", block)) for block in THEME_CSS.splitlines()]
    assert len(blocks) == 3
    assert blocks[0] == blocks[1] == blocks[2]
    used = set(re.findall(r"--figure-[\w-]+", with_variables(f'<a style="{"; ".join(f"x: {c}" for c in OKABE_ITO)}">')))
    assert used < blocks[0]


def luminance(colour):
    """WCAG's relative luminance of `#rrggbb`."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first, second):
    low, high = sorted(luminance(colour) + 0.05 for colour in (first, second))
    return high / low


@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
def test_lines_and_points_stand_out(block):
    found = dict(re.findall(r"--figure-([\w-]+): (#\w+)", THEME_CSS.splitlines()[block]))
    for name in ("ink", "quiet", "faint", "series-1"):
        assert contrast(found[name], found["paper"]) >= 3, name
    # Points of the first series lie on areas of noise.
    assert contrast(found["series-1"], found["band"]) >= 3
    assert contrast(found["series-1"], found["series-5"]) >= 1.5
    # Points and thick lines in ink lie on bars and thin lines of the fifth.
    assert contrast(found["ink"], found["series-5"]) >= 3


def test_what_is_rasterised_looks_the_same_and_follows_no_theme():
    for colour, pixel in zip(OKABE_ITO, PIXELS, strict=True):
        assert abs(int(colour[1:], 16) - int(pixel[1:], 16)) == 1
        assert "var(" not in with_variables(f'<path style="fill: {pixel}"/>')
