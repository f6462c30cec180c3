"""mcp-sdk: the service mesh that knows the business.

Decorate business methods, add one middleware, and traffic is routed, admitted, limited and authorised by the state of
orders, users and payments. Start at ``Mesh``; ``docs/concepts.md`` draws the loop.
"""

from mcp_sdk.capture import context_observer, model_context
from mcp_sdk.config import Config
from mcp_sdk.context import EntityRef, ModelContext, Outcome, Transition, Trust
from mcp_sdk.current import carried
from mcp_sdk.decision_log import DecisionLog
from mcp_sdk.decisions import (
    Decision,
    DecisionRequest,
    Denied,
    Permit,
    Principal,
    Reason,
    Refused,
    ReviewRequired,
    Route,
    Shed,
    StepUpRequired,
    Throttled,
)
from mcp_sdk.exceptions import (
    ConfigurationError,
    InvalidTransition,
    MeshError,
    ModelError,
    NoEndpoint,
    PolicyError,
    StoreError,
    Untranslatable,
)
from mcp_sdk.listing import alistable, listable
from mcp_sdk.mesh import Mesh
from mcp_sdk.models import Attribute, BusinessModel
from mcp_sdk.permits import requires_permit

__all__ = [
    "Attribute",
    "BusinessModel",
    "Config",
    "ConfigurationError",
    "Decision",
    "DecisionLog",
    "DecisionRequest",
    "Denied",
    "EntityRef",
    "InvalidTransition",
    "Mesh",
    "MeshError",
    "ModelContext",
    "ModelError",
    "NoEndpoint",
    "Outcome",
    "Permit",
    "PolicyError",
    "Principal",
    "Reason",
    "Refused",
    "ReviewRequired",
    "Route",
    "Shed",
    "StepUpRequired",
    "StoreError",
    "Throttled",
    "Transition",
    "Trust",
    "Untranslatable",
    "alistable",
    "carried",
    "context_observer",
    "listable",
    "model_context",
    "requires_permit",
]
