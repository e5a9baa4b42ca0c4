"""This module is where mails that are due are specified: each leaves, however often that takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select

from models import MailKind, OutgoingMail, Tenant, User
from resolvers.post import Letter, Postponed, Undeliverable, ask_for_mail
from resolvers.recovery import reset_password
from tests.patience import DEADLINE
from tests.resolvers.people import House

MINUTE = timedelta(minutes=1)


async def ask(house: House, user: User, kind: MailKind = MailKind.PASSWORD_RESET, times: int = 1) -> None:
    async with house.work(user.tenant_id) as work:
        for _ in range(times):
            ask_for_mail(work, kind, user.id)


async def waiting(house: House, tenant: Tenant) -> list[OutgoingMail]:
    async with house.database.session(tenant.id) as session:
        return list(await session.scalars(select(OutgoingMail).where(OutgoingMail.tenant_id == tenant.id)))


class Server:
    """Takes letters to these people, but first refuses some; other tests' letters are let pass."""

    def __init__(self, people: Sequence[User], *refusals: Exception) -> None:
        self.addresses = {one.email for one in people}
        self.refusals = list(refusals)
        self.tried: list[Letter] = []
        self.taken: list[Letter] = []

    async def __call__(self, letter: Letter) -> None:
        if letter.to not in self.addresses:
            return
        self.tried.append(letter)
        if self.refusals:
            raise self.refusals.pop(0)
        self.taken.append(letter)


async def test_what_is_refused_for_now_is_tried_again_with_the_same_token(
    house: House, acme: Tenant, ada: User
) -> None:
    server = Server([ada], Postponed("451"), TimeoutError(), Postponed("no connection"))
    post = house.post(server)
    await ask(house, ada)
    for wait in (0, 30, 60, 120):
        before = len(server.tried)
        house.clock.advance(timedelta(seconds=wait - 1))
        await post.deliver_due()
        assert len(server.tried) == before
        house.clock.advance(timedelta(seconds=1))
        await post.deliver_due()
        assert len(server.tried) == before + 1
    assert len({letter.token for letter in server.tried}) == 1
    assert await waiting(house, acme) == []
    (letter,) = server.taken
    assert letter.token is not None
    await reset_password(house.call(), token=letter.token, new_password="another password")


async def test_what_is_refused_for_good_is_not_tried_again(house: House, acme: Tenant, ada: User) -> None:
    server = Server([ada], Undeliverable("550"))
    await ask(house, ada)
    await house.post(server).deliver_due()
    assert (len(server.tried), await waiting(house, acme)) == (1, [])


async def test_a_worker_that_died_under_way_is_followed_by_another(house: House, acme: Tenant, ada: User) -> None:
    hangs = asyncio.Event()

    async def hang(letter: Letter) -> None:
        if letter.to == ada.email:
            hangs.set()
            await asyncio.Event().wait()

    await ask(house, ada)
    dying = asyncio.create_task(house.post(hang).deliver_due(), name="dying worker")
    async with asyncio.timeout(DEADLINE):
        await hangs.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    server = Server([ada])
    await house.post(server).deliver_due()
    assert server.tried == []
    house.clock.advance(timedelta(seconds=30))
    await house.post(server).deliver_due()
    assert len(server.taken) == 1


async def test_many_workers_send_each_mail_once(house: House, acme: Tenant, ada: User) -> None:
    people = [await house.person(acme.id) for _ in range(12)]
    for one in people:
        await ask(house, one)
    server = Server(people)
    for _ in range(3):
        await asyncio.gather(*(house.post(server).deliver_due() for _ in range(4)))
    assert sorted(letter.to for letter in server.taken) == sorted(one.email or "" for one in people)


async def test_a_mail_nobody_takes_is_given_up_when_its_time_is_over(house: House, acme: Tenant, ada: User) -> None:
    server = Server([ada], *(Postponed("away") for _ in range(100)))
    post = house.post(server)
    await ask(house, ada)
    for _ in range(30):
        await post.deliver_due()
        house.clock.advance(3 * MINUTE)
    assert 4 < len(server.tried) < 10
    assert await waiting(house, acme) == []


async def test_under_a_new_key_the_next_try_carries_a_token_that_works(house: House, acme: Tenant, ada: User) -> None:
    first = Server([ada], Postponed("away"))
    await ask(house, ada)
    await house.post(first).deliver_due()
    renewed = House(house.database, clock=house.clock, refresh_key=b"s" * 32)
    house.clock.advance(MINUTE)
    await renewed.post().deliver_due()
    (letter,) = [one for one in renewed.letters if one.to == ada.email]
    assert letter.token is not None
    assert letter.token != first.tried[0].token
    await reset_password(renewed.call(), token=letter.token, new_password="another password")


async def test_a_mail_to_an_address_that_changed_meanwhile_is_dropped(house: House, acme: Tenant, ada: User) -> None:
    server = Server([ada], Postponed("away"))
    await ask(house, ada)
    await house.post(server).deliver_due()
    await house.set_user(ada, email="new@example.org", email_key=f"new.{ada.id}@example.org")
    house.clock.advance(MINUTE)
    await house.post(server).deliver_due()
    assert (server.taken, await waiting(house, acme)) == ([], [])


@pytest.mark.parametrize("kind", [MailKind.INVITATION])
async def test_a_mail_that_makes_no_sense_any_more_is_dropped(
    house: House, acme: Tenant, ada: User, kind: MailKind
) -> None:
    server = Server([ada])
    await ask(house, ada, kind)  # nobody who is active is invited
    await house.post(server).deliver_due()
    assert (server.tried, await waiting(house, acme)) == ([], [])


async def test_a_defect_of_the_sender_leaves_the_mail_for_later(house: House, acme: Tenant, ada: User) -> None:
    await ask(house, ada)
    with pytest.raises(ExceptionGroup):
        await house.post(Server([ada], RuntimeError("a defect"))).deliver_due()
    assert len(await waiting(house, acme)) == 1
    house.clock.advance(timedelta(seconds=30))
    server = Server([ada])
    await house.post(server).deliver_due()
    assert len(server.taken) == 1
