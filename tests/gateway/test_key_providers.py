"""This module is where it is specified what wraps data keys: keys of the settings, a KMS, and one after the other."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from gateway import settings as configuration
from gateway.key_providers import KmsKey, LocalKeys, SeveralKeys
from gateway.keys import key_provider
from gateway.settings import SettingsError
from models.envelope import Unreadable
from models.ids import uuid7
from resolvers.keyring import KeyContext, KeyNotAtHand

CONTEXT = KeyContext(uuid7(), 1)
OTHERS = [KeyContext(uuid7(), 1), KeyContext(CONTEXT.tenant_id, 2)]
DATABASE = "postgresql://signalbox_app@db/signalbox"


def started(port: int = 0) -> tuple[ThreadedMotoServer, str]:
    """A KMS on loopback with its address; all of this process share their keys."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, found = server.get_host_and_port()
    return server, f"http://{host}:{found}"


@pytest.fixture(scope="module")
def kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A KMS of the test's own on loopback; the id of a key in it."""
    server, address = started()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL_KMS", address)
        patch.setenv("AWS_REGION", "eu-central-1")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_CONFIG_FILE", str(tmp_path_factory.mktemp("aws") / "none"))
        yield boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
    server.stop()


async def test_a_local_key_wraps_for_one_tenant_and_version_only() -> None:
    local = LocalKeys([secrets.token_bytes(32)])
    made = await local.make(CONTEXT)
    assert made.material not in made.wrapped
    assert made.material.hex() not in repr(made)
    assert await local.unwrap(made.wrapped, made.key_encryption_key, CONTEXT) == made.material
    for context in OTHERS:
        with pytest.raises(Unreadable):
            await local.unwrap(made.wrapped, made.key_encryption_key, context)
    for changed in (made.wrapped[:-1], b"", bytes([made.wrapped[0] ^ 1]) + made.wrapped[1:]):
        with pytest.raises(Unreadable):
            await local.unwrap(changed, made.key_encryption_key, CONTEXT)


async def test_the_first_local_key_wraps_and_every_one_unwraps() -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    made = await LocalKeys([old]).make(CONTEXT)
    both = LocalKeys([new, old])
    assert await both.unwrap(made.wrapped, made.key_encryption_key, CONTEXT) == made.material
    later = await both.make(CONTEXT)
    assert later.key_encryption_key == LocalKeys([new]).name != made.key_encryption_key
    with pytest.raises(KeyNotAtHand):
        await LocalKeys([new]).unwrap(made.wrapped, made.key_encryption_key, CONTEXT)


async def test_a_kms_makes_data_keys_that_unwrap_for_their_tenant_and_version_only(kms: str) -> None:
    provider = KmsKey(kms)
    made = await provider.make(CONTEXT)
    assert len(made.material) == 32
    assert made.material not in made.wrapped
    assert made.key_encryption_key == provider.name
    assert provider.name.startswith("kms:arn:aws:kms:")
    assert await provider.unwrap(made.wrapped, made.key_encryption_key, CONTEXT) == made.material
    for context in OTHERS:
        with pytest.raises(Unreadable):
            await provider.unwrap(made.wrapped, made.key_encryption_key, context)


async def test_a_kms_that_is_away_is_not_at_hand_until_it_is_back(kms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other, address = started()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", address)
    provider = KmsKey(kms)
    made = await provider.make(CONTEXT)
    other.stop()
    for attempt in (
        lambda: provider.make(CONTEXT),
        lambda: provider.unwrap(made.wrapped, made.key_encryption_key, CONTEXT),
    ):
        with pytest.raises(KeyNotAtHand):
            await attempt()
    with pytest.raises(SettingsError, match="cannot be used"):
        KmsKey(kms)
    other, _ = started(port=int(address.rpartition(":")[2]))
    assert await provider.unwrap(made.wrapped, made.key_encryption_key, CONTEXT) == made.material
    other.stop()


async def test_a_local_key_is_left_for_a_kms_and_back_again(kms: str) -> None:
    local = LocalKeys([secrets.token_bytes(32)])
    made = await local.make(CONTEXT)
    moved = SeveralKeys([KmsKey(kms), local])
    assert await moved.unwrap(made.wrapped, made.key_encryption_key, CONTEXT) == made.material
    later = await moved.make(CONTEXT)
    assert later.key_encryption_key.startswith("kms:")
    back = SeveralKeys([local, KmsKey(kms)])
    assert await back.unwrap(later.wrapped, later.key_encryption_key, CONTEXT) == later.material
    with pytest.raises(KeyNotAtHand):
        await SeveralKeys([local]).unwrap(later.wrapped, later.key_encryption_key, CONTEXT)


def test_a_kms_key_that_cannot_be_used_stops_the_start_with_one_line(kms: str) -> None:
    with pytest.raises(SettingsError, match=r"^SIGNALBOX_KMS_KEY_ID: .* cannot be used: .*") as error:
        KmsKey("00000000-0000-0000-0000-000000000000")
    assert "\n" not in str(error.value)


def test_settings_name_the_kms_before_the_local_keys(kms: str, tmp_path: Path) -> None:
    local = "ab" * 32
    given = {"profile": "production", "data_dir": tmp_path, "secrets_keys": [local]}
    assert key_provider(configuration.load(**given)).name == LocalKeys([bytes.fromhex(local)]).name
    assert key_provider(configuration.load(**given, kms_key_id=kms)).name.startswith("kms:")
    given["secrets_keys"] = [local, f"kms:{kms}"]
    assert key_provider(configuration.load(**given)).name == LocalKeys([bytes.fromhex(local)]).name


def test_the_demo_makes_its_key_in_its_data_directory_and_finds_it_again(tmp_path: Path) -> None:
    demo = configuration.load(profile="demo", data_dir=tmp_path)
    first, again = key_provider(demo), key_provider(demo)
    assert first.name == again.name
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600


def test_production_is_not_served_without_a_key(tmp_path: Path) -> None:
    given = {"profile": "production", "data_dir": tmp_path, "token_keys": ["00" * 32], "audit_keys": ["00" * 32]}
    with pytest.raises(SettingsError, match=r"^SIGNALBOX_SECRETS_KEYS .* is needed in production"):
        configuration.for_serving(**given)
    with pytest.raises(SettingsError, match=r"^SIGNALBOX_SECRETS_KEYS .* is needed in production"):
        configuration.load(**given, database_url=DATABASE)
    assert configuration.for_serving(**given, secrets_keys=["11" * 32]).secrets_keys
    assert configuration.for_serving(**given, kms_key_id="alias/signalbox").kms_key_id
    assert configuration.for_serving(profile="demo", data_dir=tmp_path).is_demo


@pytest.mark.parametrize("bad", ["", "short", "zz" * 32, "ab" * 31, "kms:", "arn:aws:kms:x"])
def test_a_key_of_another_form_stops_the_start(bad: str) -> None:
    with pytest.raises(SettingsError, match=r"SIGNALBOX_SECRETS_KEYS: 64 hex digits"):
        configuration.load(secrets_keys=["00" * 32, bad])
