"""Writes `sandbox_service/client/sync.py` from the asynchronous classes: `python -m tests.support.make_sync`."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

from tests.support import sync_templates as templates

CLIENT = Path(__file__).parents[2] / "sandbox_service" / "client"
TARGET = CLIENT / "sync.py"

VALUES = {
    "Artifact": "results.py",
    "ExecutionResult": "results.py",
    "ArtifactMade": "events.py",
    "ExecutionCompleted": "events.py",
}
FACES = {"Session": "session.py", "SandboxClient": "client.py"}
WORDS = {"async with": "with", "await ": "", "SandboxClient()": "SyncSandboxClient()"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def source_of_sync() -> str:
    """The module's source, in the house's format."""
    values = [_value(_class(name, file)) for name, file in VALUES.items()]
    faces = [_face(_class(name, file)) for name, file in FACES.items()]
    return _formatted("".join([templates.HEADER, *values, templates.EVENTS, *faces]))


def _class(name: str, file: str) -> ast.ClassDef:
    tree = ast.parse((CLIENT / file).read_text())
    return next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)


def _value(node: ast.ClassDef) -> str:
    """A subclass that holds the bridge, and is made from the value that the inner call returned."""
    declared = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    types = {ast.unparse(item.target): ast.unparse(item.annotation) for item in declared}
    fields = [f"{name}: {_sync_type(kind)}" for name, kind in types.items() if _mirrored(kind)]
    copied = [f"{name}={_synced(kind, f'value.{name}', 'bridge')}" for name, kind in types.items()]
    methods = [item for item in _public(node) if isinstance(item, ast.AsyncFunctionDef)]
    if methods:
        fields.append("_bridge: Bridge = field(kw_only=True, repr=False, compare=False)")
        copied.append("_bridge=bridge")
    head = templates.VALUE.format(
        name=node.name,
        doc=_doc(node, 4),
        fields=indent("\n".join(fields), " " * 4),
        copied=", ".join(copied),
    )
    calls = [f"{node.name}.{item.name}({_forwarded(item, first='self')})" for item in methods]
    remark = "  # type: ignore[override]"
    return head + "".join(map(_called, methods, calls, [remark] * len(calls)))


def _face(node: ast.ClassDef) -> str:
    """A class around the asynchronous one."""
    init = templates.SESSION_INIT
    if node.name == "SandboxClient":
        made = next(item for item in node.body if getattr(item, "name", "") == "__init__")
        assert isinstance(made, ast.FunctionDef)
        init = templates.CLIENT_INIT.format(arguments=_arguments(made), forwarded=_forwarded(made))
    methods = [_method(node, item) for item in _public(node)]
    face = templates.FACE.format(name=node.name, doc=_doc(node, 4), init=init)
    return "".join([face, *methods])


def _public(node: ast.ClassDef) -> Iterator[Function]:
    for item in node.body:
        if isinstance(item, Function) and not item.name.startswith("_"):
            yield item


def _method(owner: ast.ClassDef, node: Function) -> str:
    inner = f"self._inner.{node.name}({_forwarded(node)})"
    decorators = [ast.unparse(item) for item in node.decorator_list]
    if "property" in decorators:
        return templates.PROPERTY.format(name=node.name, result=_result(node))
    if owner.name == "SandboxClient" and node.name == "close":
        return templates.CLIENT_CLOSE.format(doc=_doc(node, 8))
    if "asynccontextmanager" in decorators:
        return _filled(templates.ENTERED, node, inner)
    if _result(node).startswith("AsyncGenerator["):
        return _filled(templates.ITERATED, node, inner)
    return _called(node, inner) if isinstance(node, ast.AsyncFunctionDef) else _plain(node, inner)


def _filled(template: str, node: Function, inner: str) -> str:
    """For what yields: the type between the brackets is what counts."""
    kind = _result(node).partition("[")[2].removesuffix("]")
    return template.format(
        name=node.name,
        arguments=_arguments(node),
        result=_sync_type(kind),
        doc=_doc(node, 8),
        inner=inner,
        item=_synced(kind, "item", "self._bridge"),
        value=_synced(kind, "value", "self._bridge"),
    )


def _called(node: Function, inner: str, remark: str = "") -> str:
    return _plain(node, f"self._bridge.call({inner})", remark)


def _plain(node: Function, answer: str, remark: str = "") -> str:
    result = _result(node)
    return (templates.SILENT if result == "None" else templates.PLAIN).format(
        name=node.name,
        arguments=_arguments(node),
        result=_sync_type(result),
        remark=remark,
        doc=_doc(node, 8),
        answer=_synced(result, answer, "self._bridge"),
    )


def _result(node: Function) -> str:
    assert node.returns is not None, node.name
    return ast.unparse(node.returns)


def _arguments(node: Function) -> str:
    return ast.unparse(node.args)


def _forwarded(node: Function, first: str = "") -> str:
    """The arguments as they are passed on."""
    names = [argument.arg for argument in node.args.args[1:]]
    names += [f"{argument.arg}={argument.arg}" for argument in node.args.kwonlyargs]
    names += [f"**{node.args.kwarg.arg}"] if node.args.kwarg else []
    return ", ".join([first, *names] if first else names)


def _doc(node: ast.ClassDef | Function, depth: int) -> str:
    text = ast.get_docstring(node) or ""
    for there, here in WORDS.items():
        text = text.replace(there, here)
    end = "\n" if "\n" in text else ""
    return indent(f'"""{text}{end}"""', " " * depth).strip()


def _mirrored(kind: str) -> str:
    """The class in `kind` that has a synchronous face; empty if there is none."""
    names = [*VALUES, *FACES, "Event"]
    return next((name for name in names if re.search(rf"\b{name}\b", kind)), "")


def _sync_type(kind: str) -> str:
    name = _mirrored(kind)
    return re.sub(rf"\b{name}\b", f"Sync{name}", kind) if name else kind


def _synced(kind: str, expression: str, bridge: str) -> str:
    """`expression`, of type `kind`, converted to what it is without an event loop."""
    name = _mirrored(kind)
    make = "sync_event" if name == "Event" else f"Sync{name}.of"
    match kind.partition("[")[0]:
        case _ if not name:
            return expression
        case "tuple":
            return f"tuple({make}({bridge}, item) for item in {expression})"
        case "list":
            return f"[{make}({bridge}, item) for item in {expression}]"
    return f"{make}({bridge}, {expression})"


def _formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    TARGET.write_text(source_of_sync())
