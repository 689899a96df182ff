"""What an operator does at the command line, written down in the audit log."""

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sandbox_service.settings import Settings, SettingsError
from sandbox_service.tenants.audit_files import AuditFiles
from sandbox_service.tenants.audit_writer import AuditWriter
from sandbox_service.tenants.opening import audit_directory


def note(settings: Settings, event: str, **details: object) -> None:
    """Write one event, durably. Raises SettingsError when the log cannot be written."""
    at = datetime.now(UTC).isoformat()
    entry = {"at": at, "event": event, "operator_uid": os.getuid(), **details}
    directory = audit_directory(settings)
    try:
        _append(settings, directory, entry)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"it is done, but {directory} cannot be written: {reason}") from error


def _append(settings: Settings, directory: Path, entry: dict[str, object]) -> None:
    """To the log's first chain; to another one when a process that was stopped keeps that to itself."""
    try:
        AuditFiles(directory, settings.audit_file_bytes).append([entry])
    except TimeoutError:
        with closing(AuditWriter(directory, settings.audit_file_bytes, first=2)) as writer:
            writer.append([entry])
