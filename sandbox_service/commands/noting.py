"""What an operator does at the command line, written down in the audit log."""

import os
from datetime import UTC, datetime

from sandbox_service.settings import Settings, SettingsError
from sandbox_service.tenants.audit_files import AuditFiles
from sandbox_service.tenants.opening import audit_directory


def note(settings: Settings, event: str, **details: object) -> None:
    """Write one event, durably. Raises SettingsError when the log cannot be written."""
    at = datetime.now(UTC).isoformat()
    entry = {"at": at, "event": event, "operator_uid": os.getuid(), **details}
    directory = audit_directory(settings)
    try:
        AuditFiles(directory, settings.audit_file_bytes).append([entry])
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"it is done, but {directory} cannot be written: {reason}") from error
