"""HTML as documents: sections, tables, charsets, what is left out, hostile pages."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

import collegium
from collegium.readers import markup
from collegium.readers.html import decode_page
from collegium.readers.html_blocks import parse
from ingest_data import read, read_one


def text_of(page: str) -> str:
    return parse(page).to_markdown()


def test_headings_lists_code_and_tables_are_markdown() -> None:
    page = """<!DOCTYPE html><html><head><title>A  page &amp; more</title></head><body>
      <h1>Tea<a class="headerlink" href="#tea">¶</a></h1>
      <p>Green <b>tea</b>,<br>two&nbsp;minutes.
      <ul><li>one<li><p>two</p><p>its second paragraph</ul>
      <h2>Code &#x26; data</h2>
      <pre>
if x &lt; 1:
    <i>pass</i>
</pre>
      <table><caption>Times</caption>
        <tr><th>kind<th>minutes</tr><tr><td>green</td><td>2</td></tr>
      </table></body></html>"""
    parsed = parse(page)
    assert parsed.title == "A page & more"
    assert parsed.to_markdown() == (
        "# Tea\n\nGreen tea,\ntwo minutes.\n\n- one\n- two\n\nits second paragraph\n\n"
        "## Code & data\n\n```\nif x < 1:\n    pass\n```\n\n"
        "Times\n\nkind | minutes\ngreen | 2"
    )


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>if (a < b) { document.write('<p>hidden</p>') }</script>",
        "<style>p { color: hidden }</style>",
        "<nav><ul><li>hidden</ul></nav>",
        "<div class='x navheader'>hidden<table><tr><td>hidden</table></div>",
        "<div role=navigation>hidden</div>",
        "<div hidden>hidden</div>",
        "<span aria-hidden='true'>hidden</span>",
        "<select><option>hidden</select><textarea><p>hidden</textarea><button>hidden</button>",
        "<svg><title>hidden</title><text>hidden</text></svg>",
        "<template><p>hidden</p></template>",
        "<!-- hidden --><!---> <!-- <p>hidden</p> -->",
        "<?php hidden ?><![CDATA[hidden]]>",
        "<!--Navigation Panel--><p>hidden<!--End of Navigation Panel-->",
        "<p title='hidden > hidden'></p>",
    ],
)
def test_what_no_reader_sees_is_left_out(hidden: str) -> None:
    assert text_of(f"<p>before</p>{hidden}<p>after</p>") == "before\n\nafter"


def test_text_that_looks_like_markdown_makes_no_sections() -> None:
    assert (
        text_of("<p># one<p>a<br>## two<br>#three<p>```")
        == "\\# one\n\na\n\\## two\n#three\n\n\\```"
    )
    assert text_of("<pre># x\n```\ny</pre>") == "````\n# x\n```\ny\n````"


def test_a_table_that_lays_out_a_page_is_read_as_its_contents() -> None:
    page = (
        "<table><tr><td><h2>Left</h2><p>one<p>two</td><td>right</td></tr></table>"
        "<table><tr><td>a</td><td><table><tr><td>b</td><td>c</td></tr></table></td></tr></table>"
    )
    assert text_of(page) == "## Left\n\none\n\ntwo\n\nright\n\na\n\nb | c"


def test_end_tags_that_are_missing_or_too_many_do_no_harm() -> None:
    assert text_of("<div><table><tr><td>a</div></p><td>b<tr><td>c</table>d</div>e") == (
        "a | b\nc\n\nd\n\ne"
    )
    assert text_of("<h1>open<h2>closed</h2><p>x") == "# open\n\n## closed\n\nx"
    assert text_of("</div></td></body>x") == "x"
    assert text_of("a < b &amp; c <3 x</p>") == "a < b & c <3 x"


def test_an_unclosed_part_that_is_left_out_ends_with_its_parent() -> None:
    assert text_of("<div><nav>menu</div><p>text") == "text"


def test_every_visible_word_of_a_random_page_is_there_in_order() -> None:
    """The oracle is the tree that the page was written from."""
    for seed in range(50):
        draw = random.Random(seed)
        words: list[str] = []

        def word(hidden: bool, draw: random.Random, words: list[str]) -> str:
            name = f"w{draw.randrange(10**9)}"
            if not hidden:
                words.append(name)
            return f" {name} "

        def element(depth: int, hidden: bool, draw: random.Random, words: list[str]) -> str:
            if depth == 0 or draw.random() < 0.2:
                return word(hidden, draw, words)
            tag = draw.choice(
                "div p ul li section b i span blockquote pre script nav table h2 dl".split()
            )
            inner_hidden = hidden or tag in ("script", "nav")
            if tag == "script":
                return f"<script>{word(True, draw, words)}<p></script>"
            if tag == "table":
                rows = [
                    "".join(
                        f"<td>{element(depth - 1, inner_hidden, draw, words)}</td>"
                        for _ in range(draw.randrange(1, 4))
                    )
                    for _ in range(draw.randrange(1, 4))
                ]
                return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
            inside = "".join(
                element(depth - 1, inner_hidden, draw, words) for _ in range(draw.randrange(1, 4))
            )
            return f"<{tag} class='c' id={draw.randrange(9)}>{inside}</{tag}>"

        page = "".join(element(5, False, draw, words) for _ in range(5))
        seen = [w for w in text_of(page).split() if w.startswith("w")]
        assert seen == words, seed


HOSTILE = {
    "nested": "<div>" * 50_000,
    "closed": "<div>" * 25_000 + "</p>" * 25_000,
    "tables": "<table><tr><td>x" * 7_500,
    "cells": "<table>" + "<tr><td>x" * 12_500,
    "cell ends": "<table><tr><td>" * 7_500 + "</td>" * 7_500,
    "comments": "<!--" * 25_000,
    "quotes": "<a b='" * 25_000,
    "tags": "<a" * 50_000,
    "ends": "</" * 50_000,
    "instructions": "<?" * 50_000,
    "less": "<" * 75_000,
    "attributes": "<a " + "b=1 " * 25_000 + ">",
    "spaces": "<a" + " " * 125_000,
    "equals": "<a" + " = " * 50_000,
    "titles": "<title>" * 25_000,
    "scripts": "<script>" * 25_000,
    "entities": "&#" * 50_000 + "&a" * 50_000,
    "headings": "<h1>x" * 12_500,
    "skipped": "<nav>" * 25_000,
    "breaks": "x<br>" * 25_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_page_takes_time_in_proportion_to_its_length(name: str) -> None:
    page = HOSTILE[name]

    def seconds(text: str) -> float:
        began = time.process_time()
        parse(text).to_markdown()
        return time.process_time() - began

    # Time that grows with the square would be 16 times as long; the constant is for noise.
    assert seconds(page) <= 8 * seconds(page[: len(page) // 4]) + 0.5


def test_the_scanner_never_fails_and_keeps_text() -> None:
    draw = random.Random(5)
    alphabet = ["<", ">", "/", "!", "-", "--", "a", "td", "=", "'", '"', " ", "&", "#", ";", "?"]
    for _ in range(5000):
        page = "".join(draw.choices(alphabet, k=draw.randrange(1, 40)))
        for token in markup.scan(page):
            if isinstance(token, markup.StartTag):
                assert token.name[0].isalpha()
        parse(page).to_markdown()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("<p>é東".encode(), "é東"),
        ("<p>é東".encode("utf-8-sig"), "é東"),
        (b"\xff\xfe" + "<p>é東".encode("utf-16-le"), "é東"),
        ('<meta charset="iso-8859-1"><p>é“'.encode("cp1252"), "é“"),
        ("<META http-equiv=Content-Type content='text/html; charset=Shift_JIS'><p>東".encode(
            "shift_jis"), "東"),
        ("<meta charset=koi8-r><p>чай".encode("koi8-r"), "чай"),
        ('<?xml version="1.0" encoding="iso-8859-2"?><p>ž'.encode("iso-8859-2"), "ž"),
        ("<p>é“".encode("cp1252"), "é“"),
        (b"<p>\x81\xe9", "\x81é"),
        (b"<meta charset=rot13><p>abc", "abc"),
        (b"<meta charset=zlib><p>abc", "abc"),
        (b"<meta charset=utf-16><p>abc", "abc"),
        (b"<meta charset=no-such-thing><p>abc", "abc"),
    ],
)  # fmt: skip
def test_the_charset_is_what_a_browser_would_take(data: bytes, expected: str) -> None:
    assert text_of(decode_page(data, "a.html")) == expected


def test_a_page_that_is_not_what_it_declares_is_refused(tmp_path: Path) -> None:
    data = b"<meta charset='euc-jp'><p>\xff\xff"
    with pytest.raises(collegium.InvalidArgumentError, match=r"a\.html: not euc-jp at byte 26"):
        read(tmp_path, "a.html", data, "html")
    assert read_one(tmp_path, "a.html", data, "html", encoding_errors="replace").text


def test_title_of_page_heading_or_file(tmp_path: Path) -> None:
    assert read_one(tmp_path, "a_b.html", "<title>T</title><h1>H</h1>", "html").title == "T"
    assert read_one(tmp_path, "a_b.html", "<title> </title><h1>H</h1>", "html").title == "H"
    assert read_one(tmp_path, "a_b.html", "<p>x", "html").title == "a b"


@pytest.mark.parametrize("page", ["<html></html>", "<script>x</script>", "<p> </p>"])
def test_a_page_without_text_is_refused(tmp_path: Path, page: str) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="a page without text"):
        read(tmp_path, "a.html", page, "html")


def test_paragraphs_and_items_need_no_end_tags() -> None:
    page = "<div>" + "<p>x" * 3000 + "<ul>" + "<li>y" * 3000 + "</ul></div><nav>n</nav><p>z"
    assert text_of(page).split() == ["x"] * 3000 + ["-", "y"] * 3000 + ["z"]
