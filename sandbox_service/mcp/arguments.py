"""What the tools are called with. The models make the schemas that clients see, and check the calls."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from sandbox_service.client.wording import CODE
from sandbox_service.domain.errors import InvalidRequest
from sandbox_service.domain.names import clean_path

MOUNT = "/mnt/data/"
_ID = re.compile(r"[A-Za-z0-9_-]{0,64}")


class WrongArguments(Exception):
    """The call is not what the tool's schema says; the message is for the model."""


def _empty(value: object) -> object:
    """Clients send null, or nothing, for what they leave out."""
    return "" if value is None else value


def _zero(value: object) -> object:
    return 0 if value is None else value


def _relative(value: object) -> object:
    """Models name files as they see them: with the workspace in front."""
    if not isinstance(value, str):
        return value
    return value.removeprefix("sandbox:").removeprefix(MOUNT).removeprefix("./")


def _sendable(value: str) -> str:
    """JSON can say what is no text; nothing after us takes it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds characters that are no text") from None
    return value


def _id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("is not the id of a session")
    return value


def _path(value: str) -> str:
    try:
        return clean_path(value)
    except InvalidRequest as error:
        raise ValueError(error.message) from None


SessionId = Annotated[str, BeforeValidator(_empty), AfterValidator(_id)]
FilePath = Annotated[
    str,
    BeforeValidator(_relative),
    AfterValidator(_sendable),
    AfterValidator(_path),
    Field(description="Name of the file in /mnt/data, with its folders if it is in one."),
]
Text = Annotated[str, BeforeValidator(_empty), AfterValidator(_sendable)]


class Arguments(BaseModel):
    """Every tool takes the session it is about."""

    model_config = ConfigDict(extra="forbid")

    session_id: SessionId = ""


class ExecutePython(Arguments):
    code: Annotated[str, AfterValidator(_sendable)] = Field(description=CODE)
    timeout_s: Annotated[float, BeforeValidator(_zero)] = Field(
        0, ge=0, description="Seconds after which the code is stopped; 0: the usual limit."
    )


class UploadFile(Arguments):
    path: FilePath
    text: Text = Field("", description="The content, if it is text.")
    base64: Text = Field("", description="The content in base64, if it is not text.")


class UploadLocalFile(UploadFile):
    local_path: Text = Field(
        "", description="Instead of a content: a file of this computer, below the shared folder."
    )


class ListFiles(Arguments):
    pass


class ReadFile(Arguments):
    path: FilePath


class Reset(Arguments):
    pass


Model = TypeVar("Model", bound=Arguments)


def parsed(model: type[Model], arguments: dict[str, Any] | None) -> Model:
    """The arguments of a call, checked. Raises WrongArguments."""
    try:
        return model.model_validate(arguments or {})
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        faults = "; ".join(f"{_name(item['loc'])}: {_words(item['msg'])}" for item in problems[:5])
        raise WrongArguments(f"Nothing was done. {faults}.") from None


def schema_of(model: type[Arguments], session_text: str, *, needs_session: bool) -> dict[str, Any]:
    """The tool's input schema, with what its `session_id` means on this way in."""
    made = model.model_json_schema()
    properties = {
        name: {key: word for key, word in value.items() if key != "title"}
        for name, value in made["properties"].items()
    }
    session = properties.pop("session_id") | {"description": session_text}
    if needs_session:
        del session["default"]
    return {
        "type": "object",
        "properties": {**properties, "session_id": session},
        "required": [*made.get("required", ()), *(["session_id"] if needs_session else ())],
        "additionalProperties": False,
    }


def _words(message: str) -> str:
    return message.removeprefix("Value error, ").removesuffix(".")


def _name(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "arguments"
