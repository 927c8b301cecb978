"""A command whose options are the fields of a settings model, each also read from its variable."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from replicator.kernel.errors import ReplicatorError

Settings = TypeVar("Settings", bound=BaseSettings)
EXIT_ERROR, EXIT_USAGE = 1, 2


def settings_command(
    model: type[Settings], run: Callable[[Settings], None], *, name: str, summary: str, examples: str
) -> typer.Typer:
    """A Typer application with one command, `replicator NAME`.

    Each field of `model` is an option of the field's name, or of its `json_schema_extra["flag"]`. Where that says
    "repeated" as well the option may be given several times, and its values are joined by commas. A setting
    that is wrong, and a `ReplicatorError` of `run`, end the process with one clear line and a status of
    `EXIT_USAGE` or `EXIT_ERROR`.
    """

    def command(**given: Any) -> None:
        try:
            settings = model(**_told(given))
        except ValidationError as error:
            for wrong in error.errors():
                _complain(name, f"{_option_of(model, wrong['loc'])}{wrong['msg']}")
            sys.exit(EXIT_USAGE)
        try:
            run(settings)
        except ReplicatorError as error:
            _complain(name, error.message)
            sys.exit(EXIT_ERROR)

    parameters = [
        inspect.Parameter(
            field,
            inspect.Parameter.KEYWORD_ONLY,
            default=_option(model, field, info),
            annotation=(list[str] if _is_repeated(info) else _plain_type(info)) | None,
        )
        for field, info in model.model_fields.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.command(name, help=summary, epilog=f"Examples: {examples}")(command)
    return app


def variable_of(model: type[BaseSettings], field: str) -> str:
    """The environment variable of a field."""
    alias = model.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{model.model_config.get('env_prefix', '')}{field.upper()}"


def flag_of(field: str, info: FieldInfo) -> str:
    """The option of a field."""
    extra = info.json_schema_extra
    given = extra.get("flag") if isinstance(extra, dict) else None
    return str(given) if given is not None else f"--{field.replace('_', '-')}"


def values_of(info: FieldInfo) -> tuple[str, ...]:
    """The values a field may have, where they are words of a list; else none."""
    return get_args(info.annotation) if get_origin(info.annotation) is Literal else ()


def _option(model: type[BaseSettings], field: str, info: FieldInfo) -> Any:
    default = info.default
    return typer.Option(
        None,
        flag_of(field, info),
        help=info.description,
        metavar="|".join(values) if (values := values_of(info)) else None,
        envvar=variable_of(model, field),
        show_envvar=True,
        show_default=False if default is None or default is PydanticUndefined else str(default),
    )


def _told(given: dict[str, Any]) -> dict[str, Any]:
    joined = {field: ",".join(value) if isinstance(value, list) else value for field, value in given.items()}
    return {field: value for field, value in joined.items() if value is not None and given[field] != []}


def _is_repeated(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    return isinstance(extra, dict) and extra.get("repeated") is True


def _plain_type(info: FieldInfo) -> type:
    return {int: int, float: float}.get(info.annotation, str)  # type: ignore[arg-type]


def _option_of(model: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    for field, info in model.model_fields.items():
        if location and location[0] in (field, variable_of(model, field)):
            return f"{flag_of(field, info)} (or {variable_of(model, field)}): "
    return ""


def _complain(name: str, text: str) -> None:
    sys.stderr.write(f"replicator {name}: {text}\n")
