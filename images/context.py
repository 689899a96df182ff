"""What the image is built from: the files, their hash, and the build context made of them."""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from images.contents import contents_json

REPOSITORY = "sandbox-python"
SOURCE = Path(__file__).parent / "python"
UV_LOCK = Path(__file__).parents[1] / "deploy" / "locks" / "uv.txt"
FILES = (
    "Dockerfile",
    "font-names.sh",
    "locales.sh",
    "install-lock.sh",
    "trim-environments.sh",
    "trim-system.sh",
    "requirements-agent.lock",
    "requirements-data.lock",
    "requirements-kernel.lock",
)
FOLDERS = ("additions", "fonts", "agent", "zygote")
CA_SETTINGS = ("SANDBOX_BUILD_CA_BUNDLE", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def source_files(source: Path = SOURCE) -> dict[str, bytes]:
    """Everything that decides what the image becomes: name in the build context to content."""
    files = {name: (source / name).read_bytes() for name in FILES}
    for folder in FOLDERS:
        files.update(_folder_files(source, folder))
    files["uv.lock"] = UV_LOCK.read_bytes()
    files["contents.json"] = contents_json(source).encode()
    return files


def _folder_files(source: Path, folder: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted((source / folder).rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            yield path.relative_to(source).as_posix(), path.read_bytes()


def content_hash(files: Mapping[str, bytes]) -> str:
    """Twelve hexadecimal digits that change when any of the files does."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()[:12]


def ca_bundle(environ: Mapping[str, str] = os.environ) -> bytes:
    """The certificate authorities that the build trusts: the host's setting, or the public ones."""
    for setting in CA_SETTINGS:
        if environ.get(setting):
            return Path(environ[setting]).read_bytes()
    import certifi  # here, so that the hash can be had before there are packages

    return Path(certifi.where()).read_bytes()


def build_context(files: Mapping[str, bytes]) -> io.BytesIO:
    """A tar of the files whose bytes depend on nothing else, so that the engine's cache holds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in FOLDERS:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    buffer.seek(0)
    return buffer
