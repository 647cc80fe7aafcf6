"""The catalogue over HTTP."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from shared.nodes.extras import Extra
from shared.nodes.registry import default_registry
from tests.api_client import ApiClient, node, token, workflow


async def listed(api: ApiClient) -> dict[str, dict[str, Any]]:
    """The entries by component id."""
    answer = await api.call("GET", "/workflows/node-types")
    assert answer.status == 200
    assert [entry["component_id"] for entry in answer.json] == sorted(default_registry().names())
    return {entry["component_id"]: entry for entry in answer.json}


async def test_every_type_is_listed_with_what_an_editor_needs(api: ApiClient) -> None:
    """Title, kind, mode, aliases, handles, settings, the schema of data and an example that fits it."""
    entries = await listed(api)
    for entry in entries.values():
        Draft202012Validator(entry["schema"]).validate(entry["example"])
        assert entry["title"]
        assert entry["description"]
        assert entry["origin"] == "edgewise"
    webhook = entries["webhook"]
    assert (webhook["kind"], webhook["mode"], webhook["handles"]) == ("action", "effect", [])
    assert {"timeout", "retry", "continue_on_error", "on_crash"} <= {*webhook["settings"]}
    assert webhook["schema"]["properties"]["url"]["description"] == "http or https."
    assert entries["scheduled_trigger"]["aliases"] == ["schedule_trigger"]
    assert entries["string_condition"]["handles"] == ["true", "false"]
    assert entries["string_condition"]["settings"] == ["join"]
    assert (entries["switch_condition"]["handles_vary"], entries["validate"]["handles_vary"]) == (True, False)


async def test_examples_can_be_saved(api: ApiClient) -> None:
    """The example of a pure type, put into a workflow as it stands, is a node."""
    entries = await listed(api)
    for name in ("string_condition", "data_mapper", "merge"):
        entry = entries[name]
        before = sorted(entry["example_context"])
        nodes = [node("t", "manual_trigger"), *(node(each, "set_variables", variables={}) for each in before)]
        nodes.append({"id": "x", "position": {"x": 0, "y": 0}, "data": entry["example"]})
        edges = [{"id": f"a{each}", "source": "t", "target": each} for each in before]
        edges += [{"id": f"b{each}", "source": each, "target": "x"} for each in before]
        answer = await api.call("POST", "/workflows/validate", workflow(nodes=nodes, edges=edges))
        assert answer.json["valid"], (name, answer.json)


async def test_an_extra_is_named_and_whether_it_is_here(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor can say what to install before a node is refused."""
    entries = await listed(api)
    assert entries["webhook"]["extra"] is None
    assert entries["send_email"]["extra"] == {
        "name": "mail",
        "install": 'pip install "edgewise[mail]"',
        "installed": True,
    }
    monkeypatch.setattr(type(default_registry().type_of("send_email")), "extras", (Extra("mail", "no_such_module"),))
    data = {"host": "h.test", "sender": "a@b.test", "to": "a@b.test", "subject": "s", "text": "t"}
    faults, _ = default_registry().check("send_email", data, "d")
    assert [(fault.path, 'pip install "edgewise[mail]"' in fault.message) for fault in faults] == [
        ("d.componentId", True)
    ]


async def test_it_is_cached_until_it_changes(api: ApiClient) -> None:
    """A cache that has it is told that it is still good, with no body; one that has another gets it."""
    first = await api.call("GET", "/workflows/node-types")
    tag = first.headers["ETag"]
    for wanted in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        again = await api.call("GET", "/workflows/node-types", headers={"If-None-Match": wanted})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    other = await api.call("GET", "/workflows/node-types", headers={"If-None-Match": '"other"'})
    assert (other.status, other.body) == (200, first.body)
    assert first.headers["Cache-Control"] == "private, no-cache"


async def test_it_needs_a_token_that_may_read(api: ApiClient) -> None:
    """Like everything that is not public."""
    assert (await api.call("GET", "/workflows/node-types", token="")).status == 401
    assert (await api.call("GET", "/workflows/node-types", token=token(scope="workflows:execute"))).status == 403
    assert (await api.call("POST", "/workflows/node-types")).status == 405
