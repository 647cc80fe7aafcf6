"""DBOS: workflows called in the process that serves requests, by a thread each; each step is a row in PostgreSQL.

with_dbos.py DATABASE_URL BROKER_URL SECONDS
"""

import sys
from typing import Any

from dbos import DBOS
from measure import LENGTH, PAYLOAD, called, tell


@DBOS.step()
def receive(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


@DBOS.step()
def is_ada(payload: dict[str, Any]) -> bool:
    return bool(payload["name"] == "ada")


@DBOS.step()
def greet(payload: dict[str, Any]) -> str:
    return f"Hello {payload['name']}!"


@DBOS.step()
def nothing(number: int) -> int:
    return number


@DBOS.workflow()
def run(payload: dict[str, Any]) -> str | None:
    received = receive(payload)
    return greet(received) if is_ada(received) else None


@DBOS.workflow()
def chain() -> None:
    for number in range(LENGTH):
        nothing(number)


def main(database_url: str, seconds: float) -> None:
    DBOS(config={"name": "bench", "system_database_url": database_url, "log_level": "ERROR", "run_admin_server": False})
    DBOS.launch()
    called(lambda: run(PAYLOAD), 1.0, 3)
    runs = called(lambda: run(PAYLOAD), seconds, 3)
    tell(runs, called(chain, seconds, LENGTH))
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[3]))
