"""The type environment of conditions: proto2 messages built at run time, one for each fixed variable and each model.

Messages make a misspelt field or a wrong type an error with its position, where maps would let both pass.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from mcp_sdk.exceptions import MissingExtra
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.schema import FIXED, GEO, model_fields

__all__ = ["Environment", "constant_type"]

PACKAGE = "mcp"
_SCALARS = {"string": 9, "int": 3, "uint": 4, "double": 1, "bool": 8, "bytes": 12}
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3
_WELL_KNOWN = {
    "timestamp": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
    "dyn": ".google.protobuf.Value",
}


def _module(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(package, extra="policy", purpose="checking policies") from None


def constant_type(value: Any) -> str:
    """Give the CEL type of a named constant."""
    if isinstance(value, list):
        return f"list<{constant_type(value[0]) if value else 'string'}>"
    return {bool: "bool", int: "int", float: "double"}.get(type(value), "string")


class Environment:
    """Compiles and checks CEL text against declared models, through cel-cpp (``cel-expr-python``)."""

    def __init__(self, models: Mapping[str, BusinessModel]) -> None:
        # Given a pool, cel-cpp aborts the process when google.protobuf cannot be imported: so it is imported first.
        self._protobuf = _module("google.protobuf.message_factory", "protobuf") and _module(
            "google.protobuf", "protobuf"
        )
        self.cel: Any = _module("cel_expr_python.cel", "cel-expr-python")
        self.models = models
        self._pool = self._build_pool()
        self._environments: dict[tuple[tuple[str, str], ...], Any] = {}

    def types(self) -> dict[str, str]:
        """Give the type of each variable by name."""
        return {
            **{name: name for name in FIXED if name != GEO},
            "now": "timestamp",
            **{name: name for name in self.models},
        }

    def parse(self, text: str) -> bytes:
        """Parse without checking; raises cel-cpp's ``RuntimeError``."""
        return bytes(self._environment(()).compile(text, disable_check=True).serialize())

    def check(self, text: str, constants: Mapping[str, Any]) -> bytes:
        """Parse and check; raises cel-cpp's ``RuntimeError`` with a line for each error."""
        key = tuple(sorted((name, constant_type(value)) for name, value in constants.items()))
        return bytes(self._environment(key).compile(text).serialize())

    def _environment(self, constants: tuple[tuple[str, str], ...]) -> Any:
        if constants not in self._environments:
            if len(self._environments) > 256:
                self._environments.clear()
            declared = {name: self._type(kind) for name, kind in {**self.types(), **dict(constants)}.items()}
            self._environments[constants] = self.cel.NewEnv(descriptor_pool=self._pool, variables=declared)
        return self._environments[constants]

    def _type(self, kind: str) -> Any:
        types = self.cel.Type
        if kind.startswith("list<"):
            return types.List(self._type(kind[5:-1]))
        if kind in _SCALARS or kind == "timestamp":
            return getattr(types, kind.upper())
        return types(f"{PACKAGE}.{kind}")

    def _build_pool(self) -> Any:
        pb2 = _module("google.protobuf.descriptor_pb2", "protobuf")
        pool = _module("google.protobuf.descriptor_pool", "protobuf").DescriptorPool()
        names = ("timestamp", "duration", "struct")
        for name in names:
            well_known = _module(f"google.protobuf.{name}_pb2", "protobuf")
            pool.AddSerializedFile(well_known.DESCRIPTOR.serialized_pb)
        file = pb2.FileDescriptorProto(name="mcp_policy.proto", package=PACKAGE, syntax="proto2")
        file.dependency.extend(f"google/protobuf/{name}.proto" for name in names)
        messages = {**FIXED, **{name: model_fields(model) for name, model in self.models.items()}}
        for name, fields in messages.items():
            _add_message(file.message_type.add(name=name), f".{PACKAGE}.{name}", fields)
        pool.AddSerializedFile(file.SerializeToString())
        return pool


def _add_message(message: Any, full_name: str, fields: Mapping[str, str]) -> None:
    for number, (name, kind) in enumerate(fields.items(), 1):
        if kind.startswith("map<"):
            entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            key, value = kind[4:-1].split(",")
            _add_field(entry, "key", 1, key, _OPTIONAL)
            _add_field(entry, "value", 2, value, _OPTIONAL)
            type_name = f"{full_name}.{entry.name}"
            message.field.add(name=name, number=number, type=_MESSAGE, label=_REPEATED, type_name=type_name)
        elif kind.startswith("list<"):
            _add_field(message, name, number, kind[5:-1], _REPEATED)
        else:
            _add_field(message, name, number, kind, _OPTIONAL)


def _add_field(message: Any, name: str, number: int, kind: str, label: int) -> None:
    if kind in _SCALARS:
        message.field.add(name=name, number=number, type=_SCALARS[kind], label=label)
    else:
        type_name = _WELL_KNOWN.get(kind, f".{PACKAGE}.{kind}")
        message.field.add(name=name, number=number, type=_MESSAGE, label=label, type_name=type_name)
