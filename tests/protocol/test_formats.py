"""What was written in format 1 stays readable, whatever comes after. The files beside this are never written anew."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk.clients.lastgood import LastGood
from mcp_sdk.clients.snapshots import Trust, check_part, snapshot_of
from mcp_sdk.context import Scope
from mcp_sdk.control.decider import build
from mcp_sdk.decision_record import request_from_record
from mcp_sdk.exceptions import ConfigurationError, MeshError, ProtocolError, RecordError
from mcp_sdk.glass import GlassFile
from mcp_sdk.policy.program import check_format
from mcp_sdk.ports import Identity
from mcp_sdk.protocol import frames
from mcp_sdk.protocol.manifests import Manifest

FORMATS = Path(__file__).parent / "formats"
SCOPE = Scope("shop", "prod")
KEY = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
"""The public half of the key that signed the files: RFC 8032 keys are made of a seed, here the bytes 0 to 31."""


def golden(name: str) -> Any:
    """Read one of the files."""
    return json.loads((FORMATS / name).read_text())


def last_good(directory: Path, content: bytes) -> LastGood:
    """Give a last good snapshot that holds ``content``."""
    kept = LastGood(str(directory), "http://x", SCOPE)
    assert kept.path is not None
    kept.path.write_bytes(content)
    return kept


def test_a_last_good_snapshot_its_manifest_and_program_are_read(tmp_path: Path) -> None:
    """The file is believed by its key, its parts are those of the manifest, and its program loads."""
    found = last_good(tmp_path, (FORMATS / "last-good-1.json").read_bytes()).read()
    assert found is not None
    key, envelope, parts = found
    assert key.hex() == KEY
    manifest = Trust([KEY]).manifest(envelope, SCOPE, "default")
    assert manifest.order == (2, 7)
    assert manifest.overrides["shop"].reason == "drill"
    snapshot = snapshot_of(manifest, {name: check_part(name, part, manifest) for name, part in parts.items()})
    assert snapshot.models["order"].states == ("created", "paid")
    assert build(snapshot) is not None


def test_a_first_frame_is_read() -> None:
    """A client of protocol 1 is welcome."""
    hello = frames.read((FORMATS / "hello-1.json").read_text())
    assert hello["op"] == "hello"
    assert frames.negotiate(hello["protocol"]) == 1
    assert frames.negotiate([1, 2]) == 1


def test_a_record_of_a_decision_is_read() -> None:
    """The question comes back as it was."""
    request = request_from_record(golden("record-1.json"))
    assert (request.service, request.contexts["order"].attributes["amount"]) == ("shop", 100)


def test_a_break_glass_file_is_read() -> None:
    """A file that an older ``mcpctl`` signed still works."""
    who = Identity("shop", namespace="shop", environment="prod")
    override = GlassFile(str(FORMATS / "glass-1.json"), [KEY], who, monotonic=lambda: 1.0).override()
    assert override is not None
    assert override.until == datetime(2026, 1, 1, 1, tzinfo=UTC)


def test_a_newer_format_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """It says which format was found, and which is read."""
    manifest = json.loads(golden("last-good-1.json")["envelope"]["text"])
    kept = json.dumps(golden("last-good-1.json") | {"format": 9}).encode()
    tries = [
        (ProtocolError, lambda: Manifest.from_dict(manifest | {"format": 9})),
        (ProtocolError, last_good(tmp_path, kept).read),
        (ProtocolError, lambda: frames.negotiate([9])),
        (RecordError, lambda: request_from_record(golden("record-1.json") | {"format": 9})),
        (ConfigurationError, lambda: check_format({"format": 9})),
    ]
    for kind, reading in tries:
        with pytest.raises(MeshError, match=r"9.*1|1.*9") as refused:
            reading()
        assert isinstance(refused.value, kind)
