"""A scene that the tests of one module share."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.length import SEED
from tests.faults.scene import Scene, scene


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """A fleet, a receiver and a client with a few random workflows."""
    async with scene(tmp_path_factory.mktemp("scene"), SEED) as one:
        await one.client.save_random(9, one.ledger)
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def whole(shared_scene: Scene) -> Scene:
    """The module's scene, with every process up and every line whole."""
    await shared_scene.fleet.ready()
    return shared_scene
