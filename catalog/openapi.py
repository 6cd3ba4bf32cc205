"""How the catalog's OpenAPI document tells of its refusals."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import (
    BodyTooLarge,
    InvalidInput,
    MethodNotAllowed,
    NotAuthenticated,
    Problem,
    Unavailable,
)
from shared.problem_details import PROBLEM_JSON, problem_document

# FastAPI documents a 422 that we never answer: validation is 400 here.
NEVER_ANSWERED = "422"
NEVER_USED_SCHEMAS = ("HTTPValidationError", "ValidationError")


class ProblemDetails(BaseModel):
    """A refusal (RFC 9457)."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Bad Request"])
    status: int = Field(examples=[400])
    detail: str = Field(examples=["Some fields are not valid."])
    code: str = Field(examples=["invalid"])
    errors: dict[str, list[str]] = Field(
        default_factory=dict,
        description="For validation: the messages of each field.",
        examples=[{"title": ["Field required"]}],
    )


def refusals(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The responses of an operation that may refuse so, besides what every operation may answer."""
    every: tuple[type[Problem], ...] = (*problems, NotAuthenticated, Unavailable)
    return {problem.status: _refusal(problem) for problem in every}


def _refusal(problem: type[Problem]) -> dict[str, Any]:
    example = problem_document(problem())
    if problem is InvalidInput:
        example["errors"] = {"field": ["What is wrong with it."]}
    headers = {
        name: {"schema": {"type": "string"}, "example": value}
        for name, value in problem().headers.items()
    }
    return {
        "description": problem.default_detail,
        "headers": headers,
        "content": {
            PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
        },
    }


# Beyond those named: what the edge refuses before an operation begins.
ANY_OTHER: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": f"Any other refusal, such as {MethodNotAllowed.status} with `Allow`,"
        f" or {BodyTooLarge.status}.",
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


class CatalogDocument(FastAPI):
    """A FastAPI application whose document shows problems as they are answered."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document["components"]["schemas"]
            schemas["Problem"] = ProblemDetails.model_json_schema()
            for name in NEVER_USED_SCHEMAS:
                schemas.pop(name, None)
            for operations in document["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop(NEVER_ANSWERED, None)
        return super().openapi()
