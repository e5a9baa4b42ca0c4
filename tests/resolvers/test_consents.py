"""This module is where consents are specified: given by the person alone, a row each time, withdrawn all at once."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from models import PLATFORM_TENANT_ID, Role, Tenant, User, UserConsent
from models.errors import Forbidden, Refusal, RefusalCode
from models.ids import uuid7
from models.scopes import ROLE_SCOPES
from resolvers.call import Call
from resolvers.consents import grant_consent, revoke_consent
from resolvers.principal import Principal
from tests.resolvers.people import House


def of(house: House, user: User) -> Call:
    """An operation of the person."""
    return house.call(Principal(tenant_id=user.tenant_id, user_id=user.id, scopes=ROLE_SCOPES[Role.VIEWER]))


async def rows(house: House, tenant: Tenant) -> list[tuple[str, bool, bool]]:
    """Kind, whether it stands, whether it was withdrawn; oldest first."""
    async with house.database.session(tenant.id) as session:
        found = await session.scalars(select(UserConsent).order_by(UserConsent.id))
        return [(one.consent_type, one.granted, one.revoked_at is not None) for one in found]


async def test_each_grant_is_a_row_and_a_withdrawal_takes_back_all_of_its_kind(
    house: House, acme: Tenant, ada: User
) -> None:
    call = of(house, ada)
    for kind in ("marketing_mail", "marketing_mail", "data_processing"):
        consent = await grant_consent(call, consent_type=kind)
        assert (consent.user_id, consent.granted, consent.granted_at) == (ada.id, True, house.clock.now)
    revoked = await revoke_consent(call, consent_type="marketing_mail")
    assert [one.revoked_at for one in revoked] == [house.clock.now] * 2
    assert sorted(await rows(house, acme)) == [
        ("data_processing", True, False),
        ("marketing_mail", False, True),
        ("marketing_mail", False, True),
    ]
    assert await house.kinds(acme.id) == ["consent.granted"] * 3 + ["consent.revoked"] * 2


async def test_withdrawing_what_never_stood_changes_and_tells_nothing(house: House, acme: Tenant, ada: User) -> None:
    assert await revoke_consent(of(house, ada), consent_type="marketing_mail") == []
    assert await house.kinds(acme.id) == []


async def test_anothers_consents_stay(house: House, acme: Tenant, ada: User) -> None:
    eve = await house.person(acme.id, Role.VIEWER)
    await grant_consent(of(house, eve), consent_type="marketing_mail")
    assert await revoke_consent(of(house, ada), consent_type="marketing_mail") == []
    assert await rows(house, acme) == [("marketing_mail", True, False)]


@pytest.mark.parametrize("kind", ["", "Marketing", "1st", "a" * 65, "a b", "nul\x00", "é"])
async def test_what_is_no_kind_is_invalid(house: House, ada: User, kind: str) -> None:
    for attempt in (grant_consent, revoke_consent):
        with pytest.raises(Refusal) as refusal:
            await attempt(of(house, ada), consent_type=kind)
        assert (refusal.value.code, refusal.value.field) == (RefusalCode.INVALID, ("input", "consentType"))


async def test_neither_a_machine_nor_a_guest_consents(house: House, acme: Tenant) -> None:
    scopes = ROLE_SCOPES[Role.ADMIN]
    machine = Principal(tenant_id=acme.id, api_key_id=uuid7(), scopes=scopes)
    chief = await house.person(PLATFORM_TENANT_ID, Role.ADMIN, platform_admin=True)
    guest = Principal(tenant_id=acme.id, user_id=chief.id, scopes=scopes, is_platform_admin=True)
    for who in (machine, guest):
        for attempt in (grant_consent, revoke_consent):
            with pytest.raises(Forbidden):
                await attempt(house.call(who), consent_type="marketing_mail")
    assert await rows(house, acme) == []
