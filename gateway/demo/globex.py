"""This module is where the demo's tenant ``globex`` is described: an administration whose agents serve citizens."""

from __future__ import annotations

from typing import Final

from gateway.demo.samples import AgentSample, AssignmentSample, PlaceSample, TenantSample, staff
from models import AgentStatus, AgentType, TenantPlan
from models import WorkspaceStatus as Status

GLOBEX: Final = TenantSample(
    slug="globex",
    name="Globex City Services",
    plan=TenantPlan.PRO,
    settings={"default_model": "gpt-4o", "allowed_models": ["gpt-4o"], "max_tokens_per_request": 4000},
    people=staff(
        ("Mara Olsen", "City Hall"),
        ("Eli Novak", "City Hall"),
        ("Dana Ruiz", "Building & Housing"),
        ("Chris Park", "Finance"),
        ("Ines Moreau", "Law"),
        ("Lee Tran", "Parks"),
        ("Max Doyle", "Public Health"),
        ("Ona Berg", "Finance"),
    ),
    places=(
        PlaceSample(key="city-hall", name="City Hall", role="Answers and hands over", status=Status.ONLINE),
        PlaceSample(
            key="public-health",
            name="Public Health",
            role="Appointments and advice",
            parent="city-hall",
            status=Status.DEGRADED,
            task="answering about vaccinations",
            error_rate=0.62,
            error="the tool brave_web_search timed out",
        ),
        PlaceSample(
            key="building-housing",
            name="Building & Housing",
            role="Permits",
            parent="city-hall",
            status=Status.ONLINE,
            task="checking a permit for completeness",
        ),
        PlaceSample(key="finance", name="Finance", role="Payments", parent="city-hall", status=Status.PAUSED),
        PlaceSample(key="law", name="Law", role="Contracts", parent="city-hall", status=Status.HIBERNATED),
        PlaceSample(key="parks", name="Parks", role="Bookings", parent="city-hall", tier=1, status=Status.OFFLINE),
        PlaceSample(key="elections", name="Elections", role="Information", status=Status.PROVISIONING),
        PlaceSample(key="libraries", name="Libraries", role="Not begun", status=Status.AWAITING_AGENT),
        PlaceSample(key="records", name="Records", role="Archive", tier=3, status=Status.FAILED),
        PlaceSample(key="fax-desk", name="Fax Desk", role="Gone", status=Status.REMOVED, forwarded_to="city-hall"),
    ),
    agents=(
        AgentSample(
            name="concierge",
            title="Concierge",
            domain="General",
            description="Hands every request to the department that knows most about it.",
            model="gpt-4o",
            instruction="Choose the agent whose domain and capabilities fit the request best.",
            is_router=True,
        ),
        AgentSample(
            name="hr_assistant",
            title="HR Assistant",
            domain="HR",
            description="Answers what employees ask about leave and pay.",
            model="gpt-4o",
            capabilities=("leave", "pay"),
            guardrails=("no medical data",),
            escalates_to="concierge",
        ),
        AgentSample(
            name="permit_guide",
            title="Permit Guide",
            domain="Building & Housing",
            description="Leads people through an application for a permit.",
            model="gpt-4o",
            capabilities=("permits", "forms"),
            escalates_to="concierge",
        ),
        AgentSample(
            name="notice_chain",
            type=AgentType.SEQUENTIAL,
            title="Notice Chain",
            domain="Comms",
            description="Drafts a notice, then checks it.",
            parts=("permit_guide", "hr_assistant"),
        ),
        AgentSample(
            name="vendor_payments",
            status=AgentStatus.PENDING,
            title="Vendor Payments",
            domain="Finance",
            description="Prepares payments for a person to release.",
            model="gpt-4o",
            guardrails=("never pays by itself",),
        ),
        AgentSample(
            name="press_desk",
            status=AgentStatus.DISABLED,
            title="Press Desk",
            domain="Comms",
            description="Drafts press releases.",
            model="gpt-4o",
        ),
        AgentSample(
            name="fine_collector",
            status=AgentStatus.REJECTED,
            title="Fine Collector",
            domain="Finance",
            description="Demands fines.",
            model="gpt-4o",
            rejection_reason="Demands are written by people.",
        ),
    ),
    assignments=(
        AssignmentSample(place="city-hall", agents=("concierge",)),
        AssignmentSample(place="building-housing", agents=("notice_chain", "permit_guide")),
        AssignmentSample(place="public-health", agents=("hr_assistant",), is_over=True),
    ),
)
