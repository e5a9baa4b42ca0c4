"""This module is where the demo's data is made: what is missing only, so a second start keeps what people did."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final
from uuid import UUID

from dataloaders.tenants import tenant_by_slug
from gateway.demo.acme import ACME
from gateway.demo.agents import enrol, place
from gateway.demo.alerts import fire
from gateway.demo.analyses import analyse
from gateway.demo.approvals import ask
from gateway.demo.catalog import furnish, share
from gateway.demo.doings import draw, live
from gateway.demo.file import DemoFile, DemoTenant, read_demo
from gateway.demo.globex import GLOBEX
from gateway.demo.governance import govern
from gateway.demo.infrastructure import equip
from gateway.demo.keys import FLEET, bygone_keys, fleet_key
from gateway.demo.people import PLATFORM_ADMIN, logins, platform_admin, settle
from gateway.demo.places import build, is_built, wake
from gateway.demo.samples import TenantSample
from gateway.demo.talks import talk
from gateway.demo.together import together
from gateway.demo.webhooks import listen
from models import TenantPlan, TenantStatus
from resolvers.call import Call, Services
from resolvers.principal import Principal
from resolvers.tenants import create_tenant, update_tenant

TENANTS: Final = (ACME, GLOBEX)
CLOSED: Final = (
    ("initech", "Initech", TenantStatus.SUSPENDED),
    ("hooli", "Hooli", TenantStatus.CANCELLED),
)
"""Tenants that nobody can enter, for the platform's list; they stand in no file."""

DEFAULT_SEED: Final = 7


async def seed(services: Services, data_dir: Path, url: str, seed: int = DEFAULT_SEED) -> None:
    """Make the demo's tenants where they are missing, and write ``demo.json`` anew with the present ``url``.

    The same seed gives the same names, statuses and figures; ids, times and secrets are new in each database.
    Each tenant's people, and each tenant's fleet, are one transaction: a start that was killed is completed by the
    next. Raises SettingsError when the file cannot be written, Unavailable.
    """
    before = read_demo(data_dir)
    platform = await platform_admin(services)
    for slug, name, status in CLOSED:
        await _closed(services, platform, slug, name, status)
    await share(services, platform)
    tenants = []
    for sample in TENANTS:
        tenant_id = await _tenant(services, platform, sample)
        admin = await settle(services, platform, tenant_id, sample)
        await _populate(services, admin, sample, seed)
        key = await fleet_key(services, admin, before.secret(sample.slug, FLEET) if before else None)
        tenants.append(DemoTenant(sample.slug, logins(sample), [key]))
    DemoFile(url, tenants, {"email": PLATFORM_ADMIN.email, "password": PLATFORM_ADMIN.password}).write(data_dir)


async def _tenant(services: Services, platform: Principal, sample: TenantSample) -> UUID:
    found = await tenant_by_slug(services.database, sample.slug)
    if found is not None:
        return found[0]
    made = await create_tenant(
        Call(services=services, principal=platform, request_id="demo"),
        name=sample.name,
        slug=sample.slug,
        contact_email=f"hello@{sample.domain}",
        plan=sample.plan,
        settings=sample.settings,
        limits={"workspaces": 1000},
    )
    return made.id


async def _closed(services: Services, platform: Principal, slug: str, name: str, status: TenantStatus) -> None:
    call = Call(services=services, principal=platform, request_id="demo")
    found = await tenant_by_slug(services.database, slug)
    if found is None:
        made = await create_tenant(call, name=name, slug=slug, plan=TenantPlan.FREE)
        await update_tenant(call, id=made.id, status=status)


async def _populate(services: Services, admin: Principal, sample: TenantSample, seed: int) -> None:
    rng = Random(f"{seed}/{sample.slug}")  # noqa: S311 - nothing secret is drawn
    if not await is_built(services, admin.tenant_id, sample):
        async with together(services, admin) as call:
            await furnish(call)
            places = await build(call, sample, rng)
            agents = await enrol(call, sample.agents)
            await place(call, sample.assignments, places, agents)
            await draw(call, sample, places)
            await live(call, sample, places, rng)
            await bygone_keys(call)
            await talk(call, agents)
            await govern(call, agents)
            await fire(call, sample.slug, rng)
            await analyse(call)
            await equip(call)
            await listen(call, sample)
    await ask(services, admin.tenant_id)
    await wake(services, admin.tenant_id, sample, rng)
