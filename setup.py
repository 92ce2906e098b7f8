"""The page of the package: the README with links that lead somewhere from there.

`SOURCE_URL=https://github.com/lender/credit-assets/blob/v0.1.0 uv build` makes them links to that place. Without it
what is linked is named and not linked, since nobody can follow `docs/policy.md` from a package index. Everything else
stands in pyproject.toml.
"""

import os
import re
from pathlib import Path

from setuptools import setup

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")


def page(readme: str, source: str) -> str:
    """The README with links below `source`; without pictures and with the texts of links alone where that is empty."""

    def absolute(found: "re.Match[str]") -> str:
        picture, text, target = found.groups()
        if not source:
            return "" if picture else text
        shown = source.replace("/blob/", "/raw/", 1) if picture else source
        return f"{picture}[{text}]({shown.rstrip('/')}/{target})"

    return _LINK.sub(absolute, readme)


if __name__ == "__main__":
    setup(
        long_description=page(Path("README.md").read_text("utf-8"), os.environ.get("SOURCE_URL", "")),
        long_description_content_type="text/markdown",
    )
