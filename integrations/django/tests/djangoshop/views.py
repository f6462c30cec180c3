"""Views, synchronous and asynchronous, streaming and refused."""

import os

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from mcp_sdk_django import acontext, context, mesh

from djangoshop.models import Order
from mcp_sdk import current, model_context
from mcp_sdk.permits import requires_permit


def _state(held):
    return held.state if held is not None else "unknown"


def read(request, order):
    verdict = request.mesh_decision.verdict.name
    return JsonResponse({"state": _state(context("order")), "verdict": verdict, "worker": os.getpid()})


async def aread(request, order):
    return JsonResponse({"state": _state(await acontext(Order)), "verdict": request.mesh_decision.verdict.name})


@model_context(model="order", state="paid")
def _pay(order: Order) -> None:
    order.status = "paid"
    order.save()


def pay(request, order):
    try:
        with transaction.atomic():
            row, _ = Order.objects.get_or_create(number=order)
            _pay(row)
            inside = _state(mesh.context("order"))
            if "fail" in request.GET:
                _ = 1 / 0
    except ZeroDivisionError:
        inside = "rolled back"
    return JsonResponse({"inside": inside, "after": _state(mesh.context("order"))})


async def apay(request, order):
    return await sync_to_async(pay)(request, order)


def lines(request, order):
    context("order")
    return StreamingHttpResponse(_state(mesh.context("order")) + "\n" for _ in range(3))


async def alines(request, order):
    await acontext("order")

    async def stream():
        for _ in range(3):
            yield _state(mesh.context("order")) + "\n"

    return StreamingHttpResponse(stream())


@requires_permit("orders.refund")
def refund(request):
    return HttpResponse(mesh_principal())


@requires_permit("orders.refund")
async def arefund(request):
    return HttpResponse(mesh_principal())


def mesh_principal():
    return current.record().call.principal.id
