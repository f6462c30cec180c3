"""Typing ``mcpctl`` in a folder, on a store and on a server alike."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from serving import Replica

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk._plugins import STORES, load
from mcp_sdk.cli import main
from mcp_sdk.context import Scope
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.access.tokens import Tokens, mint

ORDER = BusinessModel("order", key="number", states=("created", "paid"), attributes={"amount": "decimal"})
ACCESS = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: orders}
spec:
  target: {service: shop, operations: ["POST /orders"]}
  default: permit
  rules:
  - {name: large, when: order.amount >= 1000, effect: deny}
"""
TRAFFIC = """\
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: versions}
spec:
  target: {service: shop}
  rules:
  - {name: created, when: "order.state == 'created'", route: {version: v2}}
  default: {version: v1}
"""


class Typist:
    """Types command lines in ``folder``; ``url`` and ``token`` say where, ``environment`` which part of the mesh."""

    def __init__(self, folder: Path, url: str, token: str = "", environment: str = "default") -> None:
        self.folder, self.url, self.token, self.environment = folder, url, token, environment
        self.out = self.err = ""

    def __call__(self, *argv: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        status = main(argv, out, err)
        self.out, self.err = out.getvalue(), err.getvalue()
        return status

    def json(self, *argv: str, status: int = 0) -> Any:
        """Type a line with ``-o json`` and give what it prints."""
        assert self(*argv, "-o", "json") == status, self.err
        return json.loads(self.out)

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables that say where and who."""
        said = {"MCP_SDK_CONTROL_PLANE": self.url, "MCP_SDK_ENVIRONMENT": self.environment}
        return said | ({"MCP_SDK_TOKEN": self.token} if self.token else {})

    def write(self, **texts: str) -> str:
        """Write policy files in the place of those before, and give their folder."""
        policies = self.folder / "policies"
        policies.mkdir(exist_ok=True)
        for file in policies.iterdir():
            file.unlink()
        for name, text in texts.items():
            (policies / f"{name}.yaml").write_text(text)
        return str(policies)

    def mesh(self, *models: BusinessModel, **settings: Any) -> Mesh:
        """Give a service on the same control plane."""
        config = Config(
            service=settings.pop("service", "shop"),
            control_plane=self.url,
            token=self.token,
            environment=self.environment,
            start_timeout=20.0,
            linger=0.001,
            **settings,
        )
        return Mesh(config, models=models or (ORDER,))

    def replace(self, model: BusinessModel) -> None:
        """Put a model in the place of the one that is declared, though it be less."""
        if self.token:
            headers, params = (
                {"authorization": f"Bearer {self.token}"},
                {"environment": self.environment, "replace": "1"},
            )
            body = {"models": [model.to_dict()]}
            answer = httpx.post(f"{self.url}/v1/models", headers=headers, params=params, json=body, trust_env=False)
            assert answer.status_code == 204, answer.text
            return

        async def put() -> None:
            store = load(STORES, self.url)(self.url, poll_interval=0.05)
            await store.open()
            await store.put_models(Scope("default", self.environment), [model])
            await store.close()

        asyncio.run(put())

    def seed(self) -> None:
        """Have two orders: ``o-1`` was created and paid, ``o-2`` created."""
        with self.mesh() as mesh:
            mesh.publish("order", "o-1", state="created", amount="12.50")
            mesh.publish("order", "o-1", state="paid")
            mesh.publish("order", "o-2", state="created", amount="7.00")
            assert mesh.control_plane.flush(20)

    def begin(self, *argv: str) -> Running:
        """Type a line that lasts, as a process of its own."""
        return Running([sys.executable, "-m", "mcp_sdk.cli", *argv], {**os.environ, **self.settings}, self.folder)


class Running:
    """A verb that runs until it is interrupted."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: Path) -> None:
        self._files = folder / "running.out", folder / "running.err"
        with self._files[0].open("w") as out, self._files[1].open("w") as err:
            self._process = subprocess.Popen(command, stdout=out, stderr=err, env=environ, cwd=folder)

    @property
    def out(self) -> str:
        """What it printed."""
        return self._files[0].read_text()

    @property
    def err(self) -> str:
        """What it noted."""
        return self._files[1].read_text()

    def until(self, text: str) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + 30
        while text not in self.out + self.err:
            assert self._process.poll() is None or text in self.out + self.err, self.err
            assert time.monotonic() < deadline, f"{text!r} was not said: {self.out}{self.err}"
            time.sleep(0.02)

    def ended(self) -> int:
        """Wait for its own end and give the exit status."""
        return self._process.wait(20)

    def interrupt(self) -> int:
        """Press Ctrl-C and give the exit status."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(20)


def token_for(replica: Replica, role: str) -> str:
    """Give a token of a role, stored where the server's tokens are."""

    async def add() -> str:
        store = load(STORES, replica.store)(replica.store, poll_interval=0.05)
        await store.open()
        try:
            token, text = mint(role, [Grant(role)], now=time.time())
            await Tokens(store).add(token)
            return text
        finally:
            await store.close()

    text = asyncio.run(add())
    deadline = time.monotonic() + 20
    headers = {"authorization": f"Bearer {text}"}
    while httpx.get(f"{replica.url}/v1/about", headers=headers, trust_env=False).status_code == 401:
        assert time.monotonic() < deadline, "the server did not hear of the token"
        time.sleep(0.02)
    return text
