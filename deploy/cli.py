"""The command line. Commands import what they need when they run, so that help is instant."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click

if TYPE_CHECKING:
    from shared.config import Config

_P = ParamSpec("_P")
_FAILED = 1


def _reporting(command: Callable[_P, None]) -> Callable[_P, None]:
    """Turn an error of ours into one line per fault on standard error, and exit status 1."""

    @wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        from shared.errors import EdgewiseError

        try:
            command(*args, **kwargs)
        except EdgewiseError as error:
            for line in [fault.message for fault in error.faults] or [error.message]:
                click.echo(f"error: {line}", err=True)
            sys.exit(_FAILED)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgewise", message="%(prog)s %(version)s")
def main() -> None:
    """Durable workflow automation on Postgres.

    \b
    Examples:
      edgewise up                       everything on this machine, in ./.edgewise
      edgewise check-config             is the environment fit to start?
      edgewise token --workspace acme   a bearer token for curl
      edgewise vault rotate             everything under the newest key
    """


@main.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path(".edgewise"),
    show_default=True,
    help="Where databases, secrets and edgewise.json are kept.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Of the api.  [default: the next free one from 8080]")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.  [default: one per core, at most 2]")
@click.option("--database-url", help="A Postgres to use instead of an embedded one.", envvar="EDGEWISE_DATABASE_URL")
@click.option("--broker-url", help="A Redis to use instead of an embedded one.", envvar="EDGEWISE_BROKER_URL")
@_reporting
def up(data_dir: Path, port: int | None, workers: int | None, database_url: str | None, broker_url: str | None) -> None:
    """Run everything on this machine until Ctrl-C.

    Postgres and Valkey are started too, unless their URLs are given. Whatever dies is started again. Once all of it
    answers, a line `ready http://127.0.0.1:PORT` is printed and edgewise.json holds the url, a token and the pids.

    \b
    Examples:
      edgewise up
      edgewise up --data-dir /var/lib/edgewise --port 8080 --workers 4
      edgewise up --database-url postgresql://edgewise@db/edgewise
    """
    import asyncio

    from deploy.stack import Options
    from deploy.up import serve
    from deploy.up import up as run

    options = Options(
        data_dir=data_dir,
        port=port,
        workers=workers or min(2, os.cpu_count() or 1),
        database_url=database_url,
        broker_url=broker_url,
        env=os.environ,
        tell=lambda line: click.echo(line, err=True),
    )
    asyncio.run(run(options, serve))


@main.command()
@_reporting
def api() -> None:
    """Serve the HTTP API (one process).

    \b
    Example:
      EDGEWISE_HOST=0.0.0.0 EDGEWISE_PORT=8080 edgewise api
    """
    config = _service("api")
    from api.main import main as run

    run(config)


@main.command()
@_reporting
def scheduler() -> None:
    """Drive schedules, timers and rescue (one process).

    Any number may run; they share the work.

    \b
    Example:
      EDGEWISE_METRICS_HOST=0.0.0.0 EDGEWISE_METRICS_PORT=9100 edgewise scheduler
    """
    config = _service("scheduler")
    from scheduler.main import main as run

    run(config)


@main.command()
@_reporting
def worker() -> None:
    """Execute steps (one process).

    Any number may run; they share the work.

    \b
    Example:
      EDGEWISE_WORKER_SLOTS=512 edgewise worker
    """
    config = _service("worker")
    from worker.main import main as run

    run(config)


@main.command()
@click.option("--post", is_flag=True, help="What may only be done once no process of the version before is left.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_reporting
def migrate(post: bool, as_json: bool) -> None:
    """Bring the database to the schema of this version.

    Before a roll-out without --post: the version before goes on working. After it with --post. A new database gets
    everything at once. Safe to repeat, and to run in several places at once.

    \b
    Examples:
      EDGEWISE_DATABASE_DIRECT_URL=postgresql://owner@db/edgewise edgewise migrate
      edgewise migrate --post   # once every process runs the new version
    """
    import asyncio

    from shared.migrate import Phase
    from shared.migrate import migrate as run

    done = asyncio.run(run(_config().database_direct_url, Phase.POST if post else Phase.PRE))
    lines = [f"applied {name}" for name in done.applied] or ["nothing to do"]
    if done.waiting:
        after, again = ("migrate", "now") if post else ("migrate --post", "once every process runs this version")
        lines.append(f"left: {', '.join(done.waiting)}; run `edgewise {after}` {again}")
    _print({"applied": done.applied, "waiting": done.waiting}, as_json, "\n".join(lines))


@main.command()
@click.option("--workspace", required=True, help="The workspace the token is for.")
@click.option(
    "--scope", "scopes", multiple=True, default=["admin"], show_default=True, help="A scope it grants; may be repeated."
)
@click.option("--ttl", "seconds", type=click.IntRange(1), default=3600, show_default=True, help="Seconds it is valid.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_reporting
def token(workspace: str, scopes: tuple[str, ...], seconds: int, as_json: bool) -> None:
    """Print a bearer token.

    It is signed with EDGEWISE_JWT_SECRET; nothing else needs to be configured.

    \b
    Examples:
      edgewise token --workspace acme
      edgewise token --workspace acme --scope workflows:read --scope workflows:execute --ttl 600
    """
    from deploy.tokens import SCOPES, issue

    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise click.BadParameter(f"{', '.join(unknown)}; the scopes are {', '.join(SCOPES)}.", param_hint="--scope")
    config = _config(unread=("database_url", "broker_url", "vault_keys"))
    text = issue(config, workspace=workspace, scopes=scopes, seconds=seconds, subject="edgewise-token")
    _print({"token": text, "workspace": workspace, "scope": " ".join(scopes), "expires_in": seconds}, as_json, text)


@main.command("check-config")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_reporting
def check_config(as_json: bool) -> None:
    """Say what is wrong with the environment.

    Every fault of the EDGEWISE_ variables is told at once.

    \b
    Example:
      edgewise check-config && edgewise api
    """
    from shared.errors import ConfigError

    try:
        _config()
    except ConfigError as error:
        if not as_json:
            raise
        faults = [{"path": fault.path, "code": fault.code, "message": fault.message} for fault in error.faults]
        _print({"valid": False, "errors": faults}, as_json, "")
        sys.exit(_FAILED)
    _print({"valid": True, "errors": []}, as_json, "the configuration is fine")


@main.group("vault")
def vault_group() -> None:
    """Look after the vault.

    \b
    Example:
      edgewise vault rotate
    """


@vault_group.command("rotate")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_reporting
def vault_rotate(as_json: bool) -> None:
    """Encrypt everything anew that is not under the newest key.

    The newest key is the first of EDGEWISE_VAULT_KEYS; put it there and restart all services before. Safe while they
    run, and to repeat. Exit status 1 if something could not be decrypted: its key is not in the ring.

    \b
    Example:
      EDGEWISE_VAULT_KEYS=new:...,old:... edgewise vault rotate
    """
    import asyncio

    from deploy.rotation import rotate, told

    done = asyncio.run(rotate(_config()))
    _print(done, as_json, told(done))
    if done.unreadable:
        sys.exit(_FAILED)


def _config(unread: tuple[str, ...] = ()) -> "Config":
    from shared.config import load

    return load(os.environ, unread=unread)


def _service(name: str) -> "Config":
    """The configuration of a service that is about to run, with its logging set up."""
    from shared import log

    config = _config()
    log.configure(config, name)
    return config


def _print(data: object, as_json: bool, text: str) -> None:
    """Print data for programs, or text for people."""
    if as_json:
        import msgspec

        text = msgspec.json.encode(data).decode()
    click.echo(text)


if __name__ == "__main__":
    main()
