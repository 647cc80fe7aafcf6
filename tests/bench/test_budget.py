"""Parts of the budget of a run: samples are told apart by their innermost frame that is known."""

from pathlib import Path

from tests.bench.budget import Budget, counted, table

_ROOT = Path(__file__).parents[2]


def test_a_sample_belongs_to_its_innermost_known_frame() -> None:
    """Whatever calls it, and whatever it calls that is of no part."""
    loop = "run (/usr/lib/python3.11/asyncio/runners.py:190)"
    handler = f"receive ({_ROOT}/api/webhook_receiving.py:10)"
    web = "start (/x/.venv/lib/python3.11/site-packages/aiohttp/web_protocol.py:1)"
    encode = "encode (/usr/lib/python3.11/json/encoder.py:2)"
    stacks = [
        f"{loop} 4",
        f"{loop};{web} 3",
        f"{loop};{web};{handler} 2",
        f"{loop};{web};{handler};{encode} 1",
        "x (y.py:1) 5",
    ]
    assert counted(stacks) == {
        "event loop": 4,
        "aiohttp": 3,
        "the handler: token, payload, answer": 3,
        "other": 5,
    }


def test_the_table_names_every_process() -> None:
    """Parts of Python processes in columns, what the servers do below."""
    cpu = {"api": 100.0, "both workers": 130.0, "postgres": 90.0, "redis": 9.0, "load": 15.0}
    parts = {"api": {"aiohttp": 60.0, "other": 40.0}, "both workers": {"event loop": 130.0}}
    told = table(Budget(1000, cpu, parts, {"Makes runs": 40.0}, {"rpush": 2.0}))
    assert "| aiohttp | 60 | - |" in told
    assert "| **sum** | **100** | **130** |" in told
    assert "PostgreSQL: 90 us of CPU; elapsed: Makes runs 40.0" in told
    assert "Load generator: 15 us. 1,000 runs." in told
