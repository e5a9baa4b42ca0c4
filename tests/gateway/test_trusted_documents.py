"""This module is where trusted documents are specified: how they are named and read, and what else runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from typer.testing import CliRunner
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from gateway.cli import app
from gateway.embedded import EmbeddedValkey
from gateway.settings import SettingsError, load
from gateway.transports.operations import OperationRequest
from gateway.transports.parameters import operation_request, operation_request_from_url
from gateway.trusted_documents import TrustedDocuments, TrustedDocumentsError, TrustedMode, digest_of, read_folder
from models.database import Database
from models.errors import BadRequest, Forbidden, RequestError
from tests.corpus.conftest import signed_in
from tests.gateway.production_gateway import Deployment, running_gateways
from tests.patience import DEADLINE

ALLOWED = "query Mine { viewer { scopes } }"
OTHER = "{ viewer { roles } }"
DIGEST = digest_of(ALLOWED)
TEXTS = {DIGEST: ALLOWED}


def resolved(mode: TrustedMode, query: str | None, digest: str | None, **extensions: Any) -> str | None:
    """The text that is run."""
    request = OperationRequest(query, document_id=digest, extensions=extensions or None)
    return TrustedDocuments(mode, TEXTS).resolve(request).query


@pytest.mark.parametrize("mode", [TrustedMode.PREFER, TrustedMode.ONLY])
def test_a_trusted_document_runs_by_its_digest_and_by_its_text(mode: TrustedMode) -> None:
    assert resolved(mode, None, DIGEST) == ALLOWED
    assert resolved(mode, ALLOWED, DIGEST) == ALLOWED
    assert resolved(mode, ALLOWED, None) == ALLOWED


def test_other_documents_run_unless_only_trusted_ones_do() -> None:
    assert resolved(TrustedMode.OFF, OTHER, None) == OTHER
    assert resolved(TrustedMode.PREFER, OTHER, None) == OTHER
    assert resolved(TrustedMode.PREFER, OTHER, digest_of(OTHER)) == OTHER
    for digest in (None, digest_of(OTHER)):
        with pytest.raises(Forbidden):
            resolved(TrustedMode.ONLY, OTHER, digest)


@pytest.mark.parametrize("mode", list(TrustedMode))
def test_nobody_plants_a_document_under_anothers_digest(mode: TrustedMode) -> None:
    with pytest.raises(BadRequest):
        resolved(mode, OTHER, DIGEST)


def test_a_digest_without_a_document_is_answered_in_words_that_clients_know() -> None:
    said = {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}
    with pytest.raises(BadRequest, match=r"^PersistedQueryNotFound$"):
        resolved(TrustedMode.PREFER, None, "0" * 64, **said)
    with pytest.raises(BadRequest, match=r"^PersistedQueryNotSupported$"):
        resolved(TrustedMode.OFF, None, "0" * 64, **said)
    with pytest.raises(BadRequest, match="no trusted document"):
        resolved(TrustedMode.ONLY, None, "0" * 64)


def test_a_document_is_named_by_the_drafts_parameter_and_by_apollos_extension() -> None:
    apollo = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": DIGEST.upper()}}}
    named: list[dict[str, Any]] = [{"documentId": DIGEST}, {"documentId": f"sha256:{DIGEST}"}, apollo]
    assert [operation_request(one).document_id for one in named] == [DIGEST] * 3
    assert operation_request_from_url({"documentId": DIGEST}).document_id == DIGEST
    in_url = orjson.dumps(apollo["extensions"]).decode()
    assert operation_request_from_url({"extensions": in_url}).document_id == DIGEST
    for wrong in ({"documentId": "latest"}, {"documentId": 7}, {"extensions": {"persistedQuery": {"sha256Hash": 7}}}):
        with pytest.raises(RequestError):
            operation_request(wrong)


def test_a_folder_holds_documents_and_manifests(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "mine.graphql").write_text(ALLOWED + "\n")
    (tmp_path / "relay.json").write_bytes(orjson.dumps({digest_of(OTHER): OTHER}))
    apollo = {"format": "apollo-persisted-query-manifest", "version": 1}
    operations = [{"id": digest_of("{ a }"), "name": "A", "type": "query", "body": "{ a }"}]
    (tmp_path / "apollo.json").write_bytes(orjson.dumps(apollo | {"operations": operations}))
    (tmp_path / "README.md").write_text("not a document")
    assert set(read_folder(tmp_path).values()) == {ALLOWED, ALLOWED + "\n", OTHER, "{ a }"}
    assert all(digest == digest_of(text) for digest, text in read_folder(tmp_path).items())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.json", b"[]"),
        ("a.json", b'{"not a digest": "{ a }"}'),
        ("a.json", orjson.dumps({DIGEST: OTHER})),
        ("a.json", orjson.dumps({DIGEST: None})),
        ("a.graphql", b"\xff"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named_with_its_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrustedDocumentsError, match=name):
        read_folder(tmp_path)
    with pytest.raises(TrustedDocumentsError, match="not a directory"):
        read_folder(tmp_path / "nowhere")


def test_the_settings_want_a_folder_with_the_mode() -> None:
    with pytest.raises(SettingsError, match="SIGNALBOX_DOCUMENTS_DIR"):
        load(documents="only", profile="demo")
    with pytest.raises(SettingsError, match="SIGNALBOX_DOCUMENTS"):
        load(documents="sometimes", profile="demo")


def test_the_command_lists_documents_and_fails_for_those_that_would_be_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.graphql").write_text(ALLOWED + "\n")
    listed = CliRunner().invoke(app, ["documents", str(tmp_path)])
    assert (listed.exit_code, listed.output) == (0, f"{DIGEST}  query Mine\n")
    (tmp_path / "wrong.graphql").write_text("query Wrong { viewr { roles } }")
    (tmp_path / "large.graphql").write_text("{ workspaces(first: 101) { totalCount } }")
    listed = CliRunner().invoke(app, ["documents", str(tmp_path)])
    assert listed.exit_code == 1
    assert "query Wrong  REFUSED: Cannot query field 'viewr'" in listed.output
    assert "REFUSED: At most 100 items in one page" in listed.output


@asynccontextmanager
async def gateway(deployment: Deployment, folder: Path, mode: str) -> AsyncIterator[str]:
    """The address of a gateway that trusts one document."""
    trusted = folder / "trusted"
    trusted.mkdir()
    (trusted / "mine.graphql").write_text(ALLOWED + "\n")
    settings = {"documents": mode, "documents_dir": str(trusted)}
    async with running_gateways(deployment, folder, 1, **settings) as (one,):
        yield one.url


async def over_socket(url: str, token: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The first message that answers an operation."""
    async with (
        asyncio.timeout(DEADLINE),
        connect(
            f"{url.replace('http', 'ws')}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None
        ) as socket,
    ):
        hello = {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
        for message in (hello, {"type": "subscribe", "id": "1", "payload": payload}):
            await socket.send(orjson.dumps(message).decode())
            answer: dict[str, Any] = orjson.loads(await socket.recv())
        return answer


async def test_only_trusted_documents_run_over_http_and_websocket(
    database: Database, app_url: str, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    deployment = Deployment(app_url, valkey.url)
    token = await signed_in(database, deployment, valkey.url)
    async with gateway(deployment, tmp_path, "only") as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        headers = {"authorization": f"Bearer {token}"}
        trusted: list[dict[str, Any]] = [
            {"documentId": DIGEST},
            {"documentId": f"sha256:{DIGEST}"},
            {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": DIGEST}}},
            {"query": ALLOWED},
        ]
        for one in trusted:
            answer = (await http.post("/graphql", json=one, headers=headers)).json()
            assert answer["data"]["viewer"]["scopes"], answer
            assert (await over_socket(url, token, one))["payload"]["data"] == answer["data"]
        refused: dict[str, dict[str, Any]] = {
            "FORBIDDEN": {"query": OTHER},
            "BAD_REQUEST": {"query": OTHER, "documentId": DIGEST},
        }
        for code, one in refused.items():
            response = await http.post("/graphql", json=one, headers=headers)
            assert response.json()["errors"][0]["extensions"]["code"] == code
            message = await over_socket(url, token, one)
            assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", code)
        introspection = await http.post(
            "/graphql", json={"query": "{ __schema { queryType { name } } }"}, headers=headers
        )
        assert introspection.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
