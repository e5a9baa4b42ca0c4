"""This module is where the demo's tenant ``acme`` is described: a business whose agents sell, build and support."""

from __future__ import annotations

from typing import Final

from gateway.demo.samples import AgentSample, AssignmentSample, PlaceSample, TenantSample, staff
from models import AgentStatus, AgentType, TenantPlan
from models import WorkspaceStatus as Status

ACME: Final = TenantSample(
    slug="acme",
    name="Acme Corporation",
    plan=TenantPlan.ENTERPRISE,
    settings={
        "default_model": "gpt-4o",
        "allowed_models": ["gpt-4o", "claude-sonnet-4-6"],
        "max_tokens_per_request": 8000,
    },
    people=staff(
        ("Avery Stone", "Platform"),
        ("Robin Vale", "Operations"),
        ("Sam Marsh", "Marketing"),
        ("Kim Lund", "Finance"),
        ("Noor Haddad", "Compliance"),
        ("Toni Beck", "Sales"),
        ("Jules Frey", "Operations"),
        ("Pat Quinn", "Sales"),
    ),
    places=(
        PlaceSample(key="business-core", name="Business Core", role="Runs the company", status=Status.ONLINE),
        PlaceSample(
            key="marketing",
            name="Marketing",
            role="Campaigns and pages",
            parent="business-core",
            status=Status.ONLINE,
            task="generating the page for opening hours",
        ),
        PlaceSample(
            key="developer-pm",
            name="Developer PM",
            role="Plans what is built",
            parent="business-core",
            status=Status.ONLINE,
        ),
        PlaceSample(key="frontend", name="Frontend", role="Builds pages", parent="developer-pm", status=Status.PAUSED),
        PlaceSample(
            key="backend", name="Backend", role="Builds services", parent="developer-pm", status=Status.OFFLINE
        ),
        PlaceSample(key="qa-pm", name="QA PM", role="Plans tests", parent="developer-pm", status=Status.HIBERNATED),
        PlaceSample(key="auto-test", name="Auto Test", role="Tests", parent="qa-pm", status=Status.PROVISIONING),
        PlaceSample(
            key="vancouver-seo",
            name="Vancouver SEO Agent",
            role="Search engine optimisation",
            tier=1,
            status=Status.DEGRADED,
            task="auditing a landing page",
            error_rate=0.87,
            error="anthropic API rate limit exceeded",
        ),
        PlaceSample(
            key="image-desk",
            name="Image Desk",
            role="Pictures",
            parent="marketing",
            status=Status.DEGRADED,
            task="rendering a banner",
            is_wedged=True,
        ),
        PlaceSample(key="data-lake", name="Data Lake", role="Loads data", tier=3, status=Status.FAILED),
        PlaceSample(
            key="summer-campaign",
            name="Summer Campaign",
            role="Not begun",
            parent="marketing",
            status=Status.AWAITING_AGENT,
        ),
        PlaceSample(
            key="legacy-crm",
            name="Legacy CRM",
            role="Replaced by Backend",
            status=Status.REMOVED,
            forwarded_to="backend",
        ),
    ),
    agents=(
        AgentSample(
            name="concierge",
            title="Concierge",
            domain="General",
            description="Hands every request to the agent that knows most about it.",
            model="gpt-4o",
            instruction="Choose the agent whose domain and capabilities fit the request best.",
            is_router=True,
        ),
        AgentSample(
            name="support_triage",
            title="Support Triage",
            domain="Support",
            description="Sorts what customers write by urgency and topic.",
            model="gpt-4o",
            instruction="Name the topic and the urgency. Never promise a refund.",
            capabilities=("triage", "summarise"),
            guardrails=("no refunds", "no personal data in summaries"),
            escalates_to="concierge",
        ),
        AgentSample(
            name="seo_writer",
            title="SEO Writer",
            domain="Marketing",
            description="Writes and audits pages for search engines.",
            model="claude-sonnet-4-6",
            instruction="Write for readers first.",
            capabilities=("generate-seo-page", "audit-seo-page"),
        ),
        AgentSample(
            name="market_scan",
            type=AgentType.PARALLEL,
            title="Market Scan",
            domain="Marketing",
            description="Looks at several markets at once.",
            parts=("support_triage", "seo_writer"),
        ),
        AgentSample(
            name="lead_pipeline",
            type=AgentType.SEQUENTIAL,
            title="Lead Pipeline",
            domain="Sales",
            description="Finds, rates and hands over leads, in this order.",
            parts=("market_scan", "support_triage"),
        ),
        AgentSample(
            name="refine_copy",
            type=AgentType.LOOP,
            title="Refine Copy",
            domain="Marketing",
            description="Rewrites a text until it reads well, three times at most.",
            parts=("seo_writer",),
            config={"max_iterations": 3, "condition": "score >= 0.9"},
        ),
        AgentSample(
            name="crm_sync",
            type=AgentType.TASK,
            title="CRM Sync",
            domain="Sales",
            description="Keeps contacts in step with the CRM.",
            config={
                "tasks": [
                    {
                        "agent_id": "support_triage",
                        "description": "Copy changed contacts",
                        "expected_output": "A count",
                    }
                ]
            },
        ),
        AgentSample(
            name="content_calendar",
            type=AgentType.WORKFLOW,
            title="Content Calendar",
            domain="Marketing",
            description="Plans what is published when.",
            config={"workflow": {"nodes": [{"id": "plan"}, {"id": "publish"}], "edges": [["plan", "publish"]]}},
        ),
        AgentSample(
            name="partner_quotes",
            type=AgentType.A2A,
            status=AgentStatus.PENDING,
            title="Partner Quotes",
            domain="Sales",
            description="Asks a partner's agent for quotes.",
            config={"card_url": "https://partner.example/.well-known/agent.json"},
        ),
        AgentSample(
            name="launch_crew",
            type=AgentType.CREW_AI,
            status=AgentStatus.DISABLED,
            title="Launch Crew",
            domain="Marketing",
            description="Prepares a launch; switched off between launches.",
            config={
                "tasks": [
                    {
                        "agent_id": "seo_writer",
                        "description": "Prepare the announcement",
                        "expected_output": "A text",
                    }
                ]
            },
        ),
        AgentSample(
            name="cold_caller",
            status=AgentStatus.REJECTED,
            title="Cold Caller",
            domain="Sales",
            description="Calls people who never asked.",
            model="gpt-4o",
            rejection_reason="Nobody is called who did not ask for it.",
        ),
    ),
    assignments=(
        AssignmentSample(place="marketing", agents=("market_scan",)),
        AssignmentSample(place="vancouver-seo", agents=("seo_writer",)),
        AssignmentSample(place="frontend", agents=("content_calendar", "refine_copy")),
        AssignmentSample(place="backend", agents=("crm_sync",), is_over=True),
        AssignmentSample(place="business-core", agents=("concierge",)),
    ),
)
