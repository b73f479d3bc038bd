"""Pydantic models of the records, for BentoML's OpenAPI: made from the structs, so that there is one schema."""

from __future__ import annotations

import typing
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model


def body_of(source: type[msgspec.Struct], example: dict[str, Any]) -> type[BaseModel]:
    """A pydantic model with the fields, bounds and defaults of a record type, and an example for the docs."""
    hints = typing.get_type_hints(source, include_extras=True)
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(source):
        default = ... if field.required else field.default
        fields[field.name] = (_annotation(hints[field.name]), default)
    # Strict and finite, as the struct is: pydantic would take "12", true and NaN for an amount.
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, json_schema_extra={"example": example})
    tag = source.__struct_config__.tag
    if isinstance(tag, str):
        fields["type"] = (typing.Literal[tag], tag)
    return create_model(f"{source.__name__}Body", __config__=config, __doc__=source.__doc__, **fields)


def _annotation(hint: Any) -> Any:
    if typing.get_origin(hint) is Annotated:
        inner, *extras = typing.get_args(hint)
        return Annotated[_annotation(inner), *(_field(extra) for extra in extras if isinstance(extra, Meta))]
    if hint is datetime:
        return AwareDatetime  # every time has a zone
    options = typing.get_args(hint)
    if type(None) in options:
        kept = [_annotation(option) for option in options if option is not type(None)]
        return kept[0] | None
    return hint


def _field(meta: Meta) -> Any:
    names = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern", "description")
    given = {name: value for name in names if (value := getattr(meta, name)) is not None}
    return Field(**given)
