"""As whom the embedded PostgreSQL runs: it refuses root, and may sit in folders that only root may enter."""

import os
import pwd
import signal
import subprocess
from pathlib import Path

from deploy import processes
from shared.errors import ConfigError


def choose(folder: Path, program: Path) -> str:
    """The identity, as `deploy.launch` reads it, under which ``program`` runs in ``folder``.

    An ordinary user is fine as it is. For root, and for a user without an account entry (as some containers have), a
    user namespace is tried first, then an account that keeps the right to pass through root's folders.

    Raises:
        ConfigError: if no identity works here.
    """
    if os.geteuid() != 0 and _has_account():
        return "self"
    account = _account()
    for kind in ("map", "drop"):
        identity = f"{kind}:{account.pw_uid}:{account.pw_gid}"
        if _works(identity, folder, program):
            return identity
    raise ConfigError(
        "embedded_postgres",
        "PostgreSQL does not run as root, and this machine allows neither a user namespace nor a change of user. "
        "Start as an ordinary user, or give --database-url.",
    )


def own(folder: Path, identity: str) -> None:
    """Give a folder of ours, and all in it, to the user of the identity, as PostgreSQL demands of its data."""
    kind, *numbers = identity.split(":")
    uid, gid = (int(number) for number in numbers) if kind == "drop" else (os.geteuid(), os.getegid())
    if folder.stat().st_uid == uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)


def _has_account() -> bool:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def _account() -> pwd.struct_passwd:
    """An account without privileges; initdb looks up the name of its user."""
    accounts = sorted(pwd.getpwall(), key=lambda entry: (entry.pw_name != "nobody", entry.pw_uid))
    for entry in accounts:
        if entry.pw_uid != 0:
            return entry
    raise ConfigError("embedded_postgres", "PostgreSQL needs an account besides root, and this machine has none.")


def _works(identity: str, folder: Path, program: Path) -> bool:
    """Whether the program can be started under this identity in this folder."""
    with Path(os.devnull).open("wb") as nowhere:
        probe = processes.spawn(
            [str(program), "--version"],
            folder=folder,
            identity=identity,
            death_signal=signal.SIGKILL,
            output=nowhere,
        )
        try:
            return probe.wait(10) == 0
        except subprocess.TimeoutExpired:
            probe.kill()
            return probe.wait() == 0
