"""What reading and writing signed business context costs, beside OpenTelemetry's baggage and a bare HMAC in one run.

The references: OpenTelemetry's ``W3CBaggagePropagator`` over the same members, unsigned; ``hmac.digest`` over the same
bytes. A header that comes back within seconds is not verified again, so ``parse, seen lately`` stands beside ``parse,
new``. Usage::

    python benchmarks/codec.py [--json FILE] [--count N]
"""

from __future__ import annotations

import argparse
import gc
import hmac
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

from mcp_sdk import BusinessModel, ModelContext
from mcp_sdk.baggage import Codec
from mcp_sdk.ports import Identity
from mcp_sdk.signing import Keyring, Signature, Signer

ORDER = BusinessModel("order", states=("created", "paid"), attributes={"amount": "decimal", "risk": "string"})
USER = BusinessModel("user", principal=True, attributes={"tier": "string"})
MODELS = {"order": ORDER, "user": USER}
WHO = Identity("order-service")
ROUNDS, NOW = 7, 1_767_225_600.0


def per_call(call: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Give the microseconds of a call over all of ``arguments``."""
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    for argument in arguments:
        call(argument)
    spent = time.perf_counter() - began
    gc.enable()
    return spent / len(arguments) * 1e6


def contexts(number: int) -> list[ModelContext]:
    """Give an order and its user: seven members."""
    order = ModelContext("order", f"o-{number}", "created", {"amount": 150_000, "risk": "low"}, 7)
    return [order, ModelContext("user", f"u-{number % 100}", None, {"tier": "vip"}, 3)]


def measure(count: int) -> list[dict[str, Any]]:
    """Measure all cases in turns, each new round with headers that nobody saw."""
    codec, propagator = Codec(Keyring.ephemeral(), WHO, MODELS), W3CBaggagePropagator()
    signer, secret = Signer(Keyring.ephemeral(), WHO), b"k" * 32
    samples: dict[str, list[float]] = {}
    said = [f"mcp_sdk.order.fact{number}=a value of it" for number in range(7)]
    expiry, text, covered = int(NOW) + 60, "".join(said).encode(), [said] * count
    signature = Signature.parse(signer.sign(said, expiry))
    assert signature is not None
    for turn in range(ROUNDS):
        carried = [contexts(turn * count + number) for number in range(count)]
        headers = [[codec.encode(each, now=NOW).header] for each in carried]
        plain = [{"baggage": header[0]} for header in headers]
        extracted = [propagator.extract(each, Context()) for each in plain]
        cases: dict[str, tuple[Callable[[Any], object], Sequence[Any]]] = {
            "encode": (lambda each: codec.encode(each, now=NOW), carried),
            "encode, reference": (lambda each: propagator.inject({}, each), extracted),
            "parse, new": (lambda each: codec.parse(each, now=NOW), headers),
            "parse, seen lately": (lambda each: codec.parse(each, now=NOW), [headers[-1]] * count),
            "parse, reference": (lambda each: propagator.extract(each, Context()), plain),
            "sign": (lambda each: signer.sign(each, expiry), covered),
            "verify": (lambda each: signer.verify(signature, each), covered),
            "signature, reference": (lambda each: hmac.digest(secret, each, "sha256"), [text] * count),
        }
        for name, (call, arguments) in cases.items():
            samples.setdefault(name, []).append(per_call(call, arguments))
    found = {name: statistics.median(each) for name, each in samples.items()}
    beside = {"encode": "encode", "parse, new": "parse", "parse, seen lately": "parse"}
    return [
        {"what": name, "unit": "µs", "ours": ours, "reference": found[f"{beside.get(name, 'signature')}, reference"]}
        for name, ours in found.items()
        if not name.endswith(", reference")
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    args = parser.parse_args()
    rows = measure(args.count)
    for row in rows:
        print(f"{row['what']:<22}{row['unit']:>4}  ours {row['ours']:6.2f}, reference {row['reference']:6.2f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
