"""The figures of the house: `python .ci/house.py`. Its limits are tests (credit_assets_tests/test_house.py).

How long the tests take is told by CPU seconds, which another program on the machine moves less than it does minutes:
`bash -c 'time make test'`, user and sys added up.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "credit_assets"


def classes(trees: dict[Path, ast.Module]) -> Iterator[tuple[int, str]]:
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield (node.end_lineno or 0) - node.lineno + 1, f"{node.name} ({module.relative_to(PACKAGE)})"


def private_names() -> tuple[int, int]:
    """Uses of private names of others by ruff's SLF001 and PLC2701: in all of the package, and outside the doors."""
    command = [str(Path(sys.executable).parent / "ruff"), "check", "--preview", "--select", "SLF001,PLC2701"]
    command += ["--output-format", "json", "--exit-zero"]
    counts = []
    for more in (["--config", "lint.per-file-ignores={}"], []):
        found = subprocess.run([*command, *more, str(PACKAGE)], capture_output=True, text=True, check=True, cwd=ROOT)
        counts.append(len(json.loads(found.stdout)))
    return counts[0], counts[1]


def main() -> None:
    texts = {module: module.read_text("utf-8") for module in sorted(PACKAGE.rglob("*.py"))}
    trees = {module: ast.parse(text) for module, text in texts.items()}
    lines = {str(module.relative_to(PACKAGE)): len(text.splitlines()) for module, text in texts.items()}
    longest = max(lines, key=lines.__getitem__)
    size, name = max(classes(trees))
    everywhere, outside = private_names()
    print(f"lines of product code: {sum(lines.values()):,} in {len(lines)} modules")
    print(f"largest module: {longest}, {lines[longest]} lines")
    print(f"largest class: {name}, {size} lines")
    print(f"private names of others: {everywhere}, of them outside the doors {outside}")


if __name__ == "__main__":
    main()
