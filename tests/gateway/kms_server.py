"""This module is where tests get a KMS of their own: a real HTTP server that speaks as much of AWS's as we ask.

AWS JSON 1.1: the action stands in ``X-Amz-Target``, blobs are base64, errors are named in ``__type``.
"""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

REGION: Final = "eu-central-1"
ACCESS_KEY: Final = "AKIATESTOFSIGNALBOX"
_NONCE: Final = 12


class Refused(Exception):
    """What the KMS answers instead; its text is the error's name."""


@dataclass(slots=True)
class Kms:
    """Keys that never leave, and what was asked of them."""

    url: str = ""
    keys: dict[str, AESGCM] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    journal: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Action, key id, encryption context."""
    handed_out: list[bytes] = field(default_factory=list)
    """Every data key in the clear, to be looked for where it must not be."""

    def create(self) -> str:
        """A new key's id."""
        key_id = f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}"
        self.keys[key_id] = AESGCM(secrets.token_bytes(32))
        return key_id

    def asked(self, action: str) -> list[tuple[str, dict[str, str]]]:
        """Key id and context of each time that ``action`` was done."""
        return [(key_id, context) for done, key_id, context in self.journal if done == action]

    def environment(self) -> dict[str, str]:
        """How AWS's tools find it."""
        return {
            "AWS_ENDPOINT_URL_KMS": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def answer(self, action: str, said: dict[str, Any]) -> dict[str, Any]:
        """What the action gives. Raises Refused."""
        key_id = str(said["KeyId"]).rpartition("/")[2]
        if key_id not in self.keys:
            raise Refused("NotFoundException")
        if key_id in self.disabled and action != "DescribeKey":
            raise Refused("DisabledException")
        context = said.get("EncryptionContext", {})
        bound = orjson.dumps([key_id, context], option=orjson.OPT_SORT_KEYS)
        answer = getattr(self, f"_{action}")(self.keys[key_id], said, bound)
        self.journal.append((action, key_id, context))
        return {"KeyId": self._arn(key_id), **answer}

    def _DescribeKey(self, _: AESGCM, said: dict[str, Any], __: bytes) -> dict[str, Any]:
        key_id = str(said["KeyId"]).rpartition("/")[2]
        return {"KeyMetadata": {"KeyId": key_id, "Arn": self._arn(key_id), "Enabled": key_id not in self.disabled}}

    def _GenerateDataKey(self, key: AESGCM, said: dict[str, Any], bound: bytes) -> dict[str, Any]:
        if said.get("KeySpec") != "AES_256":
            raise Refused("ValidationException")
        material, nonce = secrets.token_bytes(32), secrets.token_bytes(_NONCE)
        self.handed_out.append(material)
        return {"Plaintext": _text(material), "CiphertextBlob": _text(nonce + key.encrypt(nonce, material, bound))}

    def _Decrypt(self, key: AESGCM, said: dict[str, Any], bound: bytes) -> dict[str, Any]:
        blob = base64.b64decode(said["CiphertextBlob"])
        try:
            return {"Plaintext": _text(key.decrypt(blob[:_NONCE], blob[_NONCE:], bound))}
        except InvalidTag as error:
            raise Refused("InvalidCiphertextException") from error

    def _arn(self, key_id: str) -> str:
        return f"arn:aws:kms:{REGION}:000000000000:key/{key_id}"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextmanager
def kms_server() -> Iterator[Kms]:
    """A running KMS without keys."""
    kms = Kms()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            service, _, action = self.headers["x-amz-target"].partition(".")
            signed = f"Credential={ACCESS_KEY}/" in self.headers.get("authorization", "")
            try:
                if service != "TrentService" or not signed or not hasattr(kms, f"_{action}"):
                    raise Refused("AccessDeniedException")
                status, answer = 200, kms.answer(action, orjson.loads(body))
            except Refused as refused:
                status, answer = 400, {"__type": str(refused), "message": "refused by the test"}
            said = orjson.dumps(answer)
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.1")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the journal is the log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kms.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="kms", daemon=True)
    thread.start()
    try:
        yield kms
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
