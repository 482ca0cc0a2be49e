"""What every answer tells a browser of what a page may load and who may embed it; an answer's own word goes first."""

from __future__ import annotations

from flask import Flask, Response, request

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
DOCS_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
}


def register(app: Flask, *, docs: str) -> None:
    """Protect every answer. Below the address `docs` are the pages of Swagger UI, with styles and scripts inline."""

    @app.after_request
    def protect(response: Response) -> Response:
        policy = DOCS_POLICY if request.path.startswith(docs) else CONTENT_SECURITY_POLICY
        for name, value in {"Content-Security-Policy": policy, **HEADERS}.items():
            response.headers.setdefault(name, value)
        return response
