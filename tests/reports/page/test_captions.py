"""No table and no figure without words that say what is to be seen."""

import copy

from reports.loading.load import load_report_data
from reports.page.sections import build_sections


def test_every_table_and_figure_has_a_title_and_a_caption_of_sentences(
    pristine, pristine_language, pristine_tuning, save
):
    document = copy.deepcopy(pristine)
    document["benchmarks"] += pristine_language["benchmarks"]
    document["study"]["language_model"] = pristine_language["study"]["language_model"]
    paths = [save(document), save(pristine_tuning, "tuning.json")]
    sections = build_sections(load_report_data(paths))
    shown = [each for section in sections for each in (*section.tables, *section.plots)]
    assert len({(type(each), each.name) for each in shown}) == len(shown) > 40
    for each in shown:
        assert each.title.rstrip("."), each.name
        assert each.caption.endswith("."), each.name
        assert len(each.caption) >= 60, each.name
