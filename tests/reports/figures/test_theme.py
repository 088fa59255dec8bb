"""The colours of a figure inside a page: the palette's become properties, text and all other colours stay."""

import re

from reports.figures.theme import OKABE_ITO, THEME_CSS, with_variables


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
