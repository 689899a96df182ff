"""A package index on disk that has what the real locks name, as tiny wheels, and a newer version of all of it."""

import base64
import hashlib
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker

NEWER = "9999"
ENTRY = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)(?: ; (.+?))?(?: \\)?$", re.MULTILINE)
USER = re.compile(r"^    #(?: via)?\s+([a-z0-9._-]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Pin:
    """One entry of a lock; `users` are the packages that ask for it."""

    name: str
    version: str
    marker: str
    users: tuple[str, ...] = ()

    @property
    def is_for_us(self) -> bool:
        return not self.marker or Marker(self.marker).evaluate()


def read_lock(lock: Path) -> list[Pin]:
    """The pins of a real lock."""
    text = lock.read_text()
    starts = list(ENTRY.finditer(text))
    ends = [entry.start() for entry in starts[1:]] + [len(text)]
    return [
        Pin(entry[1], entry[2], entry[3] or "", tuple(USER.findall(text[entry.end() : end])))
        for entry, end in zip(starts, ends, strict=True)
    ]


class FakeIndex:
    """`url` is its simple interface. What depends on a package asks for it with an extra, as google-genai does."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = f"{(root / 'simple').as_uri()}/"

    def add(self, pins: Iterable[Pin]) -> str:
        """Offer what a lock names, each also in a newer version; the same lock with the hashes of these wheels."""
        pins = list(pins)
        lines = []
        for pin in pins:
            wanted = [f"{other.name}[more]" for other in pins if pin.name in other.users]
            digest = self._wheel(pin.name, pin.version, wanted)
            self._wheel(pin.name, NEWER, [])
            self._page(pin.name)
            marker = f" ; {pin.marker}" if pin.marker else ""
            lines.append(f"{pin.name}=={pin.version}{marker} \\\n    --hash=sha256:{digest}\n")
        return "".join(lines)

    def _wheel(self, name: str, version: str, wanted: list[str]) -> str:
        file = name.replace("-", "_").replace(".", "_")
        path = self._folder(name) / f"{file}-{version}-py3-none-any.whl"
        metadata = [f"Name: {name}", f"Version: {version}", "Provides-Extra: more"]
        metadata += [f"Requires-Dist: {other}" for other in wanted]
        folder = f"{file}-{version}.dist-info"
        contents = {
            f"{folder}/METADATA": "\n".join(["Metadata-Version: 2.1", *metadata, ""]),
            f"{folder}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = f"{folder}/RECORD"
        rows = [f"{name},sha256={_digest(text)},{len(text)}" for name, text in contents.items()]
        with zipfile.ZipFile(path, "w") as wheel:
            for inner, text in {**contents, record: "\n".join([*rows, f"{record},,", ""])}.items():
                wheel.writestr(zipfile.ZipInfo(inner), text)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def _page(self, name: str) -> None:
        folder = self._folder(name)
        links = [f'<a href="{file.name}">{file.name}</a>' for file in folder.glob("*.whl")]
        page = "<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>"
        (folder / "index.html").write_text(page)

    def _folder(self, name: str) -> Path:
        folder = self._root / "simple" / re.sub(r"[-_.]+", "-", name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def installed_in(environment: Path) -> set[tuple[str, str]]:
    """Name and version of all that an environment has."""
    found = environment.glob("lib/python3.*/site-packages/*.dist-info")
    pairs = (folder.name.removesuffix(".dist-info").split("-") for folder in found)
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in pairs}
