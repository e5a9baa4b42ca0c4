"""What agents are made of, templates, and the catalog of providers, MCP servers and tools."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects import postgresql

from models.protection import protect
from models.tenants import PLATFORM_TENANT_ID

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_JSON = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())


def upgrade() -> None:
    _catalog()
    _templates()
    _agents()
    for table in ("agent_references", "llm_providers"):
        for statement in protect(table):
            op.execute(statement)
    for table in ("agent_templates", "mcp_servers", "tools"):
        for statement in protect(table, shared=True):
            op.execute(statement)
    _built_in_templates()


def _identity() -> tuple[sa.Column[object], sa.Column[object]]:
    return sa.Column("tenant_id", sa.Uuid(), nullable=False), sa.Column("id", sa.Uuid(), nullable=False)


def _times() -> tuple[sa.Column[object], sa.Column[object]]:
    return (
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )


def _keys(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f(f"uq_{table}_tenant_id_source_ref")),
    )


def _listed(table: str) -> None:
    op.create_index(f"uq_{table}_name", table, ["tenant_id", "name"], unique=True)
    op.create_index(f"ix_{table}_by_name", table, ["tenant_id", "name", "id"])
    op.create_index(f"ix_{table}_newest", table, ["tenant_id", raw("created_at DESC"), raw("id DESC")])


def _catalog() -> None:
    op.create_table(
        "llm_providers",
        *_identity(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider_type", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("secret_id", sa.Uuid(), nullable=True),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("api_base_url", sa.Text(), nullable=True),
        sa.Column("config", _JSON, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        *_times(),
        sa.CheckConstraint(
            "provider_type IN ('anthropic', 'openai', 'google', 'ollama')", name=op.f("ck_llm_providers_provider_type")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "secret_id"],
            ["secrets.tenant_id", "secrets.id"],
            name=op.f("fk_llm_providers_tenant_id_secret_id_secrets"),
            ondelete="SET NULL (secret_id)",
        ),
        *_keys("llm_providers"),
    )
    _listed("llm_providers")
    op.create_index(
        "uq_llm_providers_default", "llm_providers", ["tenant_id"], unique=True, postgresql_where=sa.text("is_default")
    )
    op.create_index("ix_llm_providers_secret", "llm_providers", ["tenant_id", "secret_id"])
    op.create_table(
        "mcp_servers",
        *_identity(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("config", _JSON, nullable=False),
        sa.Column("environments", _JSON, nullable=False),
        sa.Column("tools", _JSON, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        *_times(),
        sa.CheckConstraint("type IN ('official', 'community', 'custom')", name=op.f("ck_mcp_servers_type")),
        *_keys("mcp_servers"),
    )
    _listed("mcp_servers")
    op.create_table(
        "tools",
        *_identity(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("config", _JSON, nullable=False),
        sa.Column("environments", _JSON, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        *_times(),
        *_keys("tools"),
    )
    _listed("tools")


def _templates() -> None:
    op.create_table(
        "agent_templates",
        *_identity(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("config", _JSON, nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("is_builtin", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        *_times(),
        *_keys("agent_templates"),
    )
    _listed("agent_templates")
    op.create_index("ix_agent_templates_category", "agent_templates", ["tenant_id", "category"])


def _agents() -> None:
    op.add_column("agents", sa.Column("llm_provider_id", sa.Uuid(), nullable=True))
    # What stood here before secrets were tied to agents named nothing that there is.
    op.execute(
        "UPDATE agents a SET api_key_secret_id = NULL WHERE api_key_secret_id IS NOT NULL AND NOT EXISTS "
        "(SELECT FROM secrets s WHERE s.tenant_id = a.tenant_id AND s.id = a.api_key_secret_id)"
    )
    for column, target in (("llm_provider_id", "llm_providers"), ("api_key_secret_id", "secrets")):
        op.create_foreign_key(
            op.f(f"fk_agents_tenant_id_{column}_{target}"),
            "agents",
            target,
            ["tenant_id", column],
            ["tenant_id", "id"],
            ondelete=f"SET NULL ({column})",
        )
    op.create_index("ix_agents_llm_provider", "agents", ["tenant_id", "llm_provider_id"])
    op.create_index("ix_agents_api_key_secret", "agents", ["tenant_id", "api_key_secret_id"])
    op.create_table(
        "agent_references",
        *_identity(),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("target_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        *_times(),
        sa.CheckConstraint("kind IN ('sub_agent', 'tool', 'task')", name=op.f("ck_agent_references_kind")),
        sa.CheckConstraint("place >= 0", name=op.f("ck_agent_references_place")),
        *(
            sa.ForeignKeyConstraint(
                ["tenant_id", column],
                ["agents.tenant_id", "agents.id"],
                name=op.f(f"fk_agent_references_tenant_id_{column}_agents"),
                ondelete="CASCADE",
            )
            for column in ("agent_id", "target_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_agent_references")),
    )
    op.create_index(
        "uq_agent_references_place", "agent_references", ["tenant_id", "agent_id", "kind", "place"], unique=True
    )
    op.create_index("ix_agent_references_target", "agent_references", ["tenant_id", "target_id", "agent_id"])


_MODEL = "gpt-4o"


def _agent(name: str, title: str, domain: str, description: str, *capabilities: str) -> dict[str, object]:
    return {
        "name": name,
        "type": "llm",
        "title": title,
        "domain": domain,
        "description": description,
        "model": _MODEL,
        "instruction": f"You answer for {domain}. Hand over to the concierge what is not yours.",
        "capabilities": list(capabilities),
        "guardrails": ["Names no personal data.", "Promises nothing in the organisation's name."],
        "escalates_to": "concierge",
    }


_CONCIERGE = {
    "name": "concierge",
    "type": "llm",
    "title": "Concierge",
    "domain": "General",
    "description": "Hands every request to the agent that knows most about it.",
    "model": _MODEL,
    "instruction": "Choose the agent whose domain and capabilities fit the request best.",
    "capabilities": ["routing"],
    "guardrails": ["Answers nothing itself."],
    "is_router": True,
}
_HR = _agent("hr", "Human Resources", "HR", "Answers employees about leave, benefits and pay.", "leave", "benefits")
_FINANCE = _agent(
    "finance", "Finance", "Finance", "Explains budgets, invoices and purchasing.", "budget", "invoice", "purchasing"
)
_LEGAL = _agent("legal", "Legal", "Legal", "Finds contracts, statutes and deadlines.", "contract", "statute")
_COMMS = _agent("comms", "Communications", "Comms", "Drafts notices and answers to the press.", "notice", "newsletter")
_IT = _agent("it_support", "IT Support", "DevOps", "Helps with accounts, devices and outages.", "password", "outage")
_PERMITS = _agent(
    "permits", "Permits", "Building & Housing", "Leads people through applications.", "permit", "inspection", "zoning"
)
_WORKS = _agent(
    "public_works", "Public Works", "Public Works", "Takes reports about streets and water.", "pothole", "water"
)
_PARKS = _agent("parks", "Parks & Recreation", "Parks", "Knows parks, courses and reservations.", "park", "reservation")
_SAFETY = _agent("public_safety", "Public Safety", "Public Safety", "Explains safety programmes.", "noise", "fire")
_HEALTH = _agent("health", "Public Health", "Health", "Explains clinics and inspections.", "clinic", "vaccination")
_DONORS = _agent("donor_relations", "Donor Relations", "Fundraising", "Thanks donors.", "donation", "receipt")
_PROGRAMS = _agent("programs", "Programs", "Programs", "Answers about programmes.", "enrolment", "eligibility")
_VOLUNTEERS = _agent("volunteers", "Volunteers", "Volunteers", "Finds work for volunteers.", "shift", "training")

_BUILT_IN = (
    (
        2,
        "municipal-full",
        "municipal",
        "A whole city hall: ten departments and a concierge.",
        (_HR, _FINANCE, _LEGAL, _COMMS, _IT, _PERMITS, _WORKS, _PARKS, _SAFETY, _HEALTH),
    ),
    (
        3,
        "municipal-lite",
        "municipal",
        "A small city hall: four departments and a concierge.",
        (_HR, _FINANCE, _PERMITS, _WORKS),
    ),
    (
        4,
        "enterprise",
        "enterprise",
        "A company: four departments and a concierge.",
        (_HR, _FINANCE, _LEGAL, _IT),
    ),
    (
        5,
        "nonprofit",
        "nonprofit",
        "A non-profit organisation: three departments and a concierge.",
        (_DONORS, _PROGRAMS, _VOLUNTEERS),
    ),
)


def _built_in_templates() -> None:
    insert = sa.text(
        "INSERT INTO agent_templates (tenant_id, id, name, description, config, category, is_builtin, version, "
        "source_ref) VALUES (CAST(:tenant AS uuid), CAST(:id AS uuid), :name, :description, CAST(:config AS jsonb), :category, true, 1, :ref)"
    )
    for number, name, category, description, agents in _BUILT_IN:
        values = {
            "tenant": str(PLATFORM_TENANT_ID),
            "id": f"00000000-0000-7000-8000-0000000001{number:02}",
            "name": name,
            "description": description,
            "config": json.dumps({"agents": [_CONCIERGE, *agents]}),
            "category": category,
            "ref": f"signalbox.agent_templates:{name}",
        }
        op.execute(insert.bindparams(**values))
