"""This module is where password hashing is specified."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

import bcrypt
import pytest
from argon2 import extract_parameters

from models.errors import Refusal, RefusalCode, Throttled
from resolvers.passwords import Passwords, Verdict, refuse_unfit


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords(memory_kib=64, passes=1)
    yield passwords
    passwords.close()


async def test_the_default_is_argon2id_with_19456_kib_and_two_passes() -> None:
    passwords = Passwords()
    parameters = extract_parameters(await passwords.hash("correct horse"))
    passwords.close()
    assert (parameters.type.name, parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (
        "ID",
        19456,
        2,
        1,
    )


async def test_the_right_password_is_right_and_a_wrong_one_wrong(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")
    assert await passwords.verify(stored, "correct horse") == Verdict(True)
    assert await passwords.verify(stored, "correct horsf") == Verdict(False)
    assert stored != await passwords.hash("correct horse")


@pytest.mark.parametrize("stored", [None, "", "!", "$argon2id$nonsense", "$2b$nonsense", "plain"])
async def test_no_hash_and_no_readable_hash_are_wrong(passwords: Passwords, stored: str | None) -> None:
    assert await passwords.verify(stored, stored or "anything at all") == Verdict(False)


@pytest.mark.parametrize("password", ["a\x00b", "pässwörd 🔑", "x" * 100_000, "\ud800 lone"])
async def test_any_text_can_be_tried(passwords: Passwords, password: str) -> None:
    assert not (await passwords.verify(None, password)).ok
    assert not (await passwords.verify(bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode(), password)).ok


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
async def test_an_imported_bcrypt_hash_is_right_once_and_comes_back_as_argon2id(
    passwords: Passwords, prefix: str
) -> None:
    imported = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode().replace("$2b$", f"${prefix}$")
    verdict = await passwords.verify(imported, "correct horse")
    assert verdict.ok
    assert verdict.rehash is not None
    assert await passwords.verify(verdict.rehash, "correct horse") == Verdict(True)
    assert await passwords.verify(imported, "wrong horse") == Verdict(False)


async def test_bcrypt_sees_the_first_72_bytes_as_the_old_systems_did(passwords: Passwords) -> None:
    imported = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert (await passwords.verify(imported, "x" * 100)).ok
    assert not (await passwords.verify(imported, "x" * 71)).ok


async def test_a_hash_under_weaker_parameters_is_replaced(passwords: Passwords) -> None:
    stronger = Passwords(memory_kib=128, passes=2)
    verdict = await stronger.verify(await passwords.hash("correct horse"), "correct horse")
    assert verdict.ok
    assert verdict.rehash is not None
    assert extract_parameters(verdict.rehash).memory_cost == 128
    stronger.close()


async def test_an_unknown_account_costs_what_a_wrong_password_costs() -> None:
    passwords = Passwords(memory_kib=8192, passes=2, threads=1)
    stored = await passwords.hash("correct horse")

    async def seconds(hash_: str | None) -> float:
        start = time.perf_counter()
        await passwords.verify(hash_, "wrong")
        return time.perf_counter() - start

    known, unknown = [], []
    for _ in range(15):
        known.append(await seconds(stored))
        unknown.append(await seconds(None))
    passwords.close()
    ratio = statistics.median(unknown) / statistics.median(known)
    # Skipping the evaluation would make it below 0.05; two evaluations would make it 2.
    assert 0.5 < ratio < 1.7


async def test_the_loop_goes_on_while_passwords_are_hashed(passwords: Passwords) -> None:
    slow = Passwords(memory_kib=65536, passes=4, threads=1)
    hashing = asyncio.ensure_future(slow.hash("correct horse"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    slow.close()
    assert turns > 10


async def test_a_crowd_is_turned_away_and_the_line_empties_again() -> None:
    passwords = Passwords(memory_kib=4096, passes=1, threads=1, waiting=2)
    answers = await asyncio.gather(*(passwords.hash("correct horse") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, Throttled) for one in answers) == 7
    assert await passwords.hash("correct horse")
    passwords.close()


async def test_whoever_gives_up_does_not_make_room_before_the_work_is_done() -> None:
    passwords = Passwords(memory_kib=32768, passes=4, threads=1, waiting=0)
    leaving = asyncio.ensure_future(passwords.hash("correct horse"))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(Throttled):
        await passwords.hash("correct horse")
    passwords.close()


@pytest.mark.parametrize("length", [0, 7, 129])
def test_a_new_password_that_is_too_short_or_too_long_is_invalid(length: int) -> None:
    with pytest.raises(Refusal) as refusal:
        refuse_unfit("x" * length, "password")
    assert (refusal.value.code, refusal.value.field) == (RefusalCode.INVALID, ("input", "password"))


@pytest.mark.parametrize("length", [8, 128])
def test_8_to_128_characters_are_fit(length: int) -> None:
    refuse_unfit("é" * length)
