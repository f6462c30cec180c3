"""The store on NATS says and holds what memory does, found out by random work: through checkpoints and starts too."""

from __future__ import annotations

import os
import uuid

import pytest
from agreement import Agreement
from hypothesis import settings
from hypothesis.stateful import rule
from mcp_sdk_nats import NatsStore, checkpoints
from mcp_sdk_nats.address import parse
from nats_servers import remove, shared


class NatsAgreement(Agreement):
    """The handle keeps so few messages in memory that most are read from the stream."""

    def make(self) -> NatsStore:
        host, port = shared()
        self.url, self.name = f"nats://{host}:{port}", f"nats_agreement_{uuid.uuid4().hex}"
        return self.handle()

    def handle(self) -> NatsStore:
        return NatsStore(parse(f"{self.url}/{self.name}"), kept=5)

    def clear(self) -> None:
        remove(self.url, self.name)

    @rule()
    def checkpoint(self) -> None:
        """Write a checkpoint, which changes nothing that anybody sees."""
        self.run(checkpoints.write(self.other._replica))

    @rule()
    def begin_again(self) -> None:
        """Go on with a new handle, which knows only what the server holds."""
        self.run(self.other.close())
        self.other = self.handle()
        self.run(self.other.open())
        self.look()


@pytest.mark.services
class TestAgreement(NatsAgreement.TestCase):
    settings = settings(
        max_examples=int(os.environ.get("MCP_SDK_TEST_EXAMPLES", "40")), stateful_step_count=25, deadline=None
    )
