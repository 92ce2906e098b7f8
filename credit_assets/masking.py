"""The one place that hides secrets: passwords and tokens in URLs, connection strings and headers, and texts with such.

Belongs here: what a secret looks like, and what is shown in its place. Does not belong here: which settings are secret
(`credit_assets.settings`) and where a text goes.

`masked` knows secrets by their form, so it is for texts of any origin; `Secrets` also knows some by their value, and
finds those that a library has cut out, decoded or quoted again. Where a URL can be read in two ways, more is hidden: a
password may hold every character that also ends one (`@`, `/`, `:`, `?`), and a host that is hidden costs less than a
password that is shown.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote, unquote_plus

if TYPE_CHECKING:
    from pydantic import SecretStr

HIDDEN = "***"
PERCENT_FORM = "write those of user name and password as %40"
"""What to do about a URL that `has_unclear_login`."""
_LONGEST_SCHEME = 60

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Looked for from the `://` backwards: a long word costs one look, whatever stands before the scheme.
_SCHEME_BEFORE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*$")
_WEB = {"http", "https", "ws", "wss"}
# Services of Apprise with an address as any other; elsewhere (slack://TOKEN/...) the host is part of the secret.
_ADDRESSES = {"mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms"}
# Here `name:digits/` is a host with its port. SQLAlchemy reads `host:5432/db?mail=a@b` as a password up to the `@`.
_FILES = {"s3", "gs", "gcs", "az", "abfs", "abfss", "adl", "hdfs", "ftp", "sftp", "file", "mlflow-artifacts"}
_WITH_PORT = _WEB | _ADDRESSES | _FILES
_HOST_AND_PORT = re.compile(r"(?:[^:/?#@\s]+|\[[0-9A-Fa-f:.]*\])(?::\d{1,5})?(?=[/?#]|$)")
_USER_AND_PASSWORD = re.compile(r"([^:/]*):(.*)@", re.DOTALL)
# `user:a b@host`: no port, and nothing that ends a user or a URL before the blank.
_BLANK_IN_PASSWORD = re.compile(
    r"[^:/?#@\s'\"`\[]+:(?!\d+(?:[\s/?#,]|$))[^@\s]*[ \t](?:(?!://)[^@\n]){0,60}@(?=[\w\[])"
)
_TOKEN_AS_USER = re.compile(r"[^:/?#@]+@")

# Names whose value is a secret wherever it stands, and those whose value is one in the query of a URL.
# Bounded, so that a long word costs no more than its length.
_WORDS = r"passw(?:or)?d|passphrase|pwd|secret|token|credential|api_?key|access_?key|account_?key"
_NAME = rf"[\w.-]{{0,60}}(?:{_WORDS})[\w.-]{{0,60}}"
_QUERY_NAME = rf"(?:{_NAME}|(?!sslkey=)[\w.-]*key|pass|(?:pass)?code|(?:[\w.-]*[-_.])?(?:sig|signature|auth))"
# Of a page, `&` stands as `&amp;`.
_BEFORE_QUERY = r"(?:[?&#]|&amp;)"
_IN_QUERY = re.compile(rf"({_BEFORE_QUERY}{_QUERY_NAME}=)([^&\s]+)", re.IGNORECASE)
_IN_QUOTES = r"""'(?:\\.|[^'\\\n])*'?|"(?:\\.|[^"\\\n])*"?"""
# `password=...` of libpq, and of ODBC, where it may hold blanks up to the next `;name=`.
_ASSIGNED = re.compile(
    rf"(?<![?&#\w.-])({_NAME}[ \t]*=(?!=)[ \t]*)"
    rf"(?:\*{{3}}(?=[;\s,)}}\]]|$)|b?(?:{_IN_QUOTES})|\{{(?:\}}\}}|[^}}\n])*\}}|\S+(?:[^;=\n]*(?=;[\w ]+=))?)",
    re.IGNORECASE,
)
# `"password": "..."` of JSON and of Python, also where that is quoted in its turn (`{\\"password\\": \\"...\\"}`).
_ENTRY = re.compile(rf"""((["']){_NAME}\2\s*:\s*)(?:b?(?:{_IN_QUOTES})|\[[^\]\n]*\]|[^\s,"'\[{{}}]+)""", re.IGNORECASE)
_ENTRY_IN_QUOTES = re.compile(
    rf"""((\\+["']){_NAME}\2\s*:\s*)(?:\2(?:(?!\2).)*\2|\[[^\]\n]*\]|[^\s,\\\[{{}}]+)""", re.IGNORECASE
)
# `password: ...` of YAML: a line of its own, a block below it, an entry of `{a: b}`.
_LINE = re.compile(
    rf"(?m)^([ \t]*)((?:-[ \t]+)?{_NAME}:[ \t]+)(?:[|>][-+\d]*[ \t]*(?:\n(?:\1[ \t]+\S.*|[ \t]*$))+|\S.*)",
    re.IGNORECASE,
)
_IN_BRACES = re.compile(rf"([{{,][ \t]*{_NAME}:[ \t]+)([^\s,{{}}\[\]'\"]+)", re.IGNORECASE)
_IN_TAGS = re.compile(rf"(<({_NAME})>)[^<]*(?=</\2>)", re.IGNORECASE)
_OPTION = re.compile(rf"((?<!-)--{_NAME}[ \t]+|(?<=\s)-u[ \t]+[^\s:]+:)({_IN_QUOTES}|\S+)", re.IGNORECASE)
# Headers of requests, as lines and as entries; and their values wherever they stand.
_HEADER = re.compile(
    r"""(?<![\w-])((?:[\w-]{0,60}(?:authorization|-token|api-key|subscription-key)|(?:set-)?cookie|x-[\w-]{0,40}key)"""
    r"""(?:["']?\s*:\s*b?["']?|["']\s*,\s*b?["']))"""
    r"""((?:Basic|Bearer|Digest|Negotiate|Token|ApiKey|AWS4-HMAC-SHA256)\s+)?[^\s"',;{}\[\]][^"'\n]*""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer\s+)[\w.~+/=-]{6,}")
_BASIC = re.compile(r"\b(Basic\s+)([A-Za-z0-9+/_-]{4,}={0,2})")
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# Addresses whose path is the secret.
_WEBHOOK = re.compile(
    r"(https://(?:hooks\.slack\.com|[\w.-]*\.?office\.com|discord(?:app)?\.com/api|[\w.-]+\.logic\.azure\.com)/)"
    r"(?=[^\s?]*(?:services|webhook|workflows|triggers))[^\s'\"]+",
    re.IGNORECASE,
)
# `user:password@host` without any `scheme://`, and Oracle's `user/password@host`.
_NO_SCHEME = re.compile(
    r"(?<![\w.:@*-])(?!(?:mailto|sip|acct|xmpp|to|from|cc):)([\w.+-]+):(?!\*{3}@|\d+[?#])(?=\d*[^\s@/\d])[^\s@/]{1,200}@(?=[\w\[])"
)
_ORACLE = re.compile(r"(:(?:thin|oci8?):[^\s/@]+/)[^\s@]+(?=@)", re.IGNORECASE)
# As SQLAlchemy reads a URL: a user ends at a colon or a slash, a password at the first @.
_DATABASE_PASSWORD = re.compile(r"^([A-Za-z][\w+.-]*://[^:/@]*):[^@]*@")
_UNCLEAR = re.compile(r"^[A-Za-z][\w+.-]*://(?!/)[^@]*@[^?]*(?:@|\?[^=]*@)")
_SECRET_PAIR = re.compile(rf"{_QUERY_NAME}=", re.IGNORECASE)
_IN_CONNECTION = re.compile(rf"(?:^|(?<=;))\s*{_NAME}\s*=\s*(?:\{{(?:\}}\}}|[^}}])*\}}|[^;]*);?", re.IGNORECASE)
# What may be a secret once it is decoded.
_PERCENT_FORM = re.compile(r"(?<!\S)\S*%[0-9A-Fa-f]{2}\S*")
_DECODED_TIMES = 3

# The services that are used most: in a text their whole URL is hidden. Of all others the settings know the secrets.
_TOKENS = {
    *("apprise", "apprises", "discord", "gchat", "gotify", "gotifys", "ifttt", "matrix", "matrixs", "mmost", "mmosts"),
    *("msteams", "ntfy", "ntfys", "opsgenie", "pagerduty", "pover", "pushover", "rocket", "rockets", "signal"),
    *("slack", "splunk", "teams", "tgram", "twilio", "webex", "workflow", "workflows", "wxteams"),
}
# Options of Apprise that say how to send, not to whom or as whom.
_OPTIONS = {"cto", "rto", "emojis", "format", "mode", "overflow", "retry", "smtp", "tz", "verify", "wait"}
# Shorter secrets are hidden where they stand alone only: "a" is in every word.
_SHORT = 3


def masked(text: str) -> str:
    """The text without the secrets that can be told by their form.

    >>> masked("cannot open postgresql://risk:a@b/c@db/loans?sslmode=require&sslpassword=x")
    'cannot open postgresql://risk:***@db/loans?sslmode=require&sslpassword=***'
    """
    shown = _in_plain_form(text)
    return _PERCENT_FORM.sub(lambda found: _in_percent_form(found[0]), shown)


def _in_plain_form(text: str) -> str:
    parts, done = [], 0
    while (mark := text.find("://", done)) >= 0:
        begin, before = mark + 3, _SCHEME_BEFORE.search(text[max(done, mark - _LONGEST_SCHEME) : mark])
        scheme = before[0] if before else ""
        end = _end_of_url(text, mark - len(scheme), begin)
        if scheme.lower() not in _WITH_PORT and (further := _BLANK_IN_PASSWORD.match(text, begin)):
            end = max(end, further.end())
        shown, length = _credentials(scheme.lower(), text[begin:end])
        parts += [text[done:begin], shown]
        done = begin + length
    return _without_values("".join([*parts, text[done:]]))


def _in_percent_form(word: str) -> str:
    """The word decoded and masked where that shows a secret, else as it is."""
    plain = word
    for _ in range(_DECODED_TIMES):
        decoded = unquote_plus(plain) if "%2B" in plain.upper() or "+" in plain else unquote(plain)
        if decoded == plain:
            break
        plain = decoded
        shown = _in_plain_form(plain)
        if shown != plain:
            return shown
    return word


def masked_url(url: str) -> str:
    """As `masked`, for what is known to be one URL: its password may hold blanks and quotes, too."""
    match = _SCHEME.match(url)
    if match is None:
        return masked(url)
    shown, length = _credentials(match[1].lower(), url[match.end() :])
    rest = re.sub(rf"({_BEFORE_QUERY}{_QUERY_NAME}=)[^&]+", rf"\1{HIDDEN}", url[match.end() + length :], flags=re.I)
    whole = match[0] + shown + rest
    # What came before was masked as one URL, and a password with blanks is gone by now.
    return masked(whole)


def without_login(url: str) -> tuple[str, str, str]:
    """A URL without user and password, and these two, decoded; both empty where it has none.

    >>> without_login("https://risk:a/b%20c@mlflow.lender.example/ui")
    ('https://mlflow.lender.example/ui', 'risk', 'a/b c')
    """
    match = _SCHEME.match(url)
    if match is None:
        return url, "", ""
    rest = url[match.end() :]
    _, length = _credentials(match[1].lower(), rest)
    user, _, password = rest[:length].removesuffix("@").partition(":")
    return match[0] + rest[length:], unquote(user), unquote(password)


def without_passwords(url: str) -> str:
    """A database's URL without what opens it: its password, and the secrets of its query and of a connection string in
    it. Its user stays.

    >>> without_passwords("postgresql://risk:a/b@db/loans?sslmode=require&sslpassword=x")
    'postgresql://risk@db/loans?sslmode=require'
    """
    address, mark, query = _DATABASE_PASSWORD.sub(r"\1@", url).partition("?")
    kept = [_without_its_secrets(pair) for pair in query.split("&") if not _SECRET_PAIR.match(pair)]
    return f"{address}{mark if kept else ''}{'&'.join(kept)}"


def _without_its_secrets(pair: str) -> str:
    name, _, value = pair.partition("=")
    if name.lower() != "odbc_connect":
        return pair
    return f"{name}={quote_plus(_IN_CONNECTION.sub('', unquote_plus(value)))}"


def has_unclear_login(url: str) -> bool:
    """Whether a database's URL has an @ more than ends its login: whoever opens it takes a part of the password for a
    host, and says so.
    """
    return _UNCLEAR.match(url) is not None


def masked_service(url: str) -> str:
    """An Apprise URL as its scheme, and its host and port where they are none of the secrets.

    >>> masked_service("mailto://user:secret@relay:25?to=risk@example.org"), masked_service("slack://token/a/b")
    ('mailto://relay:25', 'slack://***')
    """
    match = _SCHEME.match(url)
    if match is None:
        return HIDDEN
    scheme, rest = match[1].lower(), url[match.end() :]
    return f"{scheme}://{_parts_of_service(rest)[1] if scheme in _ADDRESSES else HIDDEN}"


class Secrets:
    """Secrets that are known by their value. Has no text of its own: it is never shown."""

    def __init__(self, values: Iterable[str | SecretStr] = (), services: Iterable[str] = ()) -> None:
        """`values`: URLs with secrets in them, or secrets; `services`: Apprise URLs, of which nearly all is secret."""
        known: set[str] = set()
        for value in values:
            raw = value if isinstance(value, str) else value.get_secret_value()
            known |= set(_secrets_of_url(raw)) if _SCHEME.match(raw) else {raw}
        for url in services:
            known |= set(_secrets_of_service(url))
        written = {form for secret in known for form in _forms(secret) if form and form != HIDDEN}
        self._known = tuple(sorted(written, key=lambda form: (-len(form), form)))

    def __bool__(self) -> bool:
        return bool(self._known)

    def hide(self, text: str) -> str:
        """The text without these secrets and without those that `masked` finds."""
        for secret in self._known:
            if len(secret) > _SHORT:
                text = text.replace(secret, HIDDEN)
            else:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", lambda _: HIDDEN, text)
        return masked(text)


def _credentials(scheme: str, rest: str) -> tuple[str, int]:
    """What is shown of the credentials at the beginning of what follows `://`, and how long they are."""
    if scheme in _TOKENS:
        return HIDDEN, len(rest)
    if scheme in _WITH_PORT and _HOST_AND_PORT.match(rest):
        return "", 0
    match = _USER_AND_PASSWORD.match(rest)
    # In an address of the web, what comes after the first of these is no user any more.
    if match and not (scheme in _WEB and re.search("[?#]", match[1])):
        return f"{match[1]}:{HIDDEN}@", match.end()
    if scheme in _WEB and (token := _TOKEN_AS_USER.match(rest)):
        return f"{HIDDEN}@", token.end()
    return "", 0


def _end_of_url(text: str, start: int, begin: int) -> int:
    """Where a URL in a text ends at the latest: at the next blank, or at one after the quote that it began with."""
    mark = text[start - 1 : start] if start else ""
    quoted = rf"(?:\\.|[^{mark}\\\n])*" if mark and mark in "\"'`" else ""
    match = re.compile(rf"{quoted}\S*").match(text, begin)
    return match.end() if match else begin


def _without_values(text: str) -> str:
    text = _PRIVATE_KEY.sub(rf"\1{HIDDEN}\2", text)
    text = _WEBHOOK.sub(rf"\1{HIDDEN}", text)
    text = _IN_QUERY.sub(rf"\1{HIDDEN}", text)
    text = _NO_SCHEME.sub(rf"\1:{HIDDEN}@", text)
    text = _ORACLE.sub(rf"\1{HIDDEN}", text)
    text = _HEADER.sub(lambda found: f"{found[1]}{found[2] or ''}{HIDDEN}", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    text = _BASIC.sub(lambda found: f"{found[1]}{HIDDEN}" if _is_a_login(found[2]) else found[0], text)
    text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    text = _ENTRY_IN_QUOTES.sub(rf"\1\2{HIDDEN}\2", text)
    text = _ENTRY.sub(rf"\1\2{HIDDEN}\2", text)
    text = _LINE.sub(rf"\1\2{HIDDEN}", text)
    text = _IN_BRACES.sub(rf"\1{HIDDEN}", text)
    text = _IN_TAGS.sub(rf"\1{HIDDEN}", text)
    return _OPTION.sub(rf"\1{HIDDEN}", text)


def _is_a_login(text: str) -> bool:
    """Whether a word is `user:password` in base64."""
    try:
        return b":" in base64.b64decode(
            text + "=" * (-len(text) % 4), altchars=b"-_" if set(text) & {"-", "_"} else None
        )
    except ValueError:
        return False


def _secrets_of_url(url: str) -> Iterator[str]:
    scheme, _, rest = url.partition("://")
    _, length = _credentials(scheme.lower(), rest)
    if length:
        user, colon, password = rest[:length].removesuffix("@").partition(":")
        yield password if colon else user
    for _, value in re.findall(rf"({_BEFORE_QUERY}{_QUERY_NAME}=)([^&]+)", rest, flags=re.IGNORECASE):
        yield value
    # Connection strings in percent form, as `odbc_connect` has them.
    for _, value in re.findall(
        rf"(\b{_NAME}\s*=\s*)(\{{(?:\}}\}}|[^}}])*\}}|[^;&]+)", unquote_plus(rest), flags=re.IGNORECASE
    ):
        yield value


def _secrets_of_service(url: str) -> Iterator[str]:
    scheme, mark, rest = url.partition("://")
    if not mark:
        yield url
        return
    credentials, host, further = _parts_of_service(rest)
    user, _, password = credentials.partition(":")
    yield password
    path, _, query = further.partition("?")
    for text in (user, password, path, "" if scheme.lower() in _ADDRESSES else host):
        yield from _words(text)
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name.lower() not in _OPTIONS:
            yield from _words(value)


def _parts_of_service(rest: str) -> tuple[str, str, str]:
    """Credentials, host with port, and what follows them, of what comes after `://` of an Apprise URL."""
    # Apprise cuts the query off first, and that nearly always holds the @ of a recipient.
    address, _, _ = rest.partition("?")
    _, length = _credentials("mailto", address if "@" in address else rest)
    host = re.split("[/?#]", rest[length:], maxsplit=1)[0]
    user, _, shown = host.rpartition("@")
    return rest[: length - 1] if length else user, shown, rest[length + len(host) :]


def _words(text: str) -> Iterator[str]:
    for form in (text, unquote(text)):
        yield from re.split(r"[/:?&=@#,+\s]+", form)


def _forms(secret: str) -> set[str]:
    """A secret as libraries write it: as it is, decoded, encoded again, inside a Python or a JSON string."""
    plain = {secret, unquote(secret), unquote_plus(secret)}
    encoded = {quote(one, safe=safe) for one in plain for safe in ("/", "", " +")} | set(map(quote_plus, plain))
    return plain | encoded | {form[1:-1] for one in plain for form in (repr(one), json.dumps(one), ascii(one))}
