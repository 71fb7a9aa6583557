"""HTTP service for a model, run by this program's own code: only verified weights and settings of a version are read.

Requests and responses follow MLflow's scoring server, as far as they are documented here.
"""

import json
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dcube.errors import DcubeError
from dcube.inference.serving import IMAGE, ServedModel

BAD_REQUEST, TOO_LARGE = 400, 413
LARGEST_BODY = 256 * 2**20  # bytes: limits the share of memory that one request can take


class RequestPart(BaseModel):
    model_config = ConfigDict(extra="forbid")


class InvocationRow(RequestPart):
    image: Any


class Split(RequestPart):
    columns: tuple[Literal["image"]]
    index: list[Any] | None = None
    data: list[tuple[Any]]


class Overrides(RequestPart):
    """Settings that replace those of the version's evaluation for one request."""

    abstain_below: float | None = None
    decide: str | None = None


class InvocationRequest(RequestPart):
    """Body of a request, with the images in exactly one of two forms."""

    dataframe_records: list[InvocationRow] | None = None
    dataframe_split: Split | None = None
    params: Overrides = Overrides()

    @model_validator(mode="after")
    def _in_one_form(self) -> "InvocationRequest":
        if (self.dataframe_records is None) == (self.dataframe_split is None):
            raise ValueError("give dataframe_records or dataframe_split")
        return self

    @property
    def cells(self) -> list[Any]:
        if self.dataframe_split:
            return [cell for (cell,) in self.dataframe_split.data]
        return [row.image for row in self.dataframe_records or []]


def application(model: ServedModel) -> Starlette:
    """Build the application with `/ping`, `/health` and `/invocations`.

    `/invocations` answers a bad request with status 400, and a body that is too large with 413, each with one line
    that gives the reason.
    """

    def predictions(body: bytes) -> list[dict[str, Any]]:
        request = _parsed(body)
        cells = request.cells
        if not cells:
            raise DcubeError("there are no images in it")
        rows = model.predict(None, pd.DataFrame({IMAGE: pd.Series(cells, dtype=object)}), request.params.model_dump())
        return json.loads(rows.to_json(orient="records", double_precision=15))

    async def invocations(request: Request) -> Response:
        try:
            body = await _body(request)
            if body is None:
                message = f"a request may have {LARGEST_BODY // 2**20} MiB: send fewer images at once"
                return JSONResponse({"error_code": "REQUEST_TOO_LARGE", "message": message}, TOO_LARGE)
            return JSONResponse({"predictions": await run_in_threadpool(predictions, body)})
        except DcubeError as error:
            return JSONResponse({"error_code": "BAD_REQUEST", "message": str(error)}, BAD_REQUEST)

    async def ping(_: Request) -> Response:
        return PlainTextResponse("\n")

    return Starlette(
        routes=[
            Route("/ping", ping),
            Route("/health", ping),
            Route("/invocations", invocations, methods=["POST"]),
        ]
    )


async def _body(request: Request) -> bytes | None:
    """Read the body, or stop and return None as soon as it exceeds `LARGEST_BODY`."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)


def _parsed(body: bytes) -> InvocationRequest:
    try:
        return InvocationRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the request"
        raise DcubeError(f"{place}: {' '.join(first['msg'].split())}") from None
