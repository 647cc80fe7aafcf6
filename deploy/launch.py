"""Becomes another program that dies with its parent; run as a script of its own, with nothing but the standard library.

    python -I -S launch.py PARENT SIGNAL IDENTITY FOLDER PROGRAM [ARGUMENT...]

``PARENT`` is the pid that must still be there, ``SIGNAL`` what the kernel sends when it is gone, ``FOLDER`` the working
directory. ``IDENTITY`` is what the program runs as:

``self``
    as whoever starts it;
``map:UID:GID``
    in a user namespace where our user is called ``UID``: PostgreSQL, which refuses to run as root, does not see root,
    while every file stays as reachable as before;
``drop:UID:GID``
    as that user, keeping only the capability to pass folder permissions (``CAP_DAC_OVERRIDE``), for machines that
    forbid user namespaces.

A script and not a `preexec_fn`, which is unsafe in a process with threads.
"""

import contextlib
import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Take on the identity, bind this life to the parent's, and become the program."""
    parent, signal, identity, folder, *command = arguments
    kind, *numbers = identity.split(":")
    if kind == "map":
        _map(*(int(number) for number in numbers))
    elif kind == "drop":
        _drop(*(int(number) for number in numbers))
    os.umask(0o077)
    os.chdir(folder)
    # After the identity, since the kernel forgets the signal when credentials change.
    _call("prctl", _PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the process that started this one is gone")
    os.execv(command[0], command)  # noqa: S606 — no shell is the point


def _map(uid: int, gid: int) -> None:
    """Enter a user namespace where our user and group are called ``uid`` and ``gid``."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call("unshare", _CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1")


def _drop(uid: int, gid: int) -> None:
    """Become another user who may still pass through folders that only root may enter."""
    _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << _CAP_DAC_OVERRIDE
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    with contextlib.suppress(OSError):  # a container may lack it; then ordinary permissions decide
        _call("capset", ctypes.byref(header), ctypes.byref(data))
        _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library that answers -1 on failure."""
    if getattr(_libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
