"""This module is where the gateway is spoken to as any agent would: GraphQL over HTTP, and plain HTTP for beats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

_PASSING: Final = frozenset({"UNAVAILABLE", "THROTTLED", "INTERNAL"})

_FIND: Final = """
query ($after: String, $search: String) {
  workspaces(first: 100, after: $after, filter: {search: $search}) {
    nodes { id name } pageInfo { hasNextPage endCursor }
  }
}
"""
_CREATE: Final = """
mutation ($input: CreateWorkspaceInput!) {
  createWorkspace(input: $input) { workspace { id status } userErrors { code message } }
}
"""
_REGISTER: Final = """
mutation ($input: RegisterWorkspaceInput!) {
  registerWorkspace(input: $input) { workspace { id status } token leaseEpoch userErrors { code message } }
}
"""
_BEAT: Final = """
mutation ($input: HeartbeatInput!) {
  reportHeartbeat(input: $input) { workspace { id status } userErrors { code message } }
}
"""


class Trouble(Exception):
    """A request that did not do what it was for; ``code`` says why."""

    def __init__(self, code: str, message: str = "", status: str | None = None) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.status = status


class Away(Trouble):
    """The gateway cannot answer now: try again later."""

    def __init__(self, code: str, message: str = "", retry_after_seconds: float = 0.0) -> None:
        super().__init__(code, message)
        self.retry_after_seconds = retry_after_seconds


class Refused(Trouble):
    """The gateway said no; trying again as it is would get the same answer. ``status`` is the workspace's."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A place that was taken; ``token`` only the first time."""

    lease_epoch: int
    status: str
    token: str | None


class PublicApi:
    """The few calls that a fleet makes, with whatever credential the caller holds. Raises Away and Refused."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def find_workspaces(self, token: str, search: str) -> dict[str, str]:
        """Ids by name of every workspace whose name or role has the words of ``search``."""
        found: dict[str, str] = {}
        after: str | None = None
        while True:
            page = (await self.ask(token, _FIND, after=after, search=search))["workspaces"]
            found |= {one["name"]: one["id"] for one in page["nodes"]}
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]

    async def create_workspace(self, token: str, **said: Any) -> str:
        """The new workspace's id; the one made before when the idempotency key is known."""
        created: str = (await self.change(token, _CREATE, "createWorkspace", said))["workspace"]["id"]
        return created

    async def register(self, token: str, **said: Any) -> Registration:
        """Take a workspace."""
        payload = await self.change(token, _REGISTER, "registerWorkspace", said)
        return Registration(payload["leaseEpoch"], payload["workspace"]["status"], payload["token"])

    async def report_heartbeat(self, token: str, beat: Mapping[str, Any]) -> str:
        """Beat by GraphQL; the workspace's status after it."""
        status: str = (await self.change(token, _BEAT, "reportHeartbeat", beat))["workspace"]["status"]
        return status

    async def post_heartbeat(self, token: str, beat: Mapping[str, Any]) -> str:
        """Beat by plain HTTP; the workspace's status after it."""
        result = (await self.post("/ingest/heartbeats", token, beat))["results"][0]
        error = result.get("error")
        if error is None:
            status: str = result["status"]
            return status
        raise _trouble(error["code"], error["message"])

    async def is_ready(self) -> bool:
        """Whether the gateway serves at all."""
        try:
            return (await self._client.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    async def change(self, token: str, document: str, field: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """The payload of a mutation of one field, ``input: said``, without user errors."""
        payload: dict[str, Any] = (await self.ask(token, document, input=said))[field]
        for error in payload["userErrors"]:
            raise Refused(error["code"], error["message"], (payload.get("workspace") or {}).get("status"))
        return payload

    async def ask(self, token: str, document: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer without errors."""
        answer = await self.post("/graphql", token, {"query": document, "variables": variables})
        data: dict[str, Any] = answer["data"]
        return data

    async def post(self, path: str, token: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a POST of JSON."""
        try:
            response = await self._client.post(path, json=body, headers={"authorization": f"Bearer {token}"})
        except httpx.TimeoutException as error:
            raise Away("TIMEOUT", str(error)) from error
        except httpx.TransportError as error:
            raise Away("UNREACHABLE", str(error)) from error
        return _answer(response)


def _answer(response: httpx.Response) -> dict[str, Any]:
    """The body of an answer without errors."""
    try:
        answer = response.json()
        errors = answer.get("errors", [])
    except (ValueError, AttributeError) as error:
        # A proxy in between, or no gateway at all.
        kind = Away if response.status_code >= 500 else Refused
        raise kind(f"HTTP_{response.status_code}", "The answer is not JSON.") from error
    for one in errors:
        extensions = one.get("extensions", {})
        raise _trouble(
            extensions.get("code", f"HTTP_{response.status_code}"),
            one.get("message", ""),
            float(extensions.get("retryAfterSeconds", 0)),
        )
    if not response.is_success:
        raise _trouble(f"HTTP_{response.status_code}", "")
    return dict(answer)


def _trouble(code: str, message: str, retry_after_seconds: float = 0.0) -> Trouble:
    if code in _PASSING or code.startswith("HTTP_5"):
        return Away(code, message, retry_after_seconds)
    return Refused(code, message)
