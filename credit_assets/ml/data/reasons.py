"""Reasons: what an applicant who is declined is told, by feature or group of features.

Belongs here: the key `reasons` of a portfolio file, the contract that it comes to for a model, and its saved form. Does
not belong here: what a feature adds to a score, and which reasons an applicant is given
(`credit_assets.ml.learners.reason_codes`).

The contract is saved with a model (`reasons.json`), as the rules of requests are: whoever scores with a version gives
the reasons in its words, the pipeline and the service alike, and those of a past day can be given again. It is no part
of a model's identity: other words train nothing, and hold from the next version on.

A reason that comes of a missing value has a code and a text of its own: "income is low" is no sentence for an applicant
whose income nobody knows.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from credit_assets.ml.data.keys import Identifier, Strict
from credit_assets.ml.data.model_files import read_record, write_record

FORMAT = 2
"""Of the record. Format 1, whose groups have no `missing_text`, is read as well: those reasons keep their code and text
where a value is missing, as they were given then."""
MISSING = "-MISSING"
"""Behind the code of a reason that comes of a missing value. No code that is given in a portfolio has the sign."""
REASONS_FILE = "reasons.json"
MOST = 4
_LONGEST = 200


class Reasoned(Protocol):
    """What of a portfolio is read here."""

    @property
    def reasons(self) -> Reasons: ...

    @property
    def feature_names(self) -> Sequence[str]: ...

    @property
    def columns(self) -> Sequence[Any]: ...

    @property
    def input_columns(self) -> Sequence[Any]: ...

    @property
    def model_inputs(self) -> Sequence[Any]: ...

    @property
    def function_features(self) -> Sequence[Any]: ...

    @property
    def history_features(self) -> Sequence[Any]: ...

    @property
    def columns_matching(self) -> Sequence[Any]: ...


def _one_line(text: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ValueError("give the text of a reason on one line, without control characters")
    return text


Code = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=64)]
Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=3, max_length=_LONGEST), AfterValidator(_one_line)
]


class ReasonGroup(Strict):
    """Features that are one reason: its code, which stays what it is, and what the applicant reads.

    `missing_text` is what he reads where the reason is that values are missing; `ReasonContract.of` has the default.
    """

    code: Code
    text: Text
    features: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    missing_text: Text | None = None

    @property
    def missing_code(self) -> str:
        """The code of the reason where it comes of missing values: `code` itself in a contract of before."""
        return self.code if self.missing_text is None else f"{self.code}{MISSING}"


class Reasons(Strict):
    """The key `reasons`: groups of features, and those that are no reason since the lender decides them (`none`).

    A feature that stands nowhere has a code and a text of its own, from its name and description. A derived feature
    that stands nowhere belongs to one of its inputs; see `ReasonContract.of`.
    """

    most: int = Field(default=MOST, ge=1, le=10)
    groups: tuple[ReasonGroup, ...] = ()
    none: tuple[Identifier, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Reasons:
        codes = Counter(group.code for group in self.groups)
        if twice := sorted(code for code, times in codes.items() if times > 1):
            raise ValueError(f"code {twice[0]} stands twice: a code is one reason; put its features into one group")
        places: dict[str, str] = {}
        for place, names in [*((f"group {group.code}", group.features) for group in self.groups), ("none", self.none)]:
            for name in names:
                if name in places:
                    both = f"twice in {place}" if places[name] == place else f"in {places[name]} and in {place}"
                    raise ValueError(f"feature {name!r} stands {both}: it has one reason")
                places[name] = place
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """The features that stand somewhere."""
        return (*(name for group in self.groups for name in group.features), *self.none)


@dataclass(frozen=True)
class ReasonContract:
    """What a model's reasons are: groups that have each feature of it once, and those that are none.

    `most` is how many an applicant is given at most.
    """

    most: int
    groups: tuple[ReasonGroup, ...]
    none: tuple[str, ...]

    @classmethod
    def of(cls, portfolio: Reasoned) -> ReasonContract:
        """The contract of the models of a portfolio as it is now.

        A derived feature that the portfolio puts nowhere has the reason of one of its inputs that is a reason: of the
        one that most derived features read, the first of those. So what is set against an income is the income's
        reason, and nobody is given two. Where all of its inputs are none, so is it. A group without a `missing_text`
        has one that names its columns.

        Examples
        --------
        >>> from credit_assets.ml.data.portfolio import load_portfolio
        >>> contract = ReasonContract.of(load_portfolio())
        >>> contract.code_of("annual_income") == contract.code_of("payment_to_income"), contract.none
        (True, ('interest_rate',))
        """
        from credit_assets.ml.data.formulas import parameters

        stated = portfolio.reasons
        descriptions = {one.name: one.description for one in portfolio.input_columns}
        descriptions |= {one.name: one.description for one in portfolio.history_features}
        placed = {name: group.code for group in stated.groups for name in group.features}
        placed |= dict.fromkeys(stated.none, "")
        own = [name for name in descriptions if name not in placed]
        codes = _codes(own)
        placed |= codes
        texts = {codes[name]: _text(name, descriptions[name]) for name in own}
        reads = {
            derived.name: [derived.inputs.get(name, name) for name in parameters(derived.function_name)]
            for derived in portfolio.function_features
        }
        shared = Counter(source for sources in reads.values() for source in set(sources))
        for name, sources in reads.items():
            if name not in placed:
                reasons = [source for source in sources if placed[source]]
                placed[name] = placed[max(reasons, key=lambda source: shared[source])] if reasons else ""
        members: dict[str, list[str]] = {group.code: [] for group in stated.groups}
        for name in portfolio.feature_names:
            members.setdefault(placed[name], []).append(name)
        texts |= {group.code: group.text for group in stated.groups}
        missing_texts = {group.code: group.missing_text for group in stated.groups}
        groups = (
            ReasonGroup(
                code=code,
                text=texts[code],
                features=tuple(names),
                missing_text=missing_texts.get(code)
                or _missing_text([name for name in names if name in descriptions] or names),
            )
            for code, names in members.items()
            if code and names
        )
        return cls(stated.most, tuple(groups), tuple(members.get("", ())))

    def code_of(self, feature: str) -> str | None:
        """The code of a feature's reason; None where it is none."""
        return next((group.code for group in self.groups if feature in group.features), None)

    def text_of(self, code: str) -> str:
        """What the applicant reads. Raises KeyError for a code that is none of these."""
        return self.texts[code]

    @property
    def texts(self) -> dict[str, str]:
        """What the applicant reads, by code."""
        known = {group.code: group.text for group in self.groups}
        missing = {g.missing_code: g.missing_text for g in self.groups if g.missing_text is not None}
        return known | missing

    def covering(self, features: Iterable[str]) -> ReasonContract:
        """With a reason of their own for those features that it does not know: of columns that have left."""
        known = {name for group in self.groups for name in group.features} | set(self.none)
        new = [name for name in features if name not in known]
        taken = {group.code for group in self.groups}
        more = (
            ReasonGroup(
                code=f"{code}_{_digest(name)}" if code in taken else code,
                text=_text(name, ""),
                features=(name,),
                missing_text=_missing_text([name]),
            )
            for name, code in _codes(new).items()
        )
        return ReasonContract(self.most, (*self.groups, *more), self.none) if new else self

    def to_record(self) -> dict[str, Any]:
        """As JSON types; `from_record` restores an equal contract."""
        groups = [group.model_dump(mode="json") for group in self.groups]
        return {"format": FORMAT, **asdict(self), "groups": groups, "none": list(self.none)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ReasonContract:
        """Restore what `to_record` gave. Raises ValueError where it is none."""
        if record["format"] not in (1, FORMAT):
            raise ValueError(f"format {record['format']!r}, and this version of credit_assets reads 1 and {FORMAT}")
        stated = Reasons.model_validate({key: record[key] for key in ("most", "groups", "none")})
        return cls(stated.most, stated.groups, stated.none)

    def save(self, folder: str | Path) -> None:
        """Write `reasons.json` into the folder of a scorer. Equal contracts give equal bytes."""
        write_record(Path(folder) / REASONS_FILE, self.to_record())

    @classmethod
    def load(cls, folder: str | Path) -> ReasonContract | None:
        """Read what `save` wrote; None where the folder has no such file. Raises ValueError where it is unreadable."""
        return read_record(Path(folder) / REASONS_FILE, "the contract of reasons", cls.from_record)


def check_reasons(portfolio: Reasoned) -> None:
    """Raises ValueError for a name that is none of the portfolio's, and for a code that a feature without an entry has
    of its name. A column that is a feature no more may stay, and patterns of columns that are not resolved yet may have
    any.
    """
    reasons = portfolio.reasons
    known = {*portfolio.feature_names, *(column.name for column in portfolio.columns)}
    for name in reasons.named:
        if name not in known and not any(one.matches(name) for one in portfolio.columns_matching):
            raise ValueError(f"reasons: {name!r} is no feature of this portfolio: correct it, or take it out")
    codes, own = {group.code for group in reasons.groups}, [one.name for one in portfolio.model_inputs]
    for name, code in _codes([name for name in own if name not in reasons.named]).items():
        if code in codes:
            raise ValueError(
                f"reasons: code {code} is that of the feature {name!r} by its name: put it into the group, or give the "
                "group another code"
            )


def _codes(features: Sequence[str]) -> dict[str, str]:
    """A code for each feature, of its name; two names that come to one code have a part of their hashes behind it."""
    plain = {name: _code(name) for name in features}
    times = Counter(plain.values())
    return {name: f"{code}_{_digest(name)}" if times[code] > 1 else code for name, code in plain.items()}


def _code(name: str) -> str:
    code = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")[:58]
    return code if code[:1].isalpha() else f"F_{code}"[:58]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:5].upper()


def _text(name: str, description: str) -> str:
    """The first sentence of a description, without its full stop; without one, the name in words."""
    first = re.split(r"(?<=[.!?])\s", " ".join(description.split()), maxsplit=1)[0].rstrip(".")
    if 3 <= len(first) <= _LONGEST:
        return first
    words = _words(name)
    return (words[:1].upper() + words[1:]).ljust(3, ".")


def _missing_text(names: Sequence[str]) -> str:
    """What is said of columns that have no value; of very many, without their names."""
    named = f"No information on: {', '.join(map(_words, names))}"
    return named if len(named) <= _LONGEST else "Information that the decision needs is missing"


def _words(name: str) -> str:
    return re.sub(r"[_.\-]+", " ", name).strip()
