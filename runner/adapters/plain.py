"""For a protocol that is none of the others: JSON schema in, plain JSON out."""

import base64
from typing import Any

from runner.dispatch import Arguments, PythonTool
from runner.tool import definition

__all__ = ["answer_call", "definition"]


async def answer_call(python: PythonTool, arguments: Arguments) -> dict[str, Any]:
    """Carry out one call. `text` and `images` are for the model, the rest is for the person.

    Shape: `{"text", "images": [{"media_type", "data"}], "files": [{"name", "size", "url"}],
    "result"}`. `data` is base64, for the protocol's own form of a picture; `result` is the
    service's whole answer, None when nothing was run.
    """
    finished = await python.run(arguments)
    images = [
        {"media_type": image.media_type, "data": base64.b64encode(image.content).decode()}
        for image in finished.shaped.images
    ]
    made = finished.result.artifacts if finished.result else ()
    return {
        "text": finished.shaped.text,
        "images": images,
        "files": [{"name": file.path, "size": file.size, "url": file.url} for file in made],
        "result": dict(finished.result.raw) if finished.result else None,
    }
