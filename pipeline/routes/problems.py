"""Every error as problem+json (RFC 9457): what happened, what it means, what to do."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from adapters.errors import StoreRejected, Unavailable
from pipeline.errors import PipelineError
from pipeline.faults import fault, summary
from pipeline.journal import JournalClosed, JournalFull
from schemas.replies import Problem

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "urn:limner:problem:"

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
}


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **facts: Any,
) -> Response:
    """A problem reply; *facts* are further members, such as the field that is wrong."""
    content = {
        "type": TYPE_BASE + code.replace("_", "-"),
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **facts,
    }
    return JSONResponse(
        content, status, headers=dict(headers) if headers else None, media_type=MEDIA_TYPE
    )


def install_problems(app: FastAPI) -> None:
    """Teach *app* to answer every error of ours, and every unforeseen one, as a problem."""
    app.add_exception_handler(PipelineError, _pipeline_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(JournalFull, _full)
    app.add_exception_handler(JournalClosed, _closing)
    app.add_exception_handler(StoreRejected, _rejected)
    app.add_exception_handler(Exception, _unforeseen)


def _pipeline_error(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, PipelineError)
    after = exc.retry_after_seconds
    headers = {"Retry-After": str(after)} if after is not None else None
    return problem(exc.status, exc.code, exc.title, str(exc), headers=headers, **exc.facts)


def _invalid(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    errors = exc.errors()
    if any(error["type"] == "json_invalid" for error in errors):
        where = errors[0].get("ctx", {}).get("error", "it cannot be parsed")
        return problem(
            400,
            "invalid_json",
            "The body is not JSON",
            f"The body is not valid JSON ({where}). Nothing was stored. Send a JSON object with"
            " Content-Type: application/json.",
        )
    listed = [_field_error(error, request) for error in errors]
    return problem(
        422,
        "invalid_request",
        "The request is not valid",
        summary(listed) + ("" if request.method == "GET" else " Nothing was stored."),
        field=listed[0]["field"],
        errors=listed,
    )


_BODY = "it must be a JSON object, sent with Content-Type: application/json"


def _field_error(error: Mapping[str, Any], request: Request) -> dict[str, str]:
    places = [
        str(part)
        for number, part in enumerate(error["loc"])
        if number > 0 or part not in ("body", "query", "header", "path")
    ]
    if error["loc"][0] == "query":
        places = places[:1]  # which of several values of a parameter matters to nobody
    if places or error["type"] == "value_error":
        known = _known_beside(error, request) if error["type"] == "extra_forbidden" else []
        message = fault(error) + (f" (known: {', '.join(known)})" if known else "")
        return {"field": ".".join(places) or "body", "message": message}
    return {"field": "body", "message": _BODY}  # there is none, or it is no object


def _known_beside(error: Mapping[str, Any], request: Request) -> list[str]:
    """The fields that the body takes where it has one that it does not take."""
    route = request.scope.get("route")
    body = route.body_field if isinstance(route, APIRoute) else None
    if body is None or error["loc"][0] != "body":
        return []
    shape: Any = body.field_info.annotation
    for part in error["loc"][1:-1]:
        fields = shape.model_fields if _is_model(shape) else {}
        shape = fields[part].annotation if part in fields else next(iter(get_args(shape)), None)
    return list(shape.model_fields) if _is_model(shape) else []


def _is_model(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, BaseModel)


_TITLES: Mapping[int, Sequence[str]] = {
    # Bytes that are no UTF-8, nesting without end, numbers of thousands of digits.
    400: (
        "invalid_json",
        "The body is not JSON",
        "Nothing was stored. Send a JSON object in UTF-8 with Content-Type: application/json.",
    ),
    404: ("not_found", "There is nothing here", "Check the path; /openapi.json lists all of them."),
    405: ("method_not_allowed", "The method is not allowed here", "See /openapi.json."),
}


def _http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    code, title, advice = _TITLES.get(exc.status_code, ("http_error", str(exc.detail), ""))
    return problem(
        exc.status_code,
        code,
        title,
        f"{request.method} {request.url.path}: {exc.detail}. " + advice,
        headers=exc.headers,
    )


def _route(request: Request) -> str:
    """What was asked for, for the log; never its path, which may hold an approval link's token."""
    route = request.scope.get("route")
    return f"{request.method} {getattr(route, 'path', 'unknown')}"


def _unavailable(request: Request, exc: Exception) -> Response:
    log.error("request_not_stored", route=_route(request), error=str(exc))
    return problem(
        503,
        "unavailable",
        "The service cannot store or read anything now",
        "The database or the picture store cannot be reached or written. Nothing was accepted or"
        " charged by this request. Send it again later, with the same Idempotency-Key.",
        headers={"Retry-After": "5"},
    )


def _full(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, JournalFull)
    seconds = math.ceil(exc.retry_after.total_seconds())
    return problem(
        503,
        "too_many_requests_waiting",
        "Too many requests wait to be stored",
        f"Nothing was stored. Send the request again in {seconds} s.",
        headers={"Retry-After": str(seconds)},
    )


def _closing(_: Request, exc: Exception) -> Response:
    return problem(
        503,
        "stopping",
        "The service is stopping",
        "Nothing was stored by this process. Send the request again, with the same"
        " Idempotency-Key.",
        headers={"Retry-After": "2"},
    )


def _rejected(_: Request, exc: Exception) -> Response:
    return problem(
        422,
        "cannot_be_stored",
        "The request holds something that cannot be stored",
        "The database refuses a value of this request. Nothing was stored. Remove unusual"
        " characters from its texts.",
    )


def _unforeseen(request: Request, exc: Exception) -> Response:
    log.error("request_failed", route=_route(request), exc_info=exc)
    return problem(
        500,
        "internal",
        "Something went wrong in the service",
        "The request may or may not have been stored. Send it again with the same Idempotency-Key:"
        " it is then done once only.",
    )
