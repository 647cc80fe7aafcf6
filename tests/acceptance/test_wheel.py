"""The built wheel works by itself: what runs in a pod is not the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]

_PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
import api.main, deploy.cli, scheduler.main, worker.main
from shared import queries
from shared.migrate import migrations
from shared.nodes.registry import default_registry

assert all(module.__file__.startswith(sys.argv[1]) for module in (api.main, deploy.cli, scheduler.main, worker.main))
assert len(migrations()) >= 1
assert all(queries.load(table) for table in queries.tables())
print(*default_registry().names())
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a wheel that was built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=_ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "content")
    return folder / "content"


def test_every_process_starts_from_the_wheel_alone(unpacked: Path, tmp_path: Path) -> None:
    """All packages, queries, migrations and node types are in it, and nothing is read from the checkout."""
    answer = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE, str(unpacked)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert {"webhook", "manual_trigger", "string_condition"} <= set(answer.stdout.split())


def test_the_wheel_holds_the_packages_and_nothing_else(unpacked: Path) -> None:
    """No tests, no documentation, no stray folder."""
    (metadata,) = unpacked.glob("edgewise-*.dist-info")
    assert {entry.name for entry in unpacked.iterdir()} == {
        "api",
        "deploy",
        "scheduler",
        "shared",
        "worker",
        metadata.name,
    }
    assert "Private :: Do Not Upload" in (metadata / "METADATA").read_text()
