"""The fixed, published variables of conditions, and what a business model looks like as one.

==================  =========================================================================================
``request``         ``method path operation scheme host`` (string), ``headers`` and ``query`` (map of string to
                    string; header names in lower case), ``size`` (int, -1 when unknown), ``geo``
``request.geo``     ``country region continent city`` (string; ISO 3166-1 and -2 codes, GeoNames continent code)
``principal``       ``id type acr`` (string), ``authenticated mfa`` (bool), ``roles scopes`` (list of string),
                    ``auth_time`` (timestamp), ``attributes`` (map of string to string, int, bool or list)
``source``          ``service namespace environment address`` (string), ``verified`` (bool)
``now``             timestamp
a model's name      ``id state`` (string) and the declared attributes
==================  =========================================================================================

What the fixed variables do not know is the empty string, so reading them never errs; ``has()`` on one of their strings
tells whether it is non-empty. ``principal.auth_time`` alone may be absent. Of a model every fact may be absent:
``has(order.state)`` is false, and reading it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping

from mcp_sdk.models import BusinessModel

__all__ = ["FIXED", "FIXED_VARIABLES", "GEO", "NEVER_ABSENT", "fields_of", "model_fields"]

GEO = "Geo"
"""The type of ``request.geo``; upper-case, for a business model may be called ``geo``."""

FIXED: Mapping[str, Mapping[str, str]] = {
    "request": {
        "method": "string",
        "path": "string",
        "operation": "string",
        "scheme": "string",
        "host": "string",
        "headers": "map<string,string>",
        "query": "map<string,string>",
        "size": "int",
        "geo": GEO,
    },
    GEO: {"country": "string", "region": "string", "continent": "string", "city": "string"},
    "principal": {
        "id": "string",
        "authenticated": "bool",
        "type": "string",
        "roles": "list<string>",
        "scopes": "list<string>",
        "mfa": "bool",
        "acr": "string",
        "auth_time": "timestamp",
        "attributes": "map<string,dyn>",
    },
    "source": {
        "service": "string",
        "namespace": "string",
        "environment": "string",
        "address": "string",
        "verified": "bool",
    },
}
FIXED_VARIABLES = ("request", "principal", "source", "now")
NEVER_ABSENT = frozenset(
    (variable, name)
    for variable, names in FIXED.items()
    for name in names
    if (variable, name) != ("principal", "auth_time")
)

_CEL_TYPE = {"decimal": "int", "list": "list<string>"}


def model_fields(model: BusinessModel) -> dict[str, str]:
    """Give the CEL type of each fact of a model. Sensitive attributes are not facts: no policy sees them."""
    fields = {"id": "string", "state": "string"}
    for attribute in model.attributes.values():
        if not attribute.sensitive:
            fields[attribute.name] = _CEL_TYPE.get(attribute.type, attribute.type)
    return fields


def fields_of(type_name: str, models: Mapping[str, BusinessModel]) -> Mapping[str, str]:
    """Give the fields of a fixed variable, of ``request.geo`` or of a model, by name; empty for anything else."""
    if type_name in FIXED:
        return FIXED[type_name]
    return model_fields(models[type_name]) if type_name in models else {}
