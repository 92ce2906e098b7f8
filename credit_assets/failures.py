"""The kinds of failure, which of them a retry can help, the line that a person reads of each, and what is kept of it.

Belongs here: the two exception types that resources raise, the test that sorts foreign exceptions into them, what to do
about those that nobody expected, and which texts may be written where others read them. Does not belong here: who shows
the line (`credit_assets.cli.edge`, and `credit_assets.notify.ticks` for sensors and schedules), and what Dagster does
with a failed step (`credit_assets.assets.conventions`).
"""

from __future__ import annotations

import builtins
import dis
import errno
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

# Names, not classes: naming a class would import its library into every process that loads the code location.
_TRANSIENT_CLASSES = {
    "ConnectionError",
    "ConnectTimeout",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    # Of s3fs: what was being read has been replaced meanwhile, by another run of the day.
    "FileExpired",
    "IncompleteRead",
    "InterfaceError",
    "MaxRetryError",
    "NewConnectionError",
    "OperationalError",
    "ReadTimeout",
    "ReadTimeoutError",
    "ServerDisconnectedError",
    "ServiceUnavailable",
    "SlowDown",
    "TimeoutError",
}
# What DuckDB, SQLite, sockets and MLflow raise under a class that says nothing of it. The one place where control flow
# reads words, since these have no other mark; errors of this package are sorted by their class before.
_TRANSIENT_TEXTS = (
    "database is locked",
    "could not set lock on file",
    "conflicting lock is held",
    "connection refused",
    "connection reset",
    "timed out",
    "too many requests",
    "too many 500 error responses",
    "too many 502 error responses",
    "too many 503 error responses",
    "too many 504 error responses",
)
# What SQLite raises as OperationalError, too, and no retry mends.
_LASTING_TEXTS = (
    "disk is full",
    "disk i/o error",
    "readonly database",
    "disk image is malformed",
    "file is not a database",
    "unable to open database file",
    "no such table",
    "no such column",
    "has no column named",
)
# Raised by Dagster for us, with our words in them.
_WITH_OUR_WORDS = {"Failure", "RetryRequested"}
# What these say is a name of the program, or nothing: built in, and no values of a table.
_NAMES_ALONE = ("AttributeError", "ImportError", "MemoryError", "ModuleNotFoundError", "NameError", "RecursionError")
_RAISE = dis.opmap["RAISE_VARARGS"]
_PACKAGE = Path(__file__).parent
_INSTALLED = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_SPACE = "free some space, or set CREDIT_HOME (and CREDIT_STORE_URI) to a folder on another disk"
_RIGHTS = "give this user the right, or set CREDIT_HOME (or the setting of that place) to a folder where it has it"
# Of a foreign error's message only what is known to hold no value of a table is shown; the rest stands in the trace.
_BY_ERRNO = {
    errno.ENOSPC: ("no space left on the disk", _SPACE),
    errno.EDQUOT: ("the disk quota is used up", _SPACE),
    errno.EROFS: ("the file system is read-only", _RIGHTS),
    errno.EACCES: ("permission denied", _RIGHTS),
    errno.EPERM: ("permission denied", _RIGHTS),
    errno.ENOENT: ("no such file or folder", "see that it is there and that its name is right"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "move it away, or set another folder"),
    errno.EISDIR: ("a folder stands where a file is needed", "move it away, or name another file"),
    errno.EFBIG: ("a file would be larger than this user may write", "raise the limit (ulimit -f)"),
    errno.EMFILE: ("too many open files", "raise the limit (ulimit -n)"),
    errno.ENAMETOOLONG: ("the name is too long", "use a folder with a shorter path"),
    errno.EIO: ("the disk cannot be read or written", "look at the disk's health, then restore from a backup"),
}
_BY_TEXT = {
    "disk is full": ("a database has no space left on its disk", _SPACE),
    "disk i/o error": ("a database cannot read or write its disk, which may be full", _SPACE),
    "no space left on device": ("no space left on the disk", _SPACE),
    "readonly database": ("a database may not be written", _RIGHTS),
    "unable to open database file": ("a database file cannot be opened", _RIGHTS),
    "disk image is malformed": (
        "a database file is damaged",
        "restore it from a backup, or move it away; `credit-assets doctor` says which one",
    ),
    "file is not a database": (
        "a file that should be a database is none",
        "restore it from a backup, or move it away; `credit-assets doctor` says which one",
    ),
    "can't locate revision": (
        "a database was written by a newer version of Dagster or MLflow",
        "install that version again (make setup), or restore the database from before",
    ),
    "database is locked": ("another process holds a database", "wait until it has ended, then try again"),
    "no usable temporary directory": ("no temporary folder can be written", "free some space, or set TMPDIR"),
    "cannot locate timezone": ("this machine has no time zone database", "install its package tzdata"),
}


LONGEST_MESSAGE = 2_500
"""Characters of a message at most: it goes into event logs, alerts and terminals, and may name what a file holds."""
_END = 500


def shortened(text: str) -> str:
    """The text, or its beginning and its end, where messages say what to do, with how much is left out between."""
    if len(text) <= LONGEST_MESSAGE:
        return text
    between = f" ... ({len(text):,} characters in all) ... "
    return text[: LONGEST_MESSAGE - _END - len(between)] + between + text[-_END:]


class OwnError(Exception):
    """Its message was written here, for people: it says what is wrong and what to do, and is kept to a size."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(shortened(one) if isinstance(one, str) else one for one in arguments))


class TransientError(OwnError, RuntimeError):
    """A retry may help: a server is unreachable, a lock is held, a service answers 5xx."""


class PermanentError(OwnError, RuntimeError):
    """A retry cannot help: bad data, a bad setting, a missing table. The message says what to do."""


class Withheld(Exception):  # noqa: N818 - stands for errors of any name, each as a class of that name
    """Stands for an exception whose text is not ours to write down: its class, where it was raised, and no more."""

    transient = False


def is_transient(error: BaseException) -> bool:
    """Whether a later attempt may succeed, judged by the exception and by what caused it."""
    for current in _behind(error):
        if isinstance(current, Withheld):
            return current.transient
        if isinstance(current, PermanentError):
            return False
        if isinstance(current, TransientError):
            return True
        text = str(current).lower()
        if any(part in text for part in _LASTING_TEXTS):
            return False
        if any(base.__name__ in _TRANSIENT_CLASSES for base in type(current).__mro__):
            return True
        if any(part in text for part in _TRANSIENT_TEXTS):
            return True
    return False


def is_lasting(error: BaseException) -> bool:
    """Whether a file or disk is at fault, under whatever class or code: no later attempt succeeds by itself."""
    return any(part in str(one).lower() for one in _behind(error) for part in _LASTING_TEXTS)


def is_ours(error: BaseException) -> bool:
    """Whether the message was written by this package: it says what to do, and holds no value of a table."""
    return isinstance(error, OwnError)


def kind_in_words(error: BaseException) -> str:
    """settings, permanent, transient or unexpected: for programs that read of a failure."""
    names = {base.__name__ for base in type(error).__mro__}
    if names & {"SettingsError", "PortfolioError", "PolicyError", "PlaceError", "ExtensionError"}:
        return "settings"
    if is_transient(error):
        return "transient"
    return "permanent" if is_ours(error) or _known(error) else "unexpected"


def explained(error: BaseException) -> str:
    """One line for any exception: what was wrong, where, and what to do. Masking secrets is left to who shows it."""
    return shortened(_explained(error))


def _explained(error: BaseException) -> str:
    if is_ours(error):
        return " ".join(str(error).split())
    for one in _behind(error):
        if known := _known(one):
            return known
        if is_ours(one):
            return " ".join(str(one).split())
    if isinstance(error, MemoryError):
        return "the memory of this machine is used up; end other programs, or take fewer days or rows at once"
    if isinstance(error, ImportError):
        return f"{error.name or 'a module'} cannot be imported; install credit-assets again (make setup)"
    if is_transient(error):
        return f"a service or database does not answer ({_named(error)}); run `credit-assets doctor`, then try again"
    return f"unexpected {_named(error)}; run the same with --debug, and report what it prints"


def without_values(error: BaseException) -> BaseException:
    """The error to be raised or logged where others read it: Dagster keeps all of a chain of exceptions, and libraries
    quote what they fail at, whole rows among it.

    What this package says stays as it is, with its class. In the place of any other exception of the chain stands one
    of the same name and from the same place that says what kind of fault it was, and nothing of the values; what a
    retry can help stays so. Raise the result outside of the `except` that caught the error, or Python adds that one.
    """
    return _without_values(error, set())


def error_text(error: BaseException) -> str:
    """What an exception says, on one line, where this package says it; of any other the kind and the place."""
    return " ".join(str(error).split()) if _is_our_text(error) else _kind_and_place(error)


def advised(error: BaseException) -> str | None:
    """What is wrong and what to do, where files, disks or databases say what many others do; None elsewhere."""
    return next((known for one in _behind(error) if (known := _known(one))), None)


def _without_values(error: BaseException, seen: set[int]) -> BaseException:
    seen.add(id(error))
    shown = error
    if not _is_our_text(error):
        named = type(type(error).__name__, (Withheld,), {"__module__": type(error).__module__})
        shown = named(_kind_and_place(error)).with_traceback(error.__traceback__)
        shown.transient = is_transient(error)
    # What hid the context hides it still, and then nothing of it is needed.
    before = error.__cause__ if error.__cause__ is not None or error.__suppress_context__ else error.__context__
    shown.__context__ = None
    shown.__cause__ = None if before is None or id(before) in seen else _without_values(before, seen)
    return shown


def _is_our_text(error: BaseException) -> bool:
    """Whether a text holds no value of a table: raised with a `raise` of this package, or of a kind that has none."""
    names = {base.__name__ for base in type(error).__mro__}
    if is_ours(error) or names & _WITH_OUR_WORDS or not isinstance(error, Exception):
        return True
    if type(error).__module__ == builtins.__name__ and (names.intersection(_NAMES_ALONE) or not error.args):
        return True
    if isinstance(error, OSError) and type(error).__module__ == builtins.__name__ and error.errno is not None:
        return True
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    # Of a fault in a call, `int(value)` among them, the innermost frame is ours as well, and the text is not.
    return (
        place is not None
        and Path(place.tb_frame.f_code.co_filename).is_relative_to(_PACKAGE)
        and place.tb_frame.f_code.co_code[place.tb_lasti] == _RAISE
    )


def _kind_and_place(error: BaseException) -> str:
    known = _known(error)
    return known or f"{_named(error)} (its text is not shown: it may hold values of applicants)"


def _behind(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _known(error: BaseException) -> str | None:
    wrong, advice = _BY_ERRNO.get(error.errno or 0, ("", "")) if isinstance(error, OSError) else ("", "")
    if wrong and isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {wrong}; {advice}"
    text = str(error).lower()
    for part, known in _BY_TEXT.items():
        if part in text:
            return "; ".join(known)
    return f"{wrong}; {advice}" if wrong else None


def _named(error: BaseException) -> str:
    """The class of a foreign error and where it came up, in this package and in what a lender wrote, without its
    message.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    place = f" in {Path(ours[-1].filename).relative_to(_PACKAGE.parent)}:{ours[-1].lineno}" if ours else ""
    theirs = [frame for frame in frames if _is_a_lenders(frame.filename)]
    return f"{type(error).__name__}{place}" + (
        f", raised at {theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""
    )


def _is_a_lenders(file: str) -> bool:
    """Whether code is none of this package, of another one that is installed, or of Python."""
    path = Path(file)
    return path.is_absolute() and not any(path.is_relative_to(one) for one in (_PACKAGE, *_INSTALLED))
