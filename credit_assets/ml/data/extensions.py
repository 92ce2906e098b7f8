"""A lender's own features, learners, gates and triggers: where they are found, and who made each of them.

Belongs here: finding and importing the modules, names, and what is the same for every kind. Does not belong here: what
a kind must keep (`feature_functions`, `learners.extension_learners`, `rules.extension_gates`,
`rules.extension_triggers`), the names that a lender imports (`credit_assets.ml.extensions`), and which extensions a
portfolio uses (`extension_use`).

A module is named by an entry point of the group `credit_assets.extensions` of an installed distribution, or by
CREDIT_EXTENSIONS. Of its functions and classes those count that carry a mark (`mark`) and are its package's own. It is
code that runs with the rights of the pipeline; nothing else names a module, a model's file least of all.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from credit_assets.failures import OwnError
from credit_assets.ml.data.extension_sources import Maker, SourceError, maker_of, source_version

GROUP = "credit_assets.extensions"
SETTING = "CREDIT_EXTENSIONS"

Kind = Literal["feature", "learner", "gate", "trigger"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SCORING: frozenset[Kind] = frozenset({"feature", "learner"})
"""Those without which a model that they made cannot score."""
_NAME = r"[a-z][a-z0-9_]{0,47}"
_MARK, _SOURCE = "__credit_extension__", "__credit_extension_source__"
_SHOWN = 12

_T = TypeVar("_T")


class ExtensionError(OwnError, ValueError):
    """An extension cannot be used; the message names it, who made it, what is wrong and what to do."""


class Mark(NamedTuple):
    """What a decorator notes of a function or class."""

    kind: Kind
    name: str
    files: tuple[str, ...]
    options: Mapping[str, Any]


def mark(target: _T, kind: Kind, name: str, files: Sequence[str] = (), **options: Any) -> _T:
    """Note that a function or class is an extension."""
    setattr(target, _MARK, Mark(kind, name, tuple(files), options))
    return target


@dataclass(frozen=True, eq=False)
class Extension:
    """One feature, learner, gate or trigger of a lender's own."""

    kind: Kind
    name: str
    target: Any
    module: str
    distribution: str
    """Whose; empty where no distribution installed the module."""
    version: str
    source: str
    """Hash of its source (`extension_sources`)."""
    options: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, str]:
        """Who it is, for the records of what it makes."""
        return {name: getattr(self, name) for name in ("kind", "name", "module", "distribution", "version", "source")}

    def __str__(self) -> str:
        return described(self.record())

    def error(self, problem: str) -> ExtensionError:
        """The error that this extension has a problem."""
        return ExtensionError(f"{self}: {problem}")

    def resolved(self, annotation: Any) -> Any:
        """An annotation of its function as what it names. Raises ExtensionError where it names nothing at run time."""
        if not isinstance(annotation, str):
            return annotation
        try:
            return eval(annotation, inspect.unwrap(self.target).__globals__)
        except Exception as error:
            raise self.error(
                f"its annotation {annotation} cannot be read ({type(error).__name__}: {error}): import what it names "
                "where Python runs too, not for type checkers alone"
            ) from error

    def fault(self, error: BaseException) -> str:
        """What went wrong in its code, without the words of the exception, which may quote a value of a table."""
        return f"{type(error).__name__}{_line(error, self.module)}"


def described(record: Mapping[str, str]) -> str:
    """An extension in words: "feature burden of acme-credit 1.2.0 (acme.features, source 3f2a9c1d7e11)"."""
    maker = f"of {record['distribution']} {record['version']} " if record["distribution"] else ""
    return f"{record['kind']} {record['name']} {maker}({record['module']}, source {record['source'][:_SHOWN]})"


@dataclass(frozen=True, eq=False)
class Extensions:
    """The extensions that this process has, by kind and name."""

    by_name: Mapping[tuple[str, str], Extension]

    def of(self, kind: Kind) -> dict[str, Extension]:
        return {name: one for (its, name), one in self.by_name.items() if its == kind}


# Which modules


_LOADING = threading.RLock()
_named: tuple[str, ...] | None = None


def use(modules: Sequence[str] | None) -> Extensions:
    """From here on the extensions of this process are those of the installed distributions and of these modules; of
    CREDIT_EXTENSIONS in the environment where None is given.

    Raises ExtensionError naming each that cannot be used.
    """
    global _named
    _named = None if modules is None else tuple(modules)
    return current()


def current() -> Extensions:
    """The extensions of this process, imported when they are first asked for.

    Raises ExtensionError naming each that cannot be used.
    """
    with _LOADING:
        modules = modules_in(os.environ.get(SETTING, "")) if _named is None else _named
        return _loaded(modules, tuple(sys.path))


def modules_in(text: str) -> tuple[str, ...]:
    """The modules that the setting names."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


class _Place(NamedTuple):
    """A module that is named somewhere."""

    module: str
    attribute: str
    maker: Maker | None
    where: str


def _places(modules: Sequence[str]) -> Iterator[_Place]:
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        dist = entry.dist
        maker = Maker(dist.metadata["Name"], dist.version) if dist else None
        by = f" of {maker.distribution} {maker.version}" if maker else ""
        yield _Place(entry.module, entry.attr, maker, f"entry point {entry.name} ({entry.value}){by}")
    for module in modules:
        yield _Place(module, "", None, f"{SETTING}: module {module}")


@functools.lru_cache(maxsize=8)
def _loaded(modules: tuple[str, ...], _path: tuple[str, ...]) -> Extensions:
    found: dict[tuple[str, str], Extension] = {}
    problems: list[str] = []
    for place in _places(modules):
        try:
            _add(found, place)
        except ExtensionError as error:
            problems.append(str(error))
    if problems:
        raise ExtensionError("; ".join(dict.fromkeys(problems)))
    return Extensions(found)


def _add(found: dict[tuple[str, str], Extension], place: _Place) -> None:
    marked = list(_marked(place))
    if not marked:
        raise ExtensionError(
            f"{place.where} brings no extension: put @feature, @learner, @gate or @trigger of "
            "credit_assets.ml.extensions before the functions and classes that are to count, or do not name it"
        )
    for target, its in marked:
        made = _extension(place, target, its)
        other = found.get((made.kind, made.name))
        if other is None:
            found[made.kind, made.name] = made
        elif other.target is not made.target:
            raise ExtensionError(f"{made} has the name of {other}: rename one of them, or remove its package")


def _marked(place: _Place) -> Iterator[tuple[Any, Mark]]:
    module = _imported(place)
    if place.attribute and not hasattr(module, place.attribute):
        raise ExtensionError(f"{place.where}: module {place.module} has no {place.attribute}; correct the entry point")
    top = place.module.partition(".")[0]
    values = [getattr(module, place.attribute)] if place.attribute else list(vars(module).values())
    for value in values:
        its = getattr(value, "__dict__", {}).get(_MARK)
        # What it imports from another's package is the other's to bring.
        if isinstance(its, Mark) and str(value.__module__).partition(".")[0] == top:
            yield value, its


def _imported(place: _Place) -> ModuleType:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", place.module):
        raise ExtensionError(f"{place.where}: {place.module!r} is no name of a module, such as acme.credit_extensions")
    try:
        return import_module(place.module)
    except ModuleNotFoundError as error:
        if error.name and (place.module == error.name or place.module.startswith(f"{error.name}.")):
            raise ExtensionError(
                f"{place.where}: there is no module {error.name} here: install the package that has it into "
                f"{sys.prefix}, or add its folder to PYTHONPATH, or correct the name"
            ) from error
        raise _import_failed(place, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(place, error) from error


def _import_failed(place: _Place, error: BaseException) -> ExtensionError:
    # The text of a syntax error ends with its place, which follows here.
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    words = next((line.strip() for line in text.splitlines() if line.strip()), "")
    reason = f"{type(error).__name__}{f': {words}' if words else ''}{_line(error, place.module)}"
    return ExtensionError(f"{place.where} cannot be imported: {reason}; correct that, or remove the extension")


def _line(error: BaseException, module: str) -> str:
    """Where in the lender's own code it happened: " (features.py, line 12)"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({os.path.basename(error.filename)}, line {error.lineno})"
    top = module.partition(".")[0]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == top:
            return f" ({os.path.basename(frame.f_code.co_filename)}, line {line})"
    return ""


def _extension(place: _Place, target: Any, its: Mark) -> Extension:
    module = str(target.__module__)
    maker = place.maker or maker_of(module)
    # Of a learner every model names the version of its library itself.
    without = str(getattr(target, "distribution", "")) if its.kind == "learner" else ""
    named = f"{its.kind} {its.name} ({place.where})"
    if not re.fullmatch(_NAME, its.name):
        raise ExtensionError(
            f"{named}: {its.name!r} is no name of an extension: small letters, digits and underscores, a letter first, "
            "at most 48"
        )
    # Once for what is loaded, whatever becomes of the file while this process runs.
    source = target.__dict__.get(_SOURCE)
    if source is None:
        try:
            source = source_version(module, maker, its.files, without)
        except SourceError as error:
            raise ExtensionError(f"{named}: {error}") from error
        setattr(target, _SOURCE, source)
    return Extension(its.kind, its.name, target, module, maker.distribution, maker.version, source, its.options)


# By name


class Catalogue(MutableMapping[str, _T]):
    """What the package brings of a kind, by name, and beside it what extensions bring.

    Whoever asks for something of the package's own loads no extension. `check` makes of an extension what the catalogue
    holds, or raises ExtensionError.
    """

    def __init__(self, kind: Kind, packaged: Mapping[str, _T], check: Callable[[Extension], _T]) -> None:
        self.kind, self.packaged, self._check = kind, dict(packaged), check
        self._checked: tuple[Extensions, dict[str, _T]] | None = None

    def extensions(self) -> dict[str, _T]:
        """Those that extensions bring. Raises ExtensionError where one of them cannot be used."""
        now = current()
        if self._checked is None or self._checked[0] is not now:
            self._checked = now, {name: self._made(one) for name, one in now.of(self.kind).items()}
        return self._checked[1]

    def _made(self, extension: Extension) -> _T:
        if extension.name in self.packaged:
            raise extension.error(f"credit_assets has a {self.kind} of this name itself: rename yours")
        return self._check(extension)

    def records(self, names: Iterable[str]) -> list[dict[str, str]]:
        """Who made these, of those that extensions bring; sorted by name."""
        theirs = sorted(set(names) - set(self.packaged))
        return [extension(self.kind, name).record() for name in theirs]

    def __getitem__(self, name: str) -> _T:
        return self.packaged[name] if name in self.packaged else self.extensions()[name]

    def __setitem__(self, name: str, value: _T) -> None:
        self.packaged[name] = value

    def __delitem__(self, name: str) -> None:
        del self.packaged[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.packaged
        yield from self.extensions()

    def __len__(self) -> int:
        return len(self.packaged) + len(self.extensions())


def extension(kind: Kind, name: str) -> Extension:
    """The extension of this name. Raises ExtensionError where there is none."""
    found = current().of(kind)
    if name not in found:
        raise ExtensionError(f"there is no {kind} {name!r} here{advice(found)}")
    return found[name]


def advice(found: Iterable[str] = ()) -> str:
    """What to do where a name is not known, after those that extensions bring."""
    known = f"; those of extensions are {', '.join(found)}" if found else ""
    return (
        f"{known}: correct the name, or install the package that brings it, or name its module by {SETTING} "
        "(docs/extensions.md)"
    )


# Records: who made what


def sources(recorded: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What of records decides what they make: for fingerprints. The version does not, where the source is the same."""
    return {f"{one['kind']} {one['name']}": one["source"] for one in recorded}


def why_other(recorded: Iterable[Mapping[str, str]]) -> str:
    """Why what these extensions have made cannot be used or made alike here: one is absent, or another one now; empty
    where all are the same.
    """
    return "; ".join(filter(None, map(_why_other, recorded)))


def _why_other(record: Mapping[str, str]) -> str:
    try:
        here = current().by_name.get((record["kind"], record["name"]))
    except ExtensionError as error:
        return f"{described(record)} cannot be looked for here: {error}"
    wanted = f"{record['distribution']}=={record['version']}" if record["distribution"] else ""
    if here is None:
        again = f"install {wanted}" if wanted else f"name its module by {SETTING}={record['module']}"
        return f"{described(record)} is not installed here: {again}"
    if here.source == record["source"]:
        return ""
    again = f"install {wanted}" if wanted else "bring back its source"
    return f"{described(record)} is another one here, {here}: {again}, or make and train anew with the one that is here"
