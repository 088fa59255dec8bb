import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.format.escape import code, escape_comment, escape_latex, escape_markdown, one_line, shorten

# Text out of the characters that mean something to somebody, and any others.
hostile_text = st.text(st.sampled_from("ab1 @#$|`*_[]()<>&\\!~-+=.:/\n\r\t\x1b\u202e\ud800é"), max_size=30) | st.text(
    max_size=30
)


@pytest.mark.parametrize(
    ("text", "markdown", "latex"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;",
         r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}"),
        ("a|b", r"a\|b", r"a\textbar{}b"),
        ("a_b%&#", "a_b%&amp;#", r"a\_b\%\&\#"),
        ("_a_ *b* `c` [d](e)", r"\_a\_ \*b\* \`c\` \[d\](e)", r"\_a\_ *b* `c` [d](e)"),
        ("a\nb\x1b[31m", r"a b \[31m", "a b [31m"),
        (r"\input{x}$~^", r"\\input{x}$\~^", r"\textbackslash{}input\{x\}\$\textasciitilde{}\textasciicircum{}"),
    ],
)  # fmt: skip
def test_hostile_names_are_escaped(text, markdown, latex):
    assert escape_markdown(text) == markdown
    assert escape_latex(text) == latex


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        ("@user, see #12", "@&#8203;user, see #&#8203;12"),
        ("GH-7 at https://x.example", "GH-&#8203;7 at https:&#8203;//x.example"),
        ("www.x.example", "www&#8203;.x.example"),
        ("$x$", "&#36;x&#36;"),
        ("# no heading", r"\# no heading"),
        ("- no item", r"\- no item"),
        ("12. no item", r"12\. no item"),
        ("1.104 is a number", "1.104 is a number"),
        ("\x1b    no code", "no code"),
        ("=====", r"\====="),
        ("<b>&lt;", "&lt;b&gt;&amp;lt;"),
    ],
)
def test_a_comment_calls_nobody_and_begins_nothing(text, comment):
    assert escape_comment(text) == comment


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("router | random | linear", r"<code>router \| random \| linear</code>"),
        ("a_b", "<code>a_b</code>"),
        ("`@x`", "<code>&#96;&#64;x&#96;</code>"),
        ("_a_", "<code>&#95;a&#95;</code>"),
        ("</code><script>", "<code>&#60;/code&#62;&#60;script&#62;</code>"),
        ("http://www.x", "<code>http&#58;//www&#46;x</code>"),
        ("a\nb", "<code>a b</code>"),
    ],
)
def test_a_name_is_code(text, markdown):
    assert code(text) == markdown


@given(hostile_text)
def test_code_says_what_the_name_says_and_has_no_other_meaning(text):
    inside = code(text).removeprefix("<code>").removesuffix("</code>")
    assert html.unescape(inside.replace(r"\|", "|")) == one_line(text)
    assert not re.search(r"[<>@`*\[\]$~:!]|&(?!#\d+;)|(?<!\\)\||\\(?!\|)", inside)


@given(hostile_text)
def test_a_comment_is_one_line_without_tags_mentions_or_open_cells(text):
    escaped = escape_comment(text)
    assert escaped == one_line(escaped)
    assert not re.search(r"[<>]|@(?!&#8203;)|#(?=\d)(?<!&#)|:(?=//)", escaped)
    # An odd number of backslashes before it: the pipe is escaped, and not the backslash.
    assert all(len(match[1]) % 2 for match in re.finditer(r"(\\*)\|", escaped))
    assert not re.match(r"[-+#= ]|\d{1,9}[.)](\s|$)", escaped)


@given(hostile_text)
def test_one_line_holds_nothing_that_a_terminal_obeys(text):
    assert one_line(text).isprintable()
    assert len(one_line(text)) == len(text)


def test_what_is_too_long_ends_in_an_ellipsis():
    assert shorten("abcd", 4) == "abcd"
    assert shorten("abcde", 4) == "abc…"
