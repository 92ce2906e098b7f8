"""No text that was masked holds a secret, and a text without secrets stays as it is."""

from __future__ import annotations

import base64
import json
import traceback
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from credit_assets.masking import Secrets, masked, masked_service, masked_url, without_login
from credit_assets_tests.support.fuzz import fuzz

CANARY = "c4naRy"
# What a password may hold, and what ends one in some reading of a URL.
AROUND = st.text(st.sampled_from("aZ09@/:?#&=%+;,.!'\"$~-_\\"), max_size=6)
NAMES = (
    "password",
    "sslPassword",
    "passwd",
    "pwd",
    "token",
    "secret",
    "api_key",
    "access_key",
    "AWSAccessKeyId",
    "sig",
)
SCHEMES = ("postgresql", "postgresql+psycopg", "mysql", "https", "http", "mailto", "oracle", "redis", "s3")


@st.composite
def canaries(draw: st.DrawFn) -> str:
    """A secret that is known by its middle, whatever stands around it."""
    return f"{draw(AROUND)}{CANARY}{draw(AROUND)}"


@st.composite
def urls(draw: st.DrawFn) -> str:
    # `user:123/` is a host with its port for whoever opens it.
    secret = draw(canaries().filter(lambda one: not one[0].isdigit()))
    scheme, user = draw(st.sampled_from(SCHEMES)), draw(st.sampled_from(["", "risk", "risk@corp", "a.b+c"]))
    host = draw(st.sampled_from(["db", "db:5432", "10.0.0.1:80", "[::1]:5432", "h1:1,h2:2", "a.example.org"]))
    if draw(st.booleans()):
        return f"{scheme}://{user}:{secret}@{host}/loans?sslmode=require"
    name = draw(st.sampled_from(NAMES))
    return f"{scheme}://{host}/loans?a=1&{name}={quote(secret, safe='')}&b=2"


@st.composite
def sentences(draw: st.DrawFn) -> str:
    """Words with URLs among them, bare, in quotes and in brackets, as libraries write them."""
    wrap = st.sampled_from(
        ["{}", "'{}'", '"{}"', "`{}`", "({})", "<{}>", "url={}", "url='{}',", "...{}", "1{}", "{}.\n"]
    )
    around = st.sampled_from(["cannot connect to", "and mail a@b.example", "at 12:30,", "see http://h:80/x@y", "key=1"])
    return " ".join(draw(around) if draw(st.booleans()) else draw(wrap).format(draw(urls())) for _ in range(5))


@fuzz(100)
@given(sentences())
@example(f"postgresql://u:pa/{CANARY}@h/db")
@example(f"postgresql://me@corp:{CANARY}@h/db")
@example(f"postgresql://h/db?sslpassword={CANARY}")
@example(f"https://{CANARY}@h/x")
@example(f"postgresql://u:a://{CANARY}@h/db")
def test_no_url_in_a_text_shows_its_secret(text: str) -> None:
    shown = masked(text)
    assert CANARY not in shown
    assert masked(shown) == shown


@fuzz(100)
@given(st.text(max_size=9), st.text(max_size=9), st.sampled_from(SCHEMES))
def test_a_url_by_itself_may_have_blanks_and_quotes_in_its_password(before: str, after: str, scheme: str) -> None:
    # `user:123/` is a host with its port for whoever opens it.
    assume(not before[:1].isdigit())
    url = f"{scheme}://risk:{before}{CANARY}{after}@db/loans"
    assert CANARY not in masked_url(url)
    assert masked_url(url).startswith(f"{scheme}://risk:***@")


@fuzz(100)
@given(canaries(), st.sampled_from(["password", "Password", "PGPASSWORD", "client_secret", "api_key", "x.token"]))
def test_no_assignment_shows_its_secret(secret: str, name: str) -> None:
    quoted = secret.replace("\\", "\\\\").replace("'", "\\'")
    bare = f"host=db {name}={secret} dbname=loans"
    assert masked(bare) == f"host=db {name}=*** dbname=loans" or secret[0] in "'\"="
    assert masked(f"host=db {name} = '{quoted} x' dbname=loans") == f"host=db {name} = *** dbname=loans"
    assert CANARY not in masked(f"Driver=x;{name}={{a {CANARY}}};Server=db")
    for entry in (json.dumps({name: secret, "a": 1}), str({name: secret, "a": 1})):
        shown = masked(entry)
        assert CANARY not in shown
        assert shown.endswith(": 1}")


@fuzz(100)
@given(canaries(), st.sampled_from(["postgresql", "https"]))
def test_a_known_secret_is_found_however_it_is_written(secret: str, scheme: str) -> None:
    secrets = Secrets([SecretStr(f"{scheme}://u:{quote(secret, safe='')}@h/db")])
    text = f"{secret!r} {json.dumps(secret)} {quote(secret)} {quote(secret, safe='')} x{secret}y"
    assert CANARY not in secrets.hide(f"login failed for {secret}: {text}")
    assert secrets


@fuzz(100)
@given(st.lists(canaries(), min_size=1, max_size=4))
def test_all_secrets_of_the_settings_are_hidden_also_in_a_traceback(values: list[str]) -> None:
    first, *others = (quote(value, safe="") for value in values)
    secrets = Secrets([f"mysql://u:{one}@h" for one in others] + ["plain-secret-value"], [f"slack://{first}/a1b2/c"])
    try:
        raise ValueError(f"no answer from {values} with plain-secret-value")
    except ValueError:
        shown = secrets.hide(traceback.format_exc())
    assert CANARY not in shown
    assert "plain-secret-value" not in shown
    assert "ValueError: no answer from" in shown


@pytest.mark.parametrize(
    ("url", "has_one"),
    [
        ("postgresql://u:pa/ss@h/db", True),
        ("postgresql://h/db?sslpassword=x", True),
        ("https://token@h", True),
        ("postgresql://u@h/db", False),
        ("sqlite:////a/b.db", False),
    ],
)
def test_whether_a_url_has_a_secret_at_all(url: str, has_one: bool) -> None:
    """By this it is decided whether the cause of an error, whose text may quote the URL, is kept with it."""
    assert bool(Secrets([url])) is has_one


@pytest.mark.parametrize("secret", ["x", "ab", "7"])
def test_a_short_secret_is_hidden_where_it_stands_alone(secret: str) -> None:
    secrets = Secrets([f"postgresql://u:{secret}@h/db"])
    assert secrets.hide(f"wrong password {secret}, a{secret}b stays") == f"wrong password ***, a{secret}b stays"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p@ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:a/b:c@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u@corp:p@h/db", "postgresql://u@corp:***@h/db"),
        ("https://:token@h", "https://:***@h"),
        ("https://token@h/x", "https://***@h/x"),
        ("postgresql://h/db?user=u&password=p&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("postgresql://u:a:b@c/d?sslPassword=q&sslmode=x", "postgresql://u:***@c/d?sslPassword=***&sslmode=x"),
        ("s3://b/k?X-Amz-Signature=1&X-Amz-Date=2", "s3://b/k?X-Amz-Signature=***&X-Amz-Date=2"),
        (
            "from postgresql://u:p@h/a to 'mysql://v:q@k/b'",
            "from postgresql://u:***@h/a to 'mysql://v:***@k/b'",
        ),
        ("see slack://a/b/c now", "see slack://*** now"),
    ],
)
def test_what_is_left_of_a_url(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert " " in url or masked_url(url) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sqlite:////a/b.db",
        "duckdb:///C:/Users/a@b/x.duckdb",
        "postgresql://risk@db:5432/loans?sslmode=require&sslkey=/etc/key.pem",
        "http://h:5000/x@y?mail=a@b",
        "http://[::1]:5000/x@y",
        '{"server": "http://h:5000", "mail": "a@b.example"}',
        "mailto://relay:25?from=a@b.example&to=c@d.example",
        "s3://bucket/key@2024:01/x",
        "Page: http://h:3000/assets/loan_scores?view=partitions&partition=2024-01-01",
        "sorted(rows, key=len, reverse=True) if password == given else partition_key='2024-01-01'",
        "wrong password: authentication failed for user risk",
        "the token of the month; secrets are none",
    ],
)
def test_a_text_without_secrets_stays(text: str) -> None:
    assert masked(text) == text
    assert masked_url(text) == text
    assert Secrets().hide(text) == text


@fuzz(100)
@given(st.text(st.characters(exclude_characters="=:")))
def test_any_text_without_an_address_and_an_assignment_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"mailto://user:{CANARY}@relay.example.org:25?to={CANARY}@example.org", "mailto://relay.example.org:25"),
        (f"mailtos://u:pa/{CANARY}#x?@relay", "mailtos://relay"),
        (f"json://u:{CANARY}@h:port/{CANARY}", "json://h:port"),
        (f"slack://{CANARY}/a/b", "slack://***"),
        (f"nosuch://{CANARY}@host", "nosuch://***"),
        (CANARY, "***"),
    ],
)
def test_a_service_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert masked_service(url) == shown
    assert CANARY not in Secrets(services=[url]).hide(f"no answer from {url}, {CANARY}")


def test_what_a_service_is_told_about_sending_is_no_secret() -> None:
    secrets = Secrets(services=["mailto://relay:25?from=credit@example.org&to=risk@example.org&mode=starttls&cto=10"])
    assert secrets.hide("relay: 10 s, starttls from 25 to it failed") == "relay: 10 s, starttls from 25 to it failed"
    assert secrets.hide("550 risk@example.org unknown") == "550 ***@*** unknown"


LOGIN = base64.b64encode(f"risk:{CANARY}".encode()).decode()
ODBC = f"Driver=x;Server=db;Uid=me;Pwd={CANARY};Encrypt=yes"
IN_A_QUERY = quote(f"postgresql://me:{CANARY}@db/loans", safe="")


@pytest.mark.parametrize(
    "text",
    [
        # Connection strings.
        ODBC,
        f"mssql+pyodbc:///?odbc_connect={quote_plus(ODBC)}",
        f"mssql+pyodbc:///?odbc_connect={quote(ODBC)}",
        f"Driver=x;PWD={{a;b}}}}{CANARY}}};Encrypt=yes",
        f"Driver=x;Password=my {CANARY} word;Server=y",
        f'Driver=x;Pwd="a;{CANARY}";Server=y',
        f"Server=db;Database=x;User Id=me;Password={CANARY};",
        f"jdbc:postgresql://db/loans?user=me&password={CANARY}",
        f"jdbc:sqlserver://db:1433;databaseName=x;user=me;password={CANARY};",
        f"jdbc:oracle:thin:me/{CANARY}@//db:1521/x",
        f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={CANARY}==;EndpointSuffix=core",
        f"Endpoint=sb://x/;SharedAccessKeyName=r;SharedAccessKey={CANARY}=",
        f"SharedAccessSignature=sv=2020&sig={CANARY}%3D",
        f"host=db password='a\\'{CANARY} y' dbname=x",
        # URLs.
        f"postgresql+psycopg://me:{CANARY}@/loans?host=db&port=5432",
        f"postgresql+psycopg://me@/loans?host=db&password={CANARY}",
        f"postgresql://h/db?pass%77ord={CANARY}",
        f"snowflake://me:{CANARY}@acc/db?warehouse=x&private_key={CANARY}&passcode={CANARY}",
        f"bigquery://p/d?credentials_base64={CANARY}",
        f"redis://:{CANARY}@h:6379/0",
        f"s3://AKIA:ab/{CANARY}@bucket/x",
        f"az://c/x?account_key={CANARY}&sas_token={CANARY}",
        f"https://x.blob.example/c?sv=2020&sig={CANARY}%3D&se=2",
        f"https://b.example/k?X-Amz-Credential=A/x&X-Amz-Signature={CANARY}&X-Amz-Security-Token={CANARY}",
        f"https://h/x?a=1&amp;sig={CANARY}",
        f"https://h/x;token={CANARY}",
        f"https://h/cb#access_token={CANARY}&x=1",
        f"https://h/f?code={CANARY}",
        f"[x](https://me:{CANARY}@h/x)",
        f"cannot open postgresql://me:ab {CANARY}@db/x",
        f"one\npostgresql://me:{CANARY}@db/x\nagain",
        f"postgresql:/me:{CANARY}@db/x",
        f"https:\\\\me:{CANARY}@db",
        f"//me:{CANARY}@db/x",
        f"url=me:{CANARY}@db:5432/x",
        IN_A_QUERY,
        f"https://x/?next={IN_A_QUERY}",
        quote(IN_A_QUERY, safe=""),
        # Addresses whose path is the secret.
        f"https://hooks.slack.com/services/T0/B0/{CANARY}",
        f"https://x.webhook.office.com/webhookb2/{CANARY}",
        f"https://discord.com/api/webhooks/1/{CANARY}",
        # Headers.
        f"Authorization: Basic {LOGIN}",
        f"Authorization: Bearer {CANARY}",
        str({"Authorization": f"Basic {LOGIN}"}),
        json.dumps({"headers": {"authorization": f"Bearer {CANARY}"}}),
        str(("Authorization", f"Bearer {CANARY}")),
        str({b"Authorization": f"Bearer {CANARY}".encode()}),
        f"sent Basic {LOGIN} and was refused",
        f"X-Api-Key: {CANARY}",
        f"Dagster-Cloud-Api-Token: {CANARY}",
        f"Set-Cookie: session={CANARY}; HttpOnly",
        f"Proxy-Authorization: Basic {LOGIN}",
        # Files and objects.
        f"password: {CANARY}\nhost: db",
        f"  password: 'a {CANARY}'",
        f"password: |\n  ab\n  {CANARY}\nhost: db",
        f"- token: {CANARY}\n- a: b",
        f"{{password: {CANARY}, host: db}}",
        json.dumps({"a": {"db_password": CANARY}}),
        json.dumps(json.dumps({"password": CANARY})),
        json.dumps({"passwords": [CANARY, "b"]}),
        str({"password": CANARY.encode()}),
        f"connect(user='me', password=b'{CANARY}')",
        f"Settings(token=SecretStr('{CANARY}'))",
        f'password = "{CANARY}"',
        f"<password>{CANARY}</password>",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
        # Command lines.
        f"mlflow --password {CANARY}",
        f"psql --password={CANARY}",
        f"curl -u me:{CANARY} https://x",
        f"export TOKEN={CANARY}",
    ],
)
def test_a_secret_is_known_by_its_form(text: str) -> None:
    for shown in (masked(text), masked_url(text), Secrets().hide(text)):
        assert CANARY not in shown
        assert LOGIN not in shown
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "Basic information and Bearer bonds",
        "sort-key: application_date",
        "at 12:30, see runs/4711 of credit-scorer@champion",
        "models:/credit-scorer@champion",
        "https://h/x?options=-c%20search_path%3Drisk",
        "100%25 of rows",
        "error: mail to:a@b",
    ],
)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    "word", ["a", "a:b ", "%41", "-", "token", "password=a ", '{"a": 1} ', "u:p", "password: x\n  y\n"]
)
def test_a_long_text_costs_no_more_than_its_length(word: str) -> None:
    # Ends within the time of a test where each sign is looked at a few times, and after hours where it is not.
    assert masked(word * (200_000 // len(word)))


@pytest.mark.parametrize("shape", ["https://me:{}@h/ui", "postgresql://me:{}@h/x", "https://h/x?sig={}"])
@pytest.mark.parametrize("secret", ["c4/naRy", "c4@naRy", "c4:naRy", "c4#naRy", "c4?naRy", "c4 naRy", "c4%naRy"])
def test_a_login_is_taken_out_of_a_url(shape: str, secret: str) -> None:
    bare, user, password = without_login(shape.format(secret))
    if "me:" in shape:
        assert (user, password) == ("me", secret)
        assert bare == shape.replace("me:{}@", "")
    else:
        assert (user, password) == ("", "")
