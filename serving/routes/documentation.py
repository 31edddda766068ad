"""`GET /docs`: the OpenAPI document in Swagger UI; a sentence where the browser cannot fetch its scripts."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

router = APIRouter()

_OFFLINE = """<script>
if (typeof SwaggerUIBundle === "undefined") document.getElementById("swagger-ui").innerHTML =
  'This page\\'s scripts come from cdn.jsdelivr.net, which this browser cannot reach. '
  + 'The document itself is <a href="/openapi.json">/openapi.json</a>.'
</script>
</body>"""


@router.get("/docs", include_in_schema=False)
async def documentation() -> HTMLResponse:
    """The page."""
    page = bytes(get_swagger_ui_html(openapi_url="/openapi.json", title="Switchyard").body).decode()
    return HTMLResponse(page.replace("</body>", _OFFLINE))
