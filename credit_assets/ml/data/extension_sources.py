"""The source of a lender's extension as one hash: its module and what it imports of the lender's own code.

Belongs here: which files count, and the hash. Does not belong here: finding and importing extensions (`extensions`),
and what counts of a text (`fingerprints.code_text`).

Followed are imports, those inside functions too, into the same top-level package, into others of the same distribution,
and into modules that no distribution installed. Libraries that credit_assets itself stands on (numpy, pandas and what
they need) do not count, as they do not for the package's own formulas; any other library counts by its version, since
its code is as much a part of the formula. A file of data counts where the extension names it (`files`).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from credit_assets.ml.data.fingerprints import code_text, parsed

OURS = "credit-assets"


class Maker(NamedTuple):
    """The distribution that a module comes from; empty texts where no distribution installed it."""

    distribution: str = ""
    version: str = ""


class SourceError(ValueError):
    """A source cannot be read, so that nothing tells when it changes."""


def source_version(module: str, maker: Maker, files: Sequence[str] = (), without: str = "") -> str:
    """SHA-256 (hex) of the source of an imported module and of all that it imports of its own code.

    Comments, docstrings, layout and the words of exceptions do not count.

    Parameters
    ----------
    module
        Its name.
    maker
        The distribution it comes from.
    files
        Names of files beside the module that count byte by byte, as tables of coefficients.
    without
        A distribution whose version does not count: of a learner the one that its models name already.

    Raises
    ------
    SourceError
        Where a file has no source, or one of `files` cannot be read.
    """
    digest = hashlib.sha256()
    sources, libraries = _closure(module, maker)
    for name, text in sorted(sources.items()):
        digest.update(f"{name}\0{text}\0".encode())
    for library in sorted(one for one in libraries if _key(one.distribution) != _key(without)):
        digest.update(f"{library.distribution}=={library.version}\0".encode())
    folder = Path(_spec(module).origin or ".").parent
    for file in sorted(files):
        try:
            digest.update(f"{file}\0".encode() + hashlib.sha256((folder / file).read_bytes()).digest())
        except OSError as error:
            raise SourceError(f"its file {file} cannot be read in {folder} ({error.strerror})") from error
    return digest.hexdigest()


def maker_of(module: str) -> Maker:
    """The installed distribution that a module comes from."""
    return _maker(module.partition(".")[0], tuple(sys.path))


def _closure(module: str, maker: Maker) -> tuple[dict[str, str], set[Maker]]:
    """What counts of each module of the lender's own, by name, and the libraries they use beside the platform's."""
    sources: dict[str, str] = {}
    libraries: set[Maker] = set()
    top, waiting = module.partition(".")[0], [module]
    while waiting:
        name = waiting.pop()
        if name in sources or (spec := _found(name)) is None:
            continue
        text = _source(spec)
        sources[name] = _bytes(spec) if text is None else _counted(name, text)
        for imported in _imported(spec, text or ""):
            root = imported.partition(".")[0]
            if root in sys.stdlib_module_names or root == "credit_assets":
                continue
            theirs = maker if root == top else maker_of(root)
            if root == top or theirs in (maker, Maker()):
                waiting.append(imported)
            elif _key(theirs.distribution) not in _platform():
                libraries.add(theirs)
    return sources, libraries


def _counted(name: str, text: str) -> str:
    try:
        return code_text(text)
    except SyntaxError as error:
        raise SourceError(f"module {name} is no Python that this version reads (line {error.lineno})") from error


def _spec(module: str) -> ModuleSpec:
    spec = _found(module)
    if spec is None:
        raise SourceError(f"module {module} has no file")
    return spec


def _found(name: str) -> ModuleSpec | None:
    """None where the name is no module: an attribute of one, or not installed."""
    loaded: ModuleSpec | None = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None:
        return loaded
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _source(spec: ModuleSpec) -> str | None:
    """The source of a module; None of one that has none: compiled, or a folder without `__init__.py`."""
    reader = getattr(spec.loader, "get_source", None)
    source: str | None = reader(spec.name) if reader else None
    if source is None and (spec.origin or "").endswith(".pyc"):
        raise SourceError(f"module {spec.name} is there without its source ({spec.origin}): install its .py files too")
    return source


def _bytes(spec: ModuleSpec) -> str:
    """The hash of a compiled module; nothing of a folder."""
    if not spec.has_location or spec.origin is None:
        return ""
    try:
        return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    except OSError as error:
        raise SourceError(f"module {spec.name} cannot be read ({spec.origin}: {error.strerror})") from error


def _imported(spec: ModuleSpec, text: str) -> Iterator[str]:
    """Names that the module imports anywhere: modules, or what may be one (`from package import name`)."""
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                try:
                    base = importlib.util.resolve_name("." * node.level + base, spec.parent)
                except ImportError:
                    continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


# Distributions


@functools.cache
def _maker(top: str, _path: tuple[str, ...]) -> Maker:
    # The usual case first: a list of all packages takes a second, most of it for those that are not asked for.
    with_name = _distribution(top)
    if with_name is not None and _provides(with_name, top):
        return _named(with_name)
    spec = _found(top)
    folders = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])] if spec else []
    for folder in dict.fromkeys(str(Path(place).parent) for place in folders[:1]):
        beside = sorted(metadata.distributions(path=[folder]), key=lambda one: _key(top) not in _key(one.name))
        for distribution in beside:
            if _provides(distribution, top):
                return _named(distribution)
    for distribution in metadata.distributions():
        root = _edited_in(distribution)
        if root is not None and any(Path(place).is_relative_to(root) for place in folders):
            return _named(distribution)
    return Maker()


def _named(distribution: metadata.Distribution) -> Maker:
    return Maker(distribution.name, distribution.version)


def _edited_in(distribution: metadata.Distribution) -> Path | None:
    """The folder whose files an editable install takes; None of any other."""
    text = distribution.read_text("direct_url.json")
    try:
        given = json.loads(text or "{}")
        if not given["dir_info"]["editable"]:
            return None
        return Path(url2pathname(urlsplit(given["url"]).path))
    except (ValueError, KeyError, TypeError):
        return None


def _distribution(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _provides(distribution: metadata.Distribution, top: str) -> bool:
    listed = (distribution.read_text("top_level.txt") or "").split()
    return top in listed or any(file.parts[0] in (top, f"{top}.py") for file in distribution.files or ())


@functools.cache
def _platform() -> frozenset[str]:
    """The distributions that credit_assets needs, and those that they need."""
    found: set[str] = set()
    waiting = [OURS]
    while waiting:
        name = _key(waiting.pop())
        if name in found:
            continue
        found.add(name)
        for requirement in (one.requires if (one := _distribution(name)) else None) or ():
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
    return frozenset(found)


def _key(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
