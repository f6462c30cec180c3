"""Clients that publish over HTTP until they are stopped, and note what was acknowledged and what was said instead."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
from serving import Replica

__all__ = ["Lane", "lanes", "refusal"]


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    """Give what a client sees of an error: its status, its kind, and when to come back."""
    kind = response.json()["type"].removeprefix("urn:mcp-sdk:problem:")
    return response.status_code, kind, response.headers.get("retry-after", "")


class Lane:
    """Publishes batches one after another, each again until it is acknowledged, by the same event ids."""

    def __init__(self, replica: Replica, name: str, size: int = 10) -> None:
        self.acknowledged: list[str] = []
        self.refusals: set[tuple[int, str, str]] = set()
        self.longest = 0.0
        self._replica, self._name, self._size = replica, name, size
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Publish no more; what was being tried is given up."""
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        headers = {"authorization": f"Bearer {self._replica.token}"}
        with httpx.Client(base_url=self._replica.url, headers=headers, trust_env=False, timeout=30) as client:
            for number in itertools.count():
                batch = [self._moved(f"{self._name}-{number}") for _ in range(self._size)]
                while not self._stopping.is_set() and not self._sent(client, batch):
                    self._stopping.wait(0.2)
                if self._stopping.is_set():
                    return

    def _moved(self, entity: str) -> dict[str, Any]:
        return {"model": "order", "entity_id": entity, "to_state": "paid", "event_id": uuid.uuid4().hex}

    def _sent(self, client: httpx.Client, batch: Sequence[dict[str, Any]]) -> bool:
        began = time.monotonic()
        answer = client.post("/v1/transitions", json={"transitions": list(batch)})
        self.longest = max(self.longest, time.monotonic() - began)
        if answer.status_code != 200:
            self.refusals.add(refusal(answer))
            return False
        self.acknowledged += [each["event_id"] for each in batch]
        return True


@contextmanager
def lanes(*replicas: Replica) -> Any:
    """Give a lane to each replica named; they are stopped at the end."""
    with ExitStack() as stack:
        made = []
        for number, replica in enumerate(replicas):
            made.append(Lane(replica, f"lane{number}"))
            stack.callback(made[-1].stop)
        yield made
