"""The page `/docs`: Swagger UI on our OpenAPI document, whole in one answer, so that it works without the internet."""

from base64 import b64encode
from functools import cache
from importlib.resources import files

# The package carries Swagger UI's own script and style; of its code nothing is used.
ASSETS = files("fastapi_offline") / "static"
PAGE = """\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<title>Sandbox service</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{script}"></script>
<script>
SwaggerUIBundle({{
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
}})
</script>
</body>
</html>
"""


@cache
def docs_page() -> str:
    """HTML that names no other address than our document's."""
    return PAGE.format(
        style=_inline("swagger-ui.css", "text/css"),
        script=_inline("swagger-ui-bundle.js", "text/javascript"),
    )


def _inline(name: str, media_type: str) -> str:
    content = b64encode((ASSETS / name).read_bytes()).decode()
    return f"data:{media_type};charset=utf-8;base64,{content}"
