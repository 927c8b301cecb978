"""Logs are events with fields, one a line on standard error: JSON, or aligned text on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, cast

import structlog

LogFormat = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure_logging(*, level: LogLevel = "info", style: LogFormat = "auto", **fields: Any) -> None:
    """Send events to standard error; `fields` (process, node …) stand in every event."""
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    renderer: Any = (
        # The default formatter prints local variables, and with them secrets.
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if text
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.StackInfoRenderer(),
            *([] if text else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**fields)
    logging.basicConfig(level=logging.WARNING, handlers=[_ToStructlog()], force=True)


def get_logger() -> structlog.stdlib.BoundLogger:
    """The logger of the process: `log.info("chunk.pulled", digest=…, bytes=…)`."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger())


class _ToStructlog(logging.Handler):
    """Brings what libraries log into the same stream."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            min(record.levelno // 10 * 10, logging.CRITICAL),  # structlog knows the standard levels alone
            "library.log",
            logger=record.name,
            text=record.getMessage(),
            exc_info=record.exc_info,
        )
