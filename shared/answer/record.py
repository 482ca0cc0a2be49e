"""The base of the records: pydantic models that are frozen, written to JSON and read from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared import json_text


def _number(value: Any) -> Any:
    return math.nan if value is None else value


Number = Annotated[float, BeforeValidator(_number)]
"""A measured value. JSON has no NaN and writes null; null is read as NaN."""

Params = dict[str, str | int | float | bool | None]
"""What a sentence speaks of, by name, so that a page can say it in its reader's language."""


class Described(BaseModel):
    """A model whose JSON schema is made once: the API's description asks for it at every route, in 20 ms each."""

    @classmethod
    def model_json_schema(cls, *given: Any, **options: Any) -> dict[str, Any]:
        schema: dict[str, Any] = json_text.decode(_schema(cls, given, tuple(sorted(options.items()))))
        return schema


@cache
def _schema(model: type[Described], given: tuple[Any, ...], options: tuple[tuple[str, Any], ...]) -> bytes:
    return json_text.encode(super(Described, model).model_json_schema(*given, **dict(options)))


class Record(Described):
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
