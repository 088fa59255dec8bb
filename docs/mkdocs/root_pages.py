"""Pages of the site that stand in the root of the repository: the README is the home.

Links in all Markdown files are those of the repository, so that they work where its files are read; here each becomes
the link between the two pages of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
}
"""Path in the repository -> page of the site."""
_LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from the root; the licence, which is plain text, as such."""
    for path, page in PAGES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        content = text if path.endswith(".md") else f"# License\n\n```text\n{text}\n```\n"
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text with the site's links."""
    here = page.file.src_uri
    origins = {page: path for path, page in PAGES.items()}
    folder = posixpath.dirname(origins.get(here, f"docs/{here}"))

    def linked(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        found = PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(found, posixpath.dirname(here) or '.')}"

    return _LINK.sub(linked, markdown)
