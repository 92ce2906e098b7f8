"""Build the site: `python -m docs_site [--out FOLDER]`. A link, an anchor or a page of the contents that leads nowhere
fails it; nothing is asked of the network.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from docs_site.staging import ROOT, stage


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m docs_site", description="Build the docs as a site.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="folder of the site")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "docs", help="folder of what it is made from")
    asked = parser.parse_args(argv)
    stage(asked.work)
    return build(asked.work, asked.out)


def build(work: Path, out: Path) -> int:
    """HTML of what is staged in `work`, whole or not at all; the exit code."""
    from sphinx.cmd.build import build_main

    made = out.with_name(f".{out.name}-new")
    shutil.rmtree(made, ignore_errors=True)
    strict = ["-q", "--fail-on-warning", "--keep-going"]
    places = ["-c", str(Path(__file__).parent), "-d", str(work / "doctrees"), "-D", f"html_extra_path={work / 'extra'}"]
    code = build_main([*strict, *places, "-b", "html", str(work / "pages"), str(made)])
    if code == 0:
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
        print(f"Built {out / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
