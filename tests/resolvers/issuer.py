"""This module is where tests get an OpenID Connect issuer of their own: a real HTTP server with keys that rotate."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

CLIENT = "signalbox-dashboard"
NONCE = "n-0S6_WzA2Mj"


class SigningKey:
    """One key pair of an issuer."""

    def __init__(self, key_id: str, algorithm: str = "RS256", bits: int = 2048) -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        self.private: Any
        if algorithm.startswith("ES"):
            curve = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[algorithm]
            self.private = ec.generate_private_key(curve)
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(65537, bits)

    def jwk(self, **given: Any) -> dict[str, Any]:
        """The public half, as a key set holds it."""
        kinds = {"E": OKPAlgorithm} if self.algorithm == "EdDSA" else {"E": ECAlgorithm}
        made = kinds.get(self.algorithm[0], RSAAlgorithm).to_jwk(self.private.public_key(), as_dict=True)
        return {**made, "kid": self.key_id, "use": "sig", "alg": self.algorithm, **given}


class Issuer:
    """What an identity provider is to the gateway. ``answers`` replaces a path's answer by (status, headers, body);
    no answer is given while the ``door`` is shut."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys = [SigningKey("first")]
        self.asked: Counter[str] = Counter()
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.door, self.knocked = threading.Event(), threading.Event()
        self.door.set()

    def rotate(self, key_id: str, algorithm: str = "RS256") -> None:
        """Sign with another key; the old one is gone."""
        self.keys = [SigningKey(key_id, algorithm)]

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """What is served at ``path``."""
        self.asked[path] += 1
        self.knocked.set()
        self.door.wait(10)
        if path in self.answers:
            return self.answers[path]
        found: dict[str, Any] = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [key.jwk() for key in self.keys]},
        }
        return (200, {}, orjson.dumps(found[path])) if path in found else (404, {}, b"")

    def claims(self, now: datetime, **given: Any) -> dict[str, Any]:
        """What a token says; None among ``given`` leaves a claim out."""
        said = {
            "iss": self.url,
            "sub": "248289761001",
            "aud": CLIENT,
            "nonce": NONCE,
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(minutes=5)).timestamp()),
            "email": "grace@example.org",
            "email_verified": True,
            "name": "Grace Hopper",
            **given,
        }
        return {name: value for name, value in said.items() if value is not None}

    def token(self, now: datetime, *, key: SigningKey | None = None, kid: str | None = "", **given: Any) -> str:
        """An ID token by the newest key."""
        by = key or self.keys[-1]
        named = by.key_id if kid == "" else kid
        headers = {"kid": named} if named is not None else {}
        return jwt.encode(self.claims(now, **given), by.private, algorithm=by.algorithm, headers=headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Whoever cuts the answer off may."""


@contextmanager
def serving() -> Iterator[Issuer]:
    """An issuer on a port of its own, until the block ends."""
    server = _Server(("127.0.0.1", 0), BaseHTTPRequestHandler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = issuer.answer(self.path)
            self.send_response(status)
            for name, value in {
                "content-type": "application/json",
                "content-length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server.RequestHandlerClass = Handler
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="issuer", daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
