"""Media types of workspace files, from their names alone: what a file holds is never looked at."""

import mimetypes
from pathlib import PurePosixPath

DEFAULT = "application/octet-stream"

_OFFICE = "application/vnd.openxmlformats-officedocument"
_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".tex": "application/x-tex",
    ".py": "text/x-python",
    ".sql": "application/sql",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/x-ndjson",
    ".geojson": "application/geo+json",
    ".ipynb": "application/x-ipynb+json",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".toml": "application/toml",
    ".xml": "application/xml",
    ".html": "text/html",
    ".htm": "text/html",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".pdf": "application/pdf",
    ".xls": "application/vnd.ms-excel",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".parquet": "application/vnd.apache.parquet",
    ".feather": "application/vnd.apache.arrow.file",
    ".arrow": "application/vnd.apache.arrow.file",
    ".sqlite": "application/vnd.sqlite3",
    ".db": DEFAULT,
    ".npy": DEFAULT,
    ".npz": "application/zip",
    ".pkl": DEFAULT,
    ".pickle": DEFAULT,
    ".h5": "application/x-hdf5",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".bz2": "application/x-bzip2",
    ".xz": "application/x-xz",
    ".zst": "application/zstd",
    ".tar": "application/x-tar",
    ".tgz": "application/gzip",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}
# Python's own table, without the files of this machine: the same answer everywhere.
_PYTHON = mimetypes.MimeTypes(filenames=())


def media_type_of(path: str) -> str:
    """The media type that the file's name promises; DEFAULT for a name that promises none."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _TYPES:
        return _TYPES[suffix]
    return _PYTHON.types_map[True].get(suffix, DEFAULT)
