"""Packages of an operator, as a test writes them: built and installed by pip into a folder of their own."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"

[project.entry-points."{group}"]
{entries}
"""


def install(folder: Path, name: str, group: str, entries: Mapping[str, str], source: str) -> Path:
    """Write a distribution of one module, install it, and give the folder that it is installed in.

    Args:
        folder: for the source and for what is installed.
        name: of the distribution and its module.
        group: of its entry points.
        entries: what they are called and where they lead, such as ``{"double": "mine:double"}``.
        source: of the module.
    """
    lines = "\n".join(f'"{entry}" = "{place}"' for entry, place in entries.items())
    project = _PROJECT.format(name=name, group=group, entries=lines)
    return install_project(folder, {"pyproject.toml": project, f"{name}.py": source})


def install_project(folder: Path, files: Mapping[str, str]) -> Path:
    """Write the files of a distribution, install it, and give the folder that it is installed in.

    Args:
        folder: for the source and for what is installed; several distributions may share it.
        files: by name, ``pyproject.toml`` among them.
    """
    project, target = folder / f"source-{len([*folder.glob('source-*')])}", folder / "installed"
    project.mkdir(parents=True)
    for name, text in files.items():
        (project / name).write_text(text)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(project)],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    return target


@contextmanager
def importable(folder: Path, *modules: str) -> Iterator[None]:
    """What is installed in a folder can be imported, as if it stood beside the project; forgotten at the end."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for module in modules:
            sys.modules.pop(module, None)
