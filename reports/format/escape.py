"""Text from JSON and from strangers, made harmless for the place where it is shown."""

from __future__ import annotations

import re

# What makes a spreadsheet compute a cell.
_FORMULA = tuple("=+-@")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "−": "$-$",
        "×": r"$\times$",
        "µ": r"\textmu{}",
        "α": r"$\alpha$",
        "–": "--",
        "“": "``",
        "”": "''",
        "≤": r"$\le$",
    }
)
_MARKDOWN_SPECIAL = re.compile(r"([\\`*\[\]|~])|(?<![^\W_])(_)|(_)(?![^\W_])")
# GitHub looks for these in the finished text, where a backslash or an entity is gone: only a character in between stops
# it. A person is mentioned, an issue linked (and told so), an address made a link, dollars set as mathematics.
_GITHUB_REACTS_TO = re.compile(r"@|#(?=\d)|\bGH-(?=\d)|:(?=//)|\bwww(?=\.)|\$", re.IGNORECASE)
_ZERO_WIDTH_SPACE = "&#8203;"
_STARTS_A_BLOCK = re.compile(r"^(?:(\d{1,9})(?=[.)](?:\s|$))|(?=[-+#=]))")
_UNSAFE_IN_CODE = re.compile(r"[^\w ,.()=+/|-]|(?<=www)\.|(?<![^\W_])_|_(?![^\W_])", re.IGNORECASE)


def one_line(text: str) -> str:
    """Text without line breaks, terminal escapes, direction marks and other characters that cannot be seen."""
    return "".join(character if character.isprintable() else " " for character in text)


def shorten(text: str, limit: int) -> str:
    """At most so many characters, the last of them an ellipsis where some are missing."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is; an underscore inside a word means nothing to it and stays."""
    html_safe = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_SPECIAL.sub(lambda match: "\\" + match.group(0), html_safe)


def escape_comment(text: str) -> str:
    """As `escape_markdown`, for a comment on GitHub: nobody is mentioned, nothing linked, no list or heading begun."""
    escaped = _GITHUB_REACTS_TO.sub(
        lambda match: "&#36;" if match.group(0) == "$" else match.group(0) + _ZERO_WIDTH_SPACE,
        escape_markdown(one_line(text).strip()),
    )
    return _STARTS_A_BLOCK.sub(r"\1\\", escaped)


def code(text: str) -> str:
    """A name as code, in a table too: what GitHub leaves alone, and what can be copied as it is.

    A code element and not backticks, inside which neither a backtick nor a pipe could be escaped.
    """
    escaped = _UNSAFE_IN_CODE.sub(lambda match: f"&#{ord(match.group(0))};", one_line(text))
    return f"<code>{escaped.replace('|', chr(92) + '|')}</code>"


def csv_cell(value: object) -> object:
    """A number as it is; a text in one line, with an apostrophe before what a spreadsheet would compute."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def escape_latex(text: str) -> str:
    """Text that LaTeX typesets as it is."""
    return one_line(text).translate(_LATEX)
