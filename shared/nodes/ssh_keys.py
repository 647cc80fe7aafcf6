"""A private key as an author gives it, read within bounds.

A key that is encrypted says itself how long it takes to open: a few bytes of it can ask for days. Whether an RSA key's
factors are prime takes 0.3 s to find out for one of 4,096 bits and fifteen times that for 8,192, with the interpreter
held, so that is not asked; that the factors make the modulus is.
"""

import binascii
import re
from collections.abc import Iterator
from typing import Any, Final

from shared.egress.pinned import shown
from shared.errors import StepFailedError

#: Characters of a key; one of RSA with 16,384 bits has 12,700.
MAX_KEY: Final = 16 * 1024
#: Rounds of bcrypt, whose default is 16 to 24: 256 take about 4 s of a processor.
MAX_ROUNDS: Final = 256
#: Iterations of what else makes a key of a passphrase: a million take up to 2 s.
MAX_ITERATIONS: Final = 1_000_000
#: Bytes of what is made of it.
_MAX_DERIVED: Final = 64
_BEGIN: Final = re.compile(r"^-----BEGIN (?P<kind>(?:[A-Z0-9]+ )?)PRIVATE KEY-----[ \t\r]*$", re.MULTILINE)
_OPENSSH: Final = b"openssh-key-v1\0"


def private_key(library: Any, text: str, passphrase: str | None) -> Any:
    """The first private key of a text, an `asyncssh.SSHKey`. Runs in a thread.

    Args:
        library: the module asyncssh.
        text: in OpenSSH's form or in PEM's.
        passphrase: opens it, if it is encrypted.

    Raises:
        StepFailedError: ``invalid_data`` if it cannot be read, or takes too long to open.
    """
    begin = _BEGIN.search(text)
    if begin is None:
        raise _unread('it begins with no line such as "-----BEGIN OPENSSH PRIVATE KEY-----".')
    end = f"-----END {begin['kind']}PRIVATE KEY-----"
    body, found, _ = text[begin.end() : begin.end() + MAX_KEY].partition(end)
    if not found:
        raise _unread(f'"{end}" does not follow its beginning within {MAX_KEY} characters.')
    try:
        _check_work(library, begin["kind"].strip(), body)
        return library.import_private_key(f"{begin[0]}{body}{end}\n", passphrase, unsafe_skip_rsa_key_validation=True)
    except RecursionError:
        raise _unread("it nests too deep.") from None
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:  # it raises what it likes over hostile ones
        raise _unread(shown(str(error)) or type(error).__name__) from None


def _check_work(library: Any, kind: str, body: str) -> None:
    """That what opens a key ends soon."""
    if kind not in ("OPENSSH", "ENCRYPTED"):
        return  # a passphrase is hashed once or twice
    if ":" in body:
        raise _unread("it has header lines, and a key of its form has none.")
    raw = binascii.a2b_base64(body.encode())
    if kind == "OPENSSH":
        rounds = _rounds(library, raw)
        if rounds > MAX_ROUNDS:
            raise _unread(f"its passphrase goes through {rounds} rounds of bcrypt, and {MAX_ROUNDS} are made at most.")
        return
    largest, *others = sorted((0, *_integers(library.asn1.der_decode_partial(raw)[0][0])), reverse=True)
    if largest > MAX_ITERATIONS or max(others, default=0) > _MAX_DERIVED:
        raise _unread(f"its passphrase goes through more than {MAX_ITERATIONS} iterations.")


def _rounds(library: Any, raw: bytes) -> int:
    """Those that a key of OpenSSH's own form asks for (PROTOCOL.key)."""
    packet = library.packet.SSHPacket(raw.removeprefix(_OPENSSH))
    packet.get_string()  # the cipher
    packet.get_string()  # what makes its key
    options = library.packet.SSHPacket(packet.get_string())
    if not options:
        return 0
    options.get_string()  # the salt
    return int(options.get_uint32())


def _integers(value: Any) -> Iterator[int]:
    """Those of an algorithm's parameters."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, (tuple, list, frozenset)):
        for part in value:
            yield from _integers(part)


def _unread(why: str) -> StepFailedError:
    return StepFailedError("invalid_data", f"data.private_key: the key cannot be read: {why}")
