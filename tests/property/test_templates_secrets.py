"""What templates write of the vault is told to whoever blanks it, whatever filters made of it."""

import hashlib
import hmac
import json
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.redaction import BLANK, Redactor
from shared.secret_forms import LEAST
from shared.templates import TemplateError, parse
from shared.templates.arguments import taken_by
from shared.templates.environment import ENVIRONMENT

VAULT: Final = {"token": "sk_live-9fQ2 bX7LrT0c", "other": "p@ss-w0rd, é and <more>", "pin": "40718253"}
SCOPE: Final = {"n1": {"v": "plain", "l": ["a", {"key": "b"}]}, "run": {"id": "run_x"}, "vault": VAULT}

_items = [f"vault.{name}" for name in VAULT]
_values = st.sampled_from([*_items, "n1.v", "n1.l", '"k"', '"-"', "0", "12"])


def _called(name: str) -> st.SearchStrategy[str]:
    """A filter with as many arguments as it takes."""
    taken = taken_by(ENVIRONMENT.filters[name])
    given = st.lists(_values, min_size=taken.least, max_size=2 if taken.most is None else taken.most)
    return given.map(lambda arguments: f"{name}: {', '.join(arguments)}" if arguments else name)


_filters = st.sampled_from(sorted(ENVIRONMENT.filters)).flatmap(_called)
_digests = _values.map(lambda key: f"hmac_sha256: {key}")
_made = st.sampled_from(["upcase", 'append: "!"', "append: vault.token", "reverse", 'split: "-"', "b64", "strip"])
_chains = st.tuples(_values, st.lists(_filters | _digests | _made, max_size=4)).map(
    lambda pair: f"{{{{ {' | '.join((pair[0], *pair[1]))} }}}}"
)


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _leaves(part)]
    if isinstance(value, list):
        return [text for part in value for text in _leaves(part)]
    return [value if isinstance(value, str) else json.dumps(value)]


def _digested(chain: str) -> bool:
    """Whether nothing of the vault stands behind the last digest; by the text, apart from what is tested."""
    _, digest, behind = chain.rpartition("| hmac_sha256:")
    return bool(digest) and "vault." not in behind.partition("|")[2]


@settings(max_examples=400)
@given(_chains)
@example('{{ n1.v | hmac_sha256: "k" | append: vault.token | upcase }}')
@example('{{ "" | hmac_sha256: "k" | slice: 0, 0 | append: vault.token | reverse }}')
@example('{{ "x" | hmac_sha256: "k" | replace: "a", vault.token | upcase }}')
@example('{{ vault.other | split: "-" }}')
@example("{{ vault.pin | plus: 1 }}")
def test_what_is_written_is_blanked_unless_it_is_a_digest(source: str) -> None:
    """As text, as a value and as JSON, whole and in its parts; only what is too short to look for stays."""
    template = parse(source)
    if not template.vault.names or _digested(source):
        return
    try:
        written = [template.text(SCOPE), *_leaves(template.value(SCOPE)), *_leaves(json.loads(template.json(SCOPE)))]
        exposed = template.exposed(SCOPE)
    except TemplateError:
        return
    redactor = Redactor(VAULT.values(), exposed)
    left = [text for text in written if len(text) >= LEAST and BLANK not in redactor.text(text)]
    assert left == []


@pytest.mark.parametrize("behind", ["", ' | upcase | append: "!"', " | slice: 0, 12", ' | split: "0"'])
def test_a_digest_is_no_secret(behind: str) -> None:
    """Whatever is done with it by filters that read nothing of the vault: signatures stay readable."""
    assert parse(f"{{{{ n1.v | append: vault.other | hmac_sha256: vault.token{behind} }}}}").exposed(SCOPE) == []


def test_a_secret_behind_a_digest_is_none() -> None:
    """What is put to a digest is a secret as before, and so is the whole."""
    signed = hmac.new(b"k", b"plain", hashlib.sha256).hexdigest()
    made = (signed + VAULT["token"]).upper()
    assert parse('{{ n1.v | hmac_sha256: "k" | append: vault.token | upcase }}').exposed(SCOPE) == [made]


@pytest.mark.parametrize(
    "source",
    [
        "{% if false %}{% assign vault = 1 %}{% endif %}{{ vault.token | upcase }}",
        "{% if false %}{% capture vault %}{% endcapture %}{% endif %}{{ vault }}",
        "{% if false %}{% increment vault %}{% endif %}{{ vault.token }}",
        "{% for vault in n1.l %}{% else %}{{ vault.token | upcase }}{% endfor %}",
        "{% for x in n1.l %}{{ vault.token | upcase }}{% assign vault = 1 %}{% endfor %}",
    ],
)
def test_no_tag_takes_the_name_of_the_vault(source: str) -> None:
    """What such a template reads could be either, so it is a fault."""
    assert any("no tag may give that name" in fault for fault in parse(source).vault.faults)
