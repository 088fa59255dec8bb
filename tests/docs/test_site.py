"""The site has every page, and its pages are written as such; what needs mkdocs is `tox run -e docs`."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.loading.schema import json_schema
from routers.metric import METRICS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((DOCS / "mkdocs" / "mkdocs.yml").read_text())
FROM_THE_ROOT = {"index.md", "contributing.md", "changelog.md", "license.md"}
"""Pages that `docs/mkdocs/root_pages.py` adds."""
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def entries(nav: Any) -> Iterator[str]:
    """The pages in a part of the navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(part)


def test_every_page_is_in_the_navigation_once_and_every_entry_is_a_page() -> None:
    assert sorted(entries(CONFIG["nav"])) == sorted({*PAGES, *FROM_THE_ROOT})


def test_pages_from_the_root_are_those_that_the_site_adds() -> None:
    added = re.findall(r'": "([a-z]+\.md)"', (DOCS / "mkdocs" / "root_pages.py").read_text())
    assert set(added) == FROM_THE_ROOT


def test_what_the_configuration_names_exists() -> None:
    site = DOCS / "mkdocs"
    theme = site / CONFIG["theme"]["custom_dir"]
    assert all((site / name).is_file() for name in CONFIG["hooks"])
    assert all(
        (theme / name).is_file()
        for name in (*CONFIG["extra_css"], *CONFIG["extra_javascript"], *CONFIG["extra"]["polyfills"])
    )
    assert (site / CONFIG["docs_dir"]).resolve() == DOCS
    assert (site / CONFIG["site_dir"]).resolve() == ROOT / "build" / "site"


def test_pictures_of_a_report_that_is_not_there_are_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(DOCS / "mkdocs" / "pictures.py"))["main"]
    assert main(str(tmp_path / "index.html")) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_pictures_that_pages_show_exist_and_are_small() -> None:
    shown = {name for page in PAGES for name in re.findall(r"pictures/([\w-]+\.\w+)\)", (DOCS / page).read_text())}
    there = {path.name for path in (DOCS / "pictures").iterdir()}
    assert shown == there
    assert all(path.stat().st_size < 200_000 for path in (DOCS / "pictures").iterdir())


def test_nothing_is_fetched_from_elsewhere() -> None:
    assert CONFIG["theme"]["font"] is False
    plugins = {
        name: options for plugin in CONFIG["plugins"] if isinstance(plugin, dict) for name, options in plugin.items()
    }
    assert plugins["privacy"]["assets_fetch"] is False
    for page in PAGES:
        assert not re.search(r"!\[[^]]*\]\(https?:|<(script|link|iframe)\b", (DOCS / page).read_text()), page


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_a_reference_by_mistake(page: str) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", (DOCS / page).read_text(), flags=re.DOTALL)
    assert not re.findall(r"\]\[.*?\]", text), "in the site two brackets are a reference: write them as code"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_one_title_and_begins_with_what_it_is_for(page: str) -> None:
    text = re.sub(r"```.*?```", "", (DOCS / page).read_text(), flags=re.DOTALL)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    title, first = re.split(r"\n{2,}", text.strip())[:2]
    assert title.startswith("# ")
    assert re.match(r"[A-Z`*\[]", first), f"{page} begins with {first[:60]!r}"
    assert not first.startswith("    ")


def test_what_the_reference_documents_is_defined_under_that_name() -> None:
    names = {name for page in PAGES for name in re.findall(r"^::: (\S+)", (DOCS / page).read_text(), re.MULTILINE)}
    assert len(names) > 100
    for name in names:
        package, *parts = name.split(".")
        path = ROOT / package
        while parts and (path / parts[0]).is_dir():
            path /= parts.pop(0)
        module = path / f"{parts[0]}.py" if parts else path / "__init__.py"
        if module.is_file():
            parts = parts[1:]
        else:
            module = path / "__init__.py"
        source = module.read_text()
        assert not parts or re.search(rf'^(class|def) {parts[0]}\b|"{parts[0]}"', source, re.MULTILINE), name


def test_every_metric_has_its_formula_explained() -> None:
    page = (DOCS / "explanation" / "metrics.md").read_text()
    for name, metric in METRICS.items():
        assert f"**{metric.label}**" in page, name
        assert f"`{name}`" in page, name


def test_every_field_that_reports_read_of_a_run_is_described() -> None:
    page = (DOCS / "reference" / "json.md").read_text()
    schema = json_schema("bench")
    # Where a measurement was read from, and what pytest-benchmark says of it, are no fields of its own.
    read = {name for record in schema["$defs"].values() for name in record.get("properties", {})}
    read -= {"source", "durations"}
    assert len(read) > 80
    assert not {name for name in read if not re.search(rf'[`"]{name}[`"]', page)}
