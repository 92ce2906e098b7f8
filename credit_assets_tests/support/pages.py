"""What the pages of the project say that a reader types: their commands, one by one, as they stand.

Belongs here: finding pages, commands and names in them. Does not belong here: which of them are run, and where.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from docs_site.staging import FRONT, ROOT, parts, sources

_PLACE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True)
class Command:
    """A command of a page, in one line, without its comment."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its words, without assignments before it."""
        found = shlex.split(self.text)
        while found and re.fullmatch(r"[A-Z_]+=.*", found[0], re.S):
            del found[0]
        return found

    @property
    def assigned(self) -> dict[str, str]:
        """What it sets for itself alone, or by `export` for those that follow."""
        found = shlex.split(self.text)
        words = found[1:] if found[0] == "export" else found[: len(found) - len(self.words)]
        return dict(word.split("=", 1) for word in words)

    @property
    def verb(self) -> str:
        """The words of the verb of `credit-assets`; empty for another program."""
        return verb_of(self.words[1:]) if self.words[:1] == ["credit-assets"] else ""


def pages() -> Iterator[tuple[str, str]]:
    """Every page with its text, by where it stands."""
    for place in sorted({FRONT, *sources()}):
        yield place, (ROOT / place).read_text("utf-8")


def commands() -> list[Command]:
    """All commands of the blocks that are marked as such: `sh`, and `console` after its prompt."""
    found = []
    for page, text in pages():
        for code, part in parts(text):
            language = part.splitlines()[0].strip("`~ ") if code else ""
            lines = part.splitlines()[1:-1]
            if language == "console":
                lines = [line[2:] for line in lines if line.startswith("$ ")]
            if language in ("sh", "console"):
                found += [Command(page, one) for one in _statements(lines)]
    return found


def unmarked() -> list[str]:
    """Commands in blocks that are not marked as such."""
    program = re.compile(r"^(\$ )?(credit-assets (?!:)|make [a-z]|pip install|export \w+=|dagster [a-z]|mlflow [a-z])")
    return [
        f"{page}: {line}"
        for page, text in pages()
        for code, part in parts(text)
        if code and not re.match(r"(```|~~~)(sh|console|text)\n", part)
        for line in part.splitlines()[1:]
        if program.match(line)
    ]


def _statements(lines: list[str]) -> Iterator[str]:
    """Lines that belong together as one: a backslash at the end, or a quote that is still open."""
    kept = ""
    for line in lines:
        kept = f"{kept}\n{line}" if kept else line
        if kept.endswith("\\"):
            kept = kept[:-1].rstrip() + " "
            continue
        try:
            words = shlex.split(kept, comments=True)
        except ValueError:
            continue
        if words:
            yield _without_comment(kept)
        kept = ""
    assert not kept, kept


def _without_comment(line: str) -> str:
    return re.sub(r"\s+#\s[^\"']*$", "", " ".join(line.split())) if "\n" not in line else line


def spans() -> list[Command]:
    """`credit-assets VERB ...` within sentences and tables."""
    found = []
    for page, text in pages():
        for code, part in parts(text):
            if not code:
                found += [
                    Command(page, " ".join(one.split())) for one in re.findall(r"`(credit-assets [a-z-][^`]*)`", part)
                ]
    return found


def tree() -> Any:
    """The command line as click has it."""
    from typer.main import get_command

    from credit_assets.cli.main import app

    return get_command(app)


def verb_of(words: list[str]) -> str:
    """The verb that these words begin with, its groups before it."""
    found, here = [], tree()
    for word in words:
        inner = getattr(here, "commands", {})
        if word in inner:
            found.append(word)
            here = inner[word]
        elif inner:
            continue
        else:
            break
    return " ".join(found)


def filled(text: str, values: dict[str, str]) -> str:
    """The text with `$NAME` replaced. Raises KeyError where nobody has said what it is."""
    return _PLACE.sub(lambda place: values[place[1]], text)
