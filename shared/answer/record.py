"""The base of the records: pydantic models that are frozen, written to JSON and read from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _number(value: Any) -> Any:
    return math.nan if value is None else value


Number = Annotated[float, BeforeValidator(_number)]
"""A measured value. JSON has no NaN and writes null; null is read as NaN."""

Params = dict[str, str | int | float | bool | None]
"""What a sentence speaks of, by name, so that a page can say it in its reader's language."""


class Record(BaseModel):
    """A frozen record. Unknown fields, which a later version may have stored, are passed over."""

    model_config = ConfigDict(frozen=True)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Raises pydantic.ValidationError for data that is not of this record."""
        return cls.model_validate(data)


def _is_none(value: object) -> bool:
    return value is None


class Caution(Record):
    """A warning: what a reader has to know before believing an answer, as a code, its parameters and a sentence."""

    code: str
    params: Params = {}
    text: str
    method: str | None = Field(default=None, description="Of a warning about a map.", exclude_if=_is_none)
    model: str | None = Field(default=None, description="In the list of a whole result.", exclude_if=_is_none)
