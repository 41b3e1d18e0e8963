# SPDX-License-Identifier: GPL-2.0-or-later
"""A pydantic model for each class of PlainOptions: finds all that is wrong at once; help and JSON schema come from it.

Imported by those who import pydantic anyway, and never by a block driver.
"""

from __future__ import annotations

import typing
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Union

from pydantic import BaseModel, Field, create_model
from pydantic_core import core_schema

from asyncemu.options import Options
from asyncemu.plain_options import REQUIRED, AnyOptions, OptionField, PlainOptions

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler


def model_of(options_type: type[AnyOptions]) -> type[Options]:
    """The model of a class of options of either kind; a model is its own."""
    if issubclass(options_type, Options):
        return options_type
    if issubclass(options_type, PlainOptions):
        return _model(options_type)
    raise TypeError(f"{options_type!r} is no class of options")


def plain_of(model: BaseModel) -> PlainOptions:
    """A validated ``model``, an instance of ``model_of(options_type)``, as an instance of that ``options_type``."""
    return _plain_types[type(model)](**{name: _plain(getattr(model, name)) for name in model.model_fields_set})


def given_options(options: AnyOptions) -> dict[str, Any]:
    """What of ``options``, of either kind, differs from its default, by the keys of files."""
    if isinstance(options, Options):
        return options.model_dump(by_alias=True, exclude_defaults=True)
    assert isinstance(options, PlainOptions)
    return options.given()


def core_schema_of(options_type: type[PlainOptions], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    """Makes an instance of ``options_type`` of a table, or takes one."""

    def validate(value: object, table: core_schema.ValidatorFunctionWrapHandler) -> object:
        return value if isinstance(value, options_type) else plain_of(table(value))

    return core_schema.no_info_wrap_validator_function(
        validate,
        handler.generate_schema(model_of(options_type)),
        serialization=core_schema.plain_serializer_function_ser_schema(options_type.given),
    )


_models: Final[dict[type[PlainOptions], type[Options]]] = {}
#: The inverse.
_plain_types: Final[dict[type[BaseModel], type[PlainOptions]]] = {}


def _model(options_type: type[PlainOptions]) -> type[Options]:
    if options_type in _models:
        return _models[options_type]
    annotations = options_type.annotations()
    fields: dict[str, Any] = {
        name: (_with_models(annotations[name]), _field(field)) for name, field in options_type.fields.items()
    }
    model = create_model(
        options_type.__name__,
        __base__=Options,
        __module__=options_type.__module__,
        __doc__=options_type.__doc__,
        **fields,
    )
    _models[options_type], _plain_types[model] = model, options_type
    return model


def _field(field: OptionField) -> Any:
    bounds: dict[str, Any] = dict(field.bounds)
    description = field.description or None
    if field.default is REQUIRED:
        return Field(description=description, **bounds)
    return Field(default=_with_model_value(field.default), description=description, **bounds)


def _with_models(annotation: Any) -> Any:
    """``annotation`` with a model in the place of each class of PlainOptions, for those who look for models."""
    if isinstance(annotation, type) and issubclass(annotation, PlainOptions):
        return _model(annotation)
    origin = typing.get_origin(annotation)
    if origin in (Union, UnionType):
        return Union[tuple(_with_models(each) for each in typing.get_args(annotation))]  # noqa: UP007 (made at run time)
    if origin is Annotated:
        inner, *metadata = typing.get_args(annotation)
        return Annotated[(_with_models(inner), *metadata)]
    if origin in (list, tuple):
        return origin[tuple(_with_models(each) for each in typing.get_args(annotation))]
    return annotation


def _with_model_value(value: object) -> object:
    if not isinstance(value, PlainOptions):
        return value
    given = [name for name in value.fields if value.is_given(name)]
    values = {name: _with_model_value(getattr(value, name)) for name in value.fields}
    return _model(type(value)).model_construct(set(given), **values)


def _plain(value: Any) -> Any:
    """``value`` of a model's field, with options in the place of models."""
    if isinstance(value, BaseModel):
        return plain_of(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(each) for each in value)
    return value
