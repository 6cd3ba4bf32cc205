"""The reference of error codes, where the `type` of each problem leads: a page without scripts."""

import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from shared.errors import Problem, problem_of_each_code
from shared.web.problem_details import ERRORS_PATH

STYLE: Final = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 45rem; margin: 2rem auto; padding: 0 1rem }
section { border-top: 1px solid #ccc; padding: 0.5rem }
section:target { background: #fff6d6 }
h2 { font-size: 1.1rem; margin: 0 }
p { margin: 0.3rem 0 }
"""
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
CODE: Final = re.compile(r"`([^`]+)`")

router = APIRouter(include_in_schema=False)


def _html(text: str) -> str:
    """Of Markdown in one line, which begins in lower case."""
    sentence = text if text.startswith("`") else text[:1].upper() + text[1:]
    return CODE.sub(r"<code>\1</code>", escape(sentence, quote=False))


def _section(problem: type[Problem]) -> str:
    return f"""\
<section id="{problem.code}">
  <h2><a href="#{problem.code}"><code>{problem.code}</code></a> ({problem.status})</h2>
  <p><q>{_html(problem.default_detail)}</q></p>
  <p>When: {_html(problem.when)}.</p>
  <p>What to do: {_html(problem.what_to_do)}.</p>
</section>
"""


PAGE: Final = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Eventify API: errors</title>
  <style>{STYLE}</style>
</head>
<body>
<h1>Errors</h1>
<p>The <code>code</code> of an error is for programs; its <code>type</code> leads here.
The <a href="../">API reference</a> has the errors of each request.</p>
{"".join(map(_section, problem_of_each_code()))}</body>
</html>
"""


@router.get(ERRORS_PATH, response_class=HTMLResponse)
async def errors() -> HTMLResponse:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
