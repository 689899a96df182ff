"""What the tools are called with. The models make the schemas that clients see, and check the calls."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sandbox_service.client.wording import CODE

MOUNT = "/mnt/data/"


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


SessionId = Annotated[
    str, BeforeValidator(_empty), Field(pattern=r"^[A-Za-z0-9_-]*$", max_length=64)
]
FilePath = Annotated[
    str,
    BeforeValidator(_relative),
    Field(
        min_length=1,
        max_length=4096,
        pattern=r"^[^/]",
        description="Name of the file in /mnt/data, with its folders if it is in one.",
    ),
]
Text = Annotated[str, BeforeValidator(_empty)]


class Arguments(BaseModel):
    """Every tool takes the session it is about."""

    model_config = ConfigDict(extra="forbid")

    session_id: SessionId = ""


class ExecutePython(Arguments):
    code: str = Field(description=CODE)
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
        faults = "; ".join(f"{_name(item['loc'])}: {item['msg']}" for item in problems[:5])
        raise WrongArguments(f"Nothing was done. {faults}.") from None


def schema_of(model: type[Arguments], session_text: str, *, needs_session: bool) -> dict[str, Any]:
    """The tool's input schema, with what its `session_id` means on this way in."""
    schema = model.model_json_schema()
    for name, value in schema["properties"].items():
        value.pop("title", None)
        if name == "session_id":
            value["description"] = session_text
    schema.pop("title")
    schema.pop("description", None)
    if needs_session:
        schema["required"] = [*schema.get("required", ()), "session_id"]
    return schema


def _name(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "arguments"
