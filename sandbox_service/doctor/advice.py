"""Judges a machine: what is well, what is weak, what would make the service fail, and how to mend it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sandbox_service.backends.docker.inspection import EngineFacts
from sandbox_service.doctor.facts import MachineFacts
from sandbox_service.doctor.versions import (
    OLDEST_ENGINE,
    OLDEST_RUNSC,
    is_of_a_distribution,
    numbers,
    runc_holes,
    runsc_date,
)
from sandbox_service.domain.values import MIB

CONTENT_LABEL = "sandbox.image.content"
LOW_DISK_BYTES = 5 * 1024 * MIB
NO_DISK_BYTES = 256 * MIB
Level = Literal["ok", "weak", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend` says what to do; empty when nothing need be done."""

    name: str
    level: Level
    says: str
    mend: str = ""


def findings(facts: MachineFacts) -> list[Finding]:
    """Everything there is to say of a machine, in the order in which to mend it."""
    return [*_engine(facts), *_machine(facts)]


def _engine(facts: MachineFacts) -> Iterator[Finding]:
    if not facts.is_isolating:
        mend = "Set SANDBOX_BACKEND=docker for code that you have not written yourself."
        yield Finding("backend", "weak", "The backend unsafe_local isolates nothing.", mend)
        return
    if facts.engine is None:
        yield Finding("engine", "fail", facts.engine_error, "Run `make engine` as root.")
        return
    yield _engine_version(facts.engine)
    yield from _runtimes(facts, facts.engine)
    yield _runc(facts.engine)
    if "runsc" in facts.engine.runtimes:
        yield _runsc(facts.runsc_version)
    yield from _isolation(facts, facts.engine)
    yield _cgroups(facts.engine)
    yield _storage(facts.engine)
    yield _image(facts, facts.engine)


def _engine_version(engine: EngineFacts) -> Finding:
    version = numbers(engine.engine_version)
    says = f"The engine answers: {engine.engine_version}, kernel {engine.kernel_version}."
    if version is None or version[:2] >= OLDEST_ENGINE:
        return Finding("engine", "ok", says)
    return Finding("engine", "fail", says, "Install Docker 20.10 or newer.")


def _runtimes(facts: MachineFacts, engine: EngineFacts) -> Iterator[Finding]:
    for runtime in sorted(facts.wanted_runtimes):
        if runtime in engine.runtimes:
            yield Finding("runtime", "ok", f"The engine has the runtime {runtime}.")
            continue
        mend = "Run `make runsc` as root." if runtime == "runsc" else "Register it at the engine."
        says = f"A template asks for the runtime {runtime}, which the engine does not have."
        yield Finding("runtime", "fail", says, mend)


def _runc(engine: EngineFacts) -> Finding:
    version, holes = engine.runc_version, runc_holes(engine.runc_version)
    if not version:
        return Finding("runc", "weak", "The engine does not say which runc it uses.")
    if not holes:
        return Finding("runc", "ok", f"runc {version} has no hole that we know of.")
    names = ", ".join(hole.names for hole in holes)
    says = f"runc {version} is older than the mend of {names}."
    if is_of_a_distribution(version):
        says += " Your distribution may have mended it under the old number."
    return Finding("runc", "weak", says, "Upgrade runc to 1.2.8, 1.3.3 or newer, or use gVisor.")


def _runsc(version: str) -> Finding:
    date = runsc_date(version)
    if date is None:
        says = "The engine has runsc, but its version cannot be read here."
        return Finding("runsc", "weak", says, "Put runsc on the PATH.")
    if date < OLDEST_RUNSC:
        says = f"runsc {version} is older than what this service is tested with."
        return Finding("runsc", "weak", says, "Run `make runsc` as root.")
    return Finding("runsc", "ok", f"runsc {version}.")


def _isolation(facts: MachineFacts, engine: EngineFacts) -> Iterator[Finding]:
    options = " ".join(engine.security_options)
    if "seccomp" in options:
        yield Finding("seccomp", "ok", "The engine filters system calls.")
    else:
        says = "The engine filters no system calls, and would start no sandbox of ours."
        yield Finding("seccomp", "fail", says, "Use a kernel and an engine with seccomp.")
    if "apparmor" in options or "selinux" in options:
        yield Finding("apparmor", "ok", "The engine confines containers by AppArmor or SELinux.")
    else:
        has = "the kernel has it" if facts.kernel_has_apparmor else "the kernel lacks it"
        mend = "Install apparmor and restart the engine." if facts.kernel_has_apparmor else ""
        says = f"No AppArmor or SELinux ({has}): one wall less under runc."
        yield Finding("apparmor", "weak", says, mend)
    yield _user_namespaces(options)


def _user_namespaces(options: str) -> Finding:
    if "rootless" in options:
        says = "The engine is rootless: the sandboxes' user ids lie outside of those it has."
        return Finding("user namespaces", "fail", says, "Use an engine that runs as root.")
    says = "Each sandbox runs as a user id of its own that owns nothing on the host."
    if "userns" in options:
        says += " The engine remaps other containers' users: sandboxes opt out of it."
    return Finding("user namespaces", "ok", says)


def _cgroups(engine: EngineFacts) -> Finding:
    if engine.cgroup_version == "2":
        return Finding("cgroups", "ok", "Control groups are version 2.")
    says = "Control groups are version 1: limits hold, but out of memory is told less surely."
    return Finding("cgroups", "weak", says, "Start the machine with version 2 where it can.")


def _storage(engine: EngineFacts) -> Finding:
    says = f"The engine stores layers with {engine.storage_driver}."
    if engine.storage_driver == "vfs":
        mend = "Use overlay2: vfs copies the whole image for every sandbox."
        return Finding("storage", "weak", says, mend)
    return Finding("storage", "ok", says + " Sandboxes write to memory only, within their limit.")


def _image(facts: MachineFacts, engine: EngineFacts) -> Finding:
    if engine.image_id is None:
        return Finding("image", "fail", f"The image {facts.image} is missing.", "Run `make image`.")
    content = engine.image_labels.get(CONTENT_LABEL, "")
    if facts.expected_image_content not in ("", content):
        says = f"The image {facts.image} is not the one that this version is made for."
        return Finding("image", "weak", says, "Run `make image`.")
    return Finding("image", "ok", f"The image {facts.image} is there and up to date.")


def _machine(facts: MachineFacts) -> Iterator[Finding]:
    for place, free in facts.free_bytes.items():
        yield _disk(place, free)
    if facts.missing_ca:
        says = f"The certificate bundle {facts.missing_ca}, set for image builds, is not there."
        yield Finding("certificates", "weak", says, "Set it to a bundle that is, or unset it.")
    if facts.busy_port:
        says = f"Something listens on {facts.busy_port} already."
        yield Finding("port", "fail", says, "Stop it, or choose another SANDBOX_PORT.")
    if facts.runtime_dir_fault:
        says = f"{facts.runtime_dir} cannot hold control directories: {facts.runtime_dir_fault}."
        yield Finding("runtime directory", "fail", says, "Choose another SANDBOX_RUNTIME_DIR.")
    if facts.open_mitigations:
        says = f"The processor's known leaks are open here: {', '.join(facts.open_mitigations)}."
        yield Finding("processor", "weak", says, "Update microcode and kernel.")


def _disk(place: str, free: int) -> Finding:
    says = f"{place} has {free // MIB} MiB free."
    mend = "Make room: artifacts and images are kept there."
    if free < NO_DISK_BYTES:
        return Finding("disk", "fail", says, mend)
    if free < LOW_DISK_BYTES:
        return Finding("disk", "weak", says, mend)
    return Finding("disk", "ok", says)
