"""The recommendation service: the first version knows what sells, the second, costly one whom it sells to."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI, Response
from mcp_sdk_fastapi import install

from mcp_sdk import Mesh
from mcp_sdk_demo.shop.business import PROMOTION, USER, health

ARTICLES = {"v1": ["book", "chair"], "v2": ["sofa", "piano"]}

mesh = Mesh.from_env(service="recommendation", models=(PROMOTION, USER))


def sign(response: Response) -> None:
    """Tell which instance answered."""
    response.headers["x-served-by"] = mesh.identity.instance


app = FastAPI(title="recommendation", dependencies=[Depends(sign)])
install(app, mesh)


@app.get("/recommendations")
async def recommend() -> dict[str, Any]:
    """Recommend articles."""
    return {"articles": ARTICLES.get(mesh.config.version, [])}


@app.get("/health")
async def well() -> dict[str, Any]:
    """Tell what this service decides by."""
    return health(mesh)
