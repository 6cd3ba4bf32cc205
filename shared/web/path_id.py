"""The id of a row in a path."""

from typing import Annotated

from fastapi import Path
from pydantic import BeforeValidator, WithJsonSchema

from shared.row_ids import MAX_ID, row_id

PathId = Annotated[
    int,
    Path(alias="id", description="Its id.", examples=[1]),
    BeforeValidator(row_id),
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}),
]
