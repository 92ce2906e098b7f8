"""Learners of a lender's own: what such a class must be.

Belongs here: the checks when it is found, and those of a model that it has made. Does not belong here: the interface
(`learner`), and finding it (`extensions`).
"""

from __future__ import annotations

import inspect
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from credit_assets.aside import temporary_folder
from credit_assets.ml.data.extensions import Extension
from credit_assets.ml.learners.learner import RESERVED, FitInputs, Fitted, Parameter, Variant

if TYPE_CHECKING:
    from credit_assets.ml.learners.encoding import Encoded

_TEXTS = ("name", "label", "filename", "distribution")
# What else lies in the folder of a model.
_TAKEN = frozenset({"scorer.json", "reference.json", "request_rules.json", "reasons.json", "MLmodel"})


def checked_learner(extension: Extension) -> Variant:
    """An instance of the class. Raises ExtensionError naming what is wrong with it."""
    cls = extension.target
    if not (inspect.isclass(cls) and issubclass(cls, Variant)):
        raise extension.error("a learner is a subclass of Variant of credit_assets.ml.extensions: let it be one")
    if missing := sorted(cls.__abstractmethods__):
        raise extension.error(f"it does not have {', '.join(missing)}: define them as Variant describes them")
    bad = [name for name in _TEXTS if not (isinstance(getattr(cls, name, None), str) and getattr(cls, name))]
    if bad:
        raise extension.error(f"it does not say its {', '.join(bad)}: give each as a text, as Variant describes them")
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)+", cls.filename) or cls.filename in _TAKEN:
        raise extension.error(
            f"filename {cls.filename!r} is no name for a model's file: one with an ending, no folder, none of "
            f"{', '.join(sorted(_TAKEN))}"
        )
    _check_parameters(extension)
    try:
        learner: Variant = type(cls.__name__, (_Watched, cls), {"extension": extension})()
        learner.library()
        learner.resolve({})
    except ImportError as error:
        raise extension.error(f"the package {cls.distribution!r} that it names is not installed: install it") from error
    except Exception as error:
        raise extension.error(f"it cannot be made: {type(error).__name__}: {error}") from error
    return learner


def _check_parameters(extension: Extension) -> None:
    parameters, defaults = (getattr(extension.target, name, None) for name in ("parameters", "defaults"))
    if not isinstance(parameters, dict) or not all(isinstance(one, Parameter) for one in parameters.values()):
        raise extension.error("its parameters must be a dict of names and Parameter of credit_assets.ml.extensions")
    if not isinstance(defaults, dict):
        raise extension.error("its defaults must be a dict of values by the names of its parameters")
    if reserved := sorted(set(parameters) & set(RESERVED)):
        raise extension.error(
            f"its parameters name {', '.join(reserved)}, which every learner gets from the settings: take it from "
            "FitInputs instead"
        )
    for name, value in defaults.items():
        if name not in parameters or not parameters[name].accepts(value):
            wanted = f"it takes {parameters[name].wanted()}" if name in parameters else "there is no such parameter"
            raise extension.error(f"its default {name}={value!r} cannot be: {wanted}")


class _Watched(Variant):
    """What is done around a lender's class: its faults are told without values of tables, its models kept honest."""

    extension: ClassVar[Extension]

    def _fit(self, inputs: FitInputs) -> Fitted:
        try:
            fitted = super()._fit(inputs)  # type: ignore[safe-super]
        except ValueError:
            # Of its own making, for people.
            raise
        except Exception as error:
            raise self.extension.error(f"its fit failed with {self.extension.fault(error)}") from error
        if not isinstance(fitted, Fitted):
            raise self.extension.error(f"its _fit gives a {type(fitted).__name__}: it must give a Fitted")
        return self._as_saved(fitted, inputs.validation)

    def _as_saved(self, fitted: Fitted, rows: Encoded) -> Fitted:
        """The model as it is read again from its file, which is the one that will score: both must agree."""
        import numpy as np

        with temporary_folder("model") as folder:
            file = folder / self.filename
            self.save(fitted.model, file)
            read = self.load(file)
        before, after = (self.predict_margin(model, rows) for model in (fitted.model, read))
        if len(before) != len(rows) or not np.isfinite(before).all():
            raise self.extension.error("its margins must be one finite number for each row")
        if not np.array_equal(before, after):
            raise self.extension.error("a model that was saved and read again scores otherwise: save all of it")
        return replace(fitted, model=read)

    def save(self, model: Any, path: Path) -> None:
        super().save(model, path)  # type: ignore[safe-super]
        if not path.is_file():
            raise self.extension.error(f"its save wrote no file {path.name}")
        if _holds_pickle(path):
            path.unlink()
            raise self.extension.error(
                "its save writes a pickle, which runs code when it is read: save numbers and texts (JSON, or the "
                "library's own format, or skops)"
            )


def _holds_pickle(path: Path) -> bool:
    """Whether a file is a pickle of protocol 2 or later, or a ZIP archive that holds one."""

    def begins(head: bytes) -> bool:
        return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    if begins(member.read(2)):
                        return True
        return False
    with path.open("rb") as file:
        return begins(file.read(2))
