"""The secrets that runs use: read for a step, kept before it begins, and blanked in whatever it leaves behind.

What a run has used is kept durably and encrypted (`run_secrets`) before the step begins that uses it. So whoever
records something of the run later, on another worker or after a restart, blanks it as well, also when the item was
changed or deleted meanwhile. The items that the run's version names are blanked at their current values besides: those
that another branch uses at this moment, and those that a resumed run inherits.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from shared.batcher import Batcher
from shared.errors import StepFailedError
from shared.nodes.base import Division, Outcome, Wait
from shared.questions import Question
from shared.redaction import CURRENT, Redactor
from shared.secret_forms import LEAST
from shared.store import run_secrets
from shared.store.run_secrets import Note, secret_context
from shared.texts import capped_input, check_output
from shared.vault import KeyRing, VaultError
from shared.vault_values import CATEGORY, VaultValues

_log = structlog.get_logger(__name__)

#: Secrets of runs that are remembered as kept.
_MOST_NOTED: Final = 20_000
#: What blanks some secrets is kept for the last so many sets of them.
_MOST_REDACTORS: Final = 64
#: Before a secret that is kept: it is looked for in all its forms, or was made of such a one by a template.
_WHOLE: Final = b"s"
_DERIVED: Final = b"d"


class Secrets:
    """What walks of runs that use secrets need.

    Args:
        pool: of connections.
        keys: the ring.
    """

    def __init__(self, pool: asyncpg.Pool, keys: KeyRing) -> None:
        self._pool = pool
        self._keys = keys
        self._values = VaultValues(pool, keys)
        self._noted: OrderedDict[tuple[UUID, bytes], None] = OrderedDict()
        self._redactors: OrderedDict[tuple[frozenset[str], frozenset[str]], Redactor] = OrderedDict()
        self._notes: Batcher[Sequence[Note], None] = Batcher(self._write, name="run secrets")
        self._kept: Batcher[UUID, list[bytes]] = Batcher(self._read, name="secrets of runs")

    async def values(self, workspace_id: UUID, names: Collection[str]) -> dict[str, str]:
        """See `VaultValues.values`."""
        return await self._values.values(workspace_id, names)

    async def note(self, run_id: UUID, workspace_id: UUID, secrets: Iterable[str], derived: Iterable[str] = ()) -> None:
        """Keep what a run is about to use; durable when this returns.

        Args:
            run_id: of the run.
            workspace_id: its workspace.
            secrets: as they are kept elsewhere.
            derived: what templates made of them.
        """
        whole = {secret for secret in secrets if len(secret) >= LEAST}
        parts = {text for text in derived if len(text) >= LEAST} - whole
        texts = [_WHOLE + _bytes(text) for text in whole] + [_DERIVED + _bytes(text) for text in parts]
        notes = [self._note(run_id, workspace_id, text) for text in texts]
        fresh = [note for note in notes if (run_id, note.digest) not in self._noted]
        if not fresh:
            return
        await self._notes.submit(fresh)
        for note in fresh:
            self._noted[run_id, note.digest] = None
        while len(self._noted) > _MOST_NOTED:
            self._noted.popitem(last=False)

    async def blanking(self, run_id: UUID, workspace_id: UUID, names: Collection[str]) -> "Blanking":
        """What blanks everything that a run has used so far, and the items that its version names.

        From here on it blanks the lines that this task logs, too.
        """
        blobs = await self._kept.submit(run_id)
        current = await self._values.texts(workspace_id, names)
        try:
            kept = [self._keys.decrypt(blob, context=secret_context(run_id)) for blob in blobs]
        except VaultError as error:
            return Withholding(error)
        whole = [_text(each) for each in kept if each.startswith(_WHOLE)]
        derived = frozenset(_text(each) for each in kept if each.startswith(_DERIVED))
        return Blanking(await self._redactor(frozenset([*whole, *current]), derived))

    async def _redactor(self, secrets: frozenset[str], derived: frozenset[str]) -> Redactor:
        """One is made in a thread: the forms of a long secret take a tenth of a second."""
        key = (secrets, derived)
        made = self._redactors.get(key)
        if made is None:
            made = self._redactors[key] = await asyncio.to_thread(Redactor, secrets, derived)
            if len(self._redactors) > _MOST_REDACTORS:
                self._redactors.popitem(last=False)
        self._redactors.move_to_end(key)
        return made

    def _note(self, run_id: UUID, workspace_id: UUID, text: bytes) -> Note:
        digest = self._keys.sign(b"run secret " + run_id.bytes + text)
        return Note(run_id, workspace_id, digest, self._keys.encrypt(text, context=secret_context(run_id)))

    async def _write(self, batches: Sequence[Sequence[Note]], _: bool) -> list[None]:
        async with self._pool.acquire() as connection:
            await run_secrets.note(connection, [note for batch in batches for note in batch])
        return [None] * len(batches)

    async def _read(self, run_ids: Sequence[UUID], _: bool) -> list[list[bytes]]:
        async with self._pool.acquire() as connection:
            found = await run_secrets.of_runs(connection, run_ids)
        return [found[run_id] for run_id in run_ids]


class Blanking:
    """Takes the secrets of a run out of what its steps leave behind."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        CURRENT.set(redactor)

    def covers(self, texts: Iterable[str]) -> bool:
        """Whether all of these are blanked that are long enough for it."""
        return all(text in self._redactor.secrets for text in texts if len(text) >= LEAST)

    def check(self) -> None:
        """Whether a step may begin.

        Raises:
            StepFailedError: ``vault_item_unreadable`` if nothing of it could be recorded.
        """

    def outcome(self, outcome: Outcome) -> Outcome:
        """How a step ended well.

        Raises:
            StepFailedError: ``output_too_large``; the sizes are looked at before millions of values are.
        """
        value = self.value
        check_output(outcome.output)
        ending = outcome.terminate
        if ending is not None:
            ending = msgspec.structs.replace(ending, message=value(ending.message), output=value(ending.output))
        output, step_input = value(outcome.output), value(capped_input(outcome.step_input))
        return msgspec.structs.replace(outcome, output=output, step_input=step_input, terminate=ending)

    def failure(self, error: StepFailedError) -> StepFailedError:
        """How a step failed."""
        return StepFailedError(
            error.code,
            self._redactor.text(error.message),
            category=error.category,
            http_status=error.http_status,
            body=self.value(error.body),
            retry_in=error.retry_in,
            step_input=self.value(capped_input(error.step_input)),
        )

    def wait(self, wait: Wait) -> Wait:
        """What a step asks, or calls a workflow with, or publishes."""
        question, call, event = wait.question, wait.call, wait.event
        if question is not None:
            question = msgspec.convert(self.value(question), Question)
        if call is not None:
            call = msgspec.structs.replace(call, payload=self.value(call.payload))
        if event is not None:
            event = msgspec.structs.replace(event, name=self.value(event.name), payload=self.value(event.payload))
        return msgspec.structs.replace(wait, question=question, call=call, event=event)

    def division(self, division: Division) -> Division:
        """What an iterator goes over."""
        return msgspec.structs.replace(division, items=self.value(division.items))

    def value(self, value: Any) -> Any:
        """A JSON value."""
        return self._redactor.value(value)


class Withholding(Blanking):
    """Where a secret of the run cannot be decrypted any more, nothing is recorded but that."""

    def __init__(self, error: VaultError) -> None:
        _log.error("secrets of a run cannot be read", code=error.code, reason=error.message)
        message = "A secret that the run has used cannot be decrypted any more, so nothing of this step is recorded."
        self._failure = StepFailedError("vault_item_unreadable", message, category=CATEGORY)

    def covers(self, texts: Iterable[str]) -> bool:  # noqa: ARG002 — nothing else is recorded
        """All of them."""
        return True

    def check(self) -> None:
        """It may not.

        Raises:
            StepFailedError: ``vault_item_unreadable``.
        """
        raise self._failure

    def failure(self, error: StepFailedError) -> StepFailedError:  # noqa: ARG002 — it may hold anything
        """The same of every step."""
        return self._failure

    def value(self, value: Any) -> Any:  # noqa: ARG002 — likewise
        """None.

        Raises:
            StepFailedError: ``vault_item_unreadable``.
        """
        raise self._failure


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(kept: bytes) -> str:
    return kept[1:].decode("utf-8", "surrogatepass")
