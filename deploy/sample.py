"""`make run`: the whole stack, and a first workflow run from end to end over HTTP.

The workflow is the sample of the API reference. Its call goes to a receiver in this process, which is the one internal
address that this run allows outbound calls to reach.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import click
import msgspec
from aiohttp import web
from rich.console import Console
from rich.table import Table

from deploy.stack import Options, Stack
from deploy.up import serve, up
from shared.config import PREFIX
from shared.errors import EdgewiseError
from shared.states import RUN_TERMINAL, RunStatus

_POLL_SECONDS = 0.05
_RUN_SECONDS = 30.0
_OUTPUT_CHARACTERS = 240


def sample(url: str) -> dict[str, Any]:
    """The body that creates the workflow, its call pointed at ``url``."""
    return {
        "name": "New Customer Onboarding",
        "description": "Sends a welcome email when a new site is created.",
        "is_active": True,
        "schedule_type": "manual",
        "nodes": [
            {
                "id": "n1",
                "type": "manual_trigger",
                "position": {"x": 100, "y": 100},
                "data": {
                    "componentId": "manual_trigger",
                    "description": "Manually trigger this onboarding flow.",
                },
            },
            {
                "id": "n2",
                "type": "webhook",
                "position": {"x": 400, "y": 100},
                "data": {
                    "componentId": "webhook",
                    "method": "POST",
                    "url": url,
                    "body": '{"message": "Welcome!", "run_id": "{{ n1.run_id }}"}',
                },
            },
        ],
        "edges": [{"id": "e1-2", "source": "n1", "target": "n2"}],
    }


@click.command()
@click.option("--exit", "then_exit", is_flag=True, help="End after the run; status 0 only if it completed.")
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path(".edgewise"), show_default=True)
def main(then_exit: bool, data_dir: Path) -> None:
    """Start everything, run the sample workflow, print the run, and serve until Ctrl-C."""
    try:
        completed = asyncio.run(_main(data_dir, then_exit=then_exit))
    except EdgewiseError as error:
        sys.exit(f"error: {error.message}")
    sys.exit(0 if completed else 1)


async def _main(data_dir: Path, *, then_exit: bool) -> bool:
    """Whether the run completed."""
    completed = False

    async def show(stack: Stack) -> None:
        nonlocal completed
        run = await _create_and_run(stack, f"http://{target}/api/welcome")
        completed = run["status"] == RunStatus.COMPLETED
        _print_run(run)
        if not then_exit:
            _print_next_steps(stack, data_dir)
            await serve(stack)

    async with _receiver() as target:
        await up(_options(data_dir, target), show)
    return completed


def _options(data_dir: Path, target: str) -> Options:
    """Everything as `edgewise up` has it, except that outbound calls may reach our receiver."""
    allowed = ",".join(filter(None, [os.environ.get(f"{PREFIX}EGRESS_ALLOW"), target]))
    return Options(
        data_dir=data_dir,
        port=None,
        workers=min(2, os.cpu_count() or 1),
        database_url=None,
        broker_url=None,
        env={f"{PREFIX}LOG_LEVEL": "warning"} | os.environ | {f"{PREFIX}EGRESS_ALLOW": allowed},
        tell=lambda line: click.echo(line, err=True),
    )


@asynccontextmanager
async def _receiver() -> AsyncIterator[str]:
    """An HTTP server that takes what the workflow sends, and prints it; its ``host:port``."""

    async def receive(request: web.Request) -> web.Response:
        click.echo(f"receiver: {request.method} {request.path} {await request.text()}", err=True)
        return web.json_response({"accepted": True})

    app = web.Application()
    app.router.add_post("/api/welcome", receive)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _create_and_run(stack: Stack, url: str) -> dict[str, Any]:
    """Create the workflow, execute it, and follow the run to its end."""
    headers = {"Authorization": f"Bearer {stack.token}"}
    async with aiohttp.ClientSession(stack.url, headers=headers) as session:
        workflow = await _call(session, "POST", "/workflows", sample(url))
        click.echo(f"created workflow {workflow['id']}", err=True)
        run = await _call(session, "POST", f"/workflows/{workflow['id']}/execute", {"context": {}})
        click.echo(f"started run {run['id']}", err=True)
        try:
            async with asyncio.timeout(_RUN_SECONDS):
                while run["status"] not in RUN_TERMINAL:
                    await asyncio.sleep(_POLL_SECONDS)
                    run = await _call(session, "GET", f"/workflows/runs/{run['id']}")
        except TimeoutError:
            click.echo(f"the run has not ended within {_RUN_SECONDS:g} s", err=True)
        return run


async def _call(session: aiohttp.ClientSession, method: str, path: str, body: object = None) -> dict[str, Any]:
    """Call the api.

    Raises:
        EdgewiseError: with the api's own message if it refuses.
    """
    async with session.request(method, path, json=body) as response:
        answer: dict[str, Any] = await response.json()
        if not response.ok:
            raise EdgewiseError("sample_failed", f"{method} {path} answered {response.status}: {answer}")
        return answer


def _print_run(run: dict[str, Any]) -> None:
    """The run as a table, a row for each step."""
    table = Table(title=f"run {run['id']}: {run['status']}", caption=run["error_message"], title_justify="left")
    for column in ("step", "type", "status", "attempt", "ms"):
        table.add_column(column, no_wrap=True)
    table.add_column("output", overflow="fold")
    for entry in run["logs"]:
        cells = [str(entry[name]) for name in ("node_id", "component_id", "status", "attempt", "duration_ms")]
        table.add_row(*cells, msgspec.json.encode(entry["output"]).decode()[:_OUTPUT_CHARACTERS])
    Console().print(table)


def _print_next_steps(stack: Stack, data_dir: Path) -> None:
    click.echo(f"""
The system is up. Its token and addresses are in {data_dir / "edgewise.json"}. In another terminal:

  TOKEN=$(python3 -c 'import json; print(json.load(open("{data_dir / "edgewise.json"}"))["token"])')
  curl -H "Authorization: Bearer $TOKEN" {stack.url}/workflows

Ctrl-C stops everything; the data stays.
""")


if __name__ == "__main__":
    main()
