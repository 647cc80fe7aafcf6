"""``data_mapper``: an object of any shape out of earlier outputs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        mapping: the object to make; a string that is exactly one ``{{ expression }}`` keeps the value's type.
        defaults: what stands in where the mapping gives null, or uses a name that is not there.
    """

    mapping: Annotated[dict[str, Any], msgspec.Meta(extra={"fallbacks": "defaults"})]
    defaults: dict[str, Any] = {}


class DataMapper(NodeType[Data]):
    """Makes an object; it is the output itself."""

    component_id = "data_mapper"
    title = "Data mapper"
    kind = Kind.ACTION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "mapping": {"user": {"id": "{{ n1.id }}", "locale": "{{ n1.locale }}"}, "tags": "{{ n1.tags }}"},
        "defaults": {"user": {"locale": "en"}},
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"id": 7, "tags": ["a", "b"]}}

    def run(self, data: Data) -> Outcome:
        """The mapped object."""
        return Outcome(_filled(data.mapping, data.defaults))


def _filled(made: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an object with its defaults put in where it has null or nothing; objects inside objects likewise."""
    filled = dict(made)
    for key, default in defaults.items():
        value = filled.get(key)
        if value is None:
            filled[key] = default
        elif isinstance(value, dict) and isinstance(default, dict):
            filled[key] = _filled(value, default)
    return filled
