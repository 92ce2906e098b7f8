"""The pages of the repository as one tree of sources: what `docs/` has, and what it links to elsewhere in the checkout.

Belongs here: where a page goes, where its links lead, what its markers stand for. Does not belong here: what is made
from the code (`docs_site.reference`), and how a page looks (`docs_site/conf.py`).

Two markers stand in pages, each a comment that GitHub does not show:
`<!-- contents -->` makes the page the parent of those that its lists and tables link to first, in their order;
`<!-- generated: NAME -->` is replaced by a reference made from the code of this checkout.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from docs_site.reference import GENERATED, SCHEMA, schema_text

ROOT = Path(__file__).resolve().parents[1]
# Pages that stand elsewhere in the repository, where people look for them.
ELSEWHERE = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "examples/credit_assets_example_extension/README.md": "example-extension.md",
    "examples/postgresql/README.md": "postgresql-roles.md",
}
# The page before the site's first, on GitHub and on the package's page.
FRONT = "README.md"
# By ending, what a file of the checkout is shown as.
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
    ".lock": "text",
    ".sql": "sql",
    "": "text",
}
# As a page of its own beside those of Sphinx.
OPENS = ".html"

# Endings of a picture of which there are two: a page names the light one, which GitHub shows, and the site has that of
# the reader's colours.
LIGHT, DARK = "-light.png", "-dark.png"

_FENCE = re.compile(r"^\s*(```|~~~)")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_MARKER = re.compile(r"^<!-- (contents|generated: ([a-z-]+)) -->$", re.M)
_ITEM = re.compile(r"^(?:- |\d+\. |\| )(?:\*\*)?\[[^\]]*\]\(([^)#\s]+\.md)\)", re.M)


def sources() -> dict[str, str]:
    """Where each page goes in the site, by where it stands in the repository."""
    own = {
        path.relative_to(ROOT).as_posix(): path.relative_to(ROOT / "docs").as_posix()
        for path in sorted((ROOT / "docs").rglob("*.md"))
    }
    return own | ELSEWHERE


def stage(work: Path) -> None:
    """Write all pages and what they show below `work/pages`, what opens by itself below `work/extra`, and take away
    what is no longer theirs.

    A file that has not changed is left as it is, so that a second build makes only what has.
    """
    pages = sources()
    files: dict[str, bytes] = {}
    extra: dict[str, bytes] = {SCHEMA: schema_text().encode()}
    for source, place in pages.items():
        links = Links(source, pages)
        text = links.rewritten((ROOT / source).read_text("utf-8"))
        files[place] = expanded(text, contents(text)).encode()
        for shown in links.files:
            (extra if shown.endswith(OPENS) else files).update(_shown(shown))
    _write(work / "pages", files)
    _write(work / "extra", extra)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in [path for path in folder.rglob("*") if path.is_file()]:
        if old.relative_to(folder).as_posix() not in files:
            old.unlink()
    for place, content in files.items():
        path = folder / place
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def contents(text: str) -> list[str]:
    """The pages that the lists and tables of a page of the site link to first, in their order; none where it has no
    contents.
    """
    if "<!-- contents -->" not in text:
        return []
    return list(dict.fromkeys(_ITEM.findall(text)))


def expanded(text: str, pages: list[str]) -> str:
    """A page with its markers replaced. Raises KeyError for a reference that nobody makes."""

    def replaced(marker: re.Match[str]) -> str:
        if marker[2]:
            return GENERATED[marker[2]]()
        return "\n".join(["```{toctree}", ":hidden:", "", *pages, "```"])

    return _MARKER.sub(replaced, text)


class Links:
    """The links of one page, made to lead to where things are in the site. `files` are those of no page."""

    def __init__(self, source: str, pages: dict[str, str]) -> None:
        self.source, self.pages = source, pages
        self.files: list[str] = []

    def rewritten(self, text: str) -> str:
        return outside_code(text, lambda part: _LINK.sub(self._led, part))

    def _led(self, link: re.Match[str]) -> str:
        picture, words, target = link.groups()
        # A picture may be a link itself.
        words = _LINK.sub(self._led, words)
        if "://" in target or target.startswith(("#", "mailto:")):
            return f"{picture}[{words}]({target})"
        path, _, anchor = target.partition("#")
        found = os.path.normpath(PurePosixPath(self.source).parent / path)
        if (ROOT / found).is_dir():
            found += "/README.md"
        if found in self.pages or found == FRONT:
            led = self._from_here(self.pages.get(found, "index.md"))
            return f"{picture}[{words}]({led}{'#' + anchor if anchor else ''})"
        if not (ROOT / found).is_file():
            raise FileNotFoundError(f"{self.source}: [{words}]({target}) leads nowhere")
        self.files.append(found)
        led = self._from_here(place_of(found))
        if led.endswith(OPENS):
            # As a page of its own, which opens; a link of Sphinx would have it saved.
            return f'<a href="{led}">{words}</a>'
        dark = found.replace(LIGHT, DARK)
        if picture and dark != found and (ROOT / dark).is_file():
            self.files.append(dark)
            return f"![{words}]({led}){{.only-light}}![{words}]({self._from_here(place_of(dark))}){{.only-dark}}"
        return f"{picture}[{words}]({led})"

    def _from_here(self, place: str) -> str:
        return os.path.relpath(place, PurePosixPath(self.pages[self.source]).parent)


def place_of(file: str) -> str:
    """Where a file that is no page goes: what `docs/` has at its own place, code as a page of its own."""
    if file.startswith("docs/"):
        return file.removeprefix("docs/")
    return f"files/{file}.md" if Path(file).suffix in LANGUAGES else f"files/{file}"


def _shown(file: str) -> dict[str, bytes]:
    content, place = (ROOT / file).read_bytes(), place_of(file)
    if place.endswith(".md"):
        text = f"---\norphan: true\n---\n# `{file}`\n\n````{LANGUAGES[Path(file).suffix]}\n{content.decode()}````\n"
        content = text.encode()
    return {place: content}


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with what stands in no block of code changed."""
    return "".join(part if code else change(part) for code, part in parts(text))


def parts(text: str) -> Iterator[tuple[bool, str]]:
    """The text in pieces, each with whether it is a block of code."""
    piece: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            yield False, "".join(piece)
            piece, fence = [line], mark[1]
        elif mark and mark[1] == fence:
            yield True, "".join([*piece, line])
            piece, fence = [], ""
        else:
            piece.append(line)
    yield bool(fence), "".join(piece)
