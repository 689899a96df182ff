"""An open line to one agent, over its unix socket or over TCP with a token."""

from pydantic import BaseModel, Field

from sandbox_service.backends.agent_files import AgentFiles
from sandbox_service.backends.agent_http import AgentHttp
from sandbox_service.backends.agent_kernel import AgentKernel
from sandbox_service.backends.agent_patience import AgentWaits


class AgentLine:
    """One sandbox, behind the `Sandbox` port. Everything from the agent is data from a stranger."""

    def __init__(self, http: AgentHttp) -> None:
        self._http = http
        self._kernel = AgentKernel(http)
        self._files = AgentFiles(http)

    @classmethod
    def over_unix(cls, path: str, waits: AgentWaits | None = None) -> "AgentLine":
        """A line to the socket at `path`; connects with the first call."""
        return cls(AgentHttp.over_unix(path, waits))

    @classmethod
    async def connect_unix(cls, path: str) -> "AgentLine":
        """A line to an agent that has answered. Raises SandboxLost."""
        line = cls.over_unix(path)
        try:
            await line.kernel.health()
        except BaseException:
            await line.close()
            raise
        return line

    @classmethod
    def over_tcp(cls, address: str, token: str) -> "AgentLine":
        """A line to `host:port` with a bearer token; connects with the first call."""
        return cls(AgentHttp.over_tcp(address, token))

    @property
    def kernel(self) -> AgentKernel:
        return self._kernel

    @property
    def files(self) -> AgentFiles:
        return self._files

    async def resources(self) -> dict[str, float]:
        """What the agent says the sandbox uses: memory_bytes, cpu_s, pids, workspace_bytes."""
        answer = await self._http.ask(_Resources, "GET", "/v1/resources")
        return answer.model_dump()

    async def close(self) -> None:
        """Close the line; the sandbox itself goes on."""
        await self._http.close()


class _Resources(BaseModel):
    memory_bytes: float = Field(ge=0, allow_inf_nan=False)
    cpu_s: float = Field(ge=0, allow_inf_nan=False)
    pids: float = Field(ge=0, allow_inf_nan=False)
    workspace_bytes: float = Field(ge=0, allow_inf_nan=False)
