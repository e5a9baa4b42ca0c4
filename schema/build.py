"""This module is where the schema is put together, and refused while a field demands nothing or says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from types import MappingProxyType

import strawberry
from graphql import GraphQLSchema
from strawberry.schema.config import StrawberryConfig
from strawberry.types.base import StrawberryObjectDefinition

from schema.activity import ActivityQueries
from schema.activity_logs import ActivityLogMutations, ActivityLogQueries
from schema.activity_stream import ActivitySubscriptions
from schema.agent_templates import AgentTemplateMutations, AgentTemplateQueries
from schema.agents import AgentMutations, AgentQueries
from schema.alert_analysis import AlertAnalysisMutations
from schema.alert_rules import AlertRuleMutations, AlertRuleQueries
from schema.alert_statistics import AlertStatisticsQueries
from schema.alert_streams import AlertSubscriptions
from schema.alerts import AlertMutations, AlertQueries
from schema.approval_commands import ApprovalMutations
from schema.approval_streams import ApprovalSubscriptions
from schema.approvals import ApprovalQueries
from schema.assignments import AssignmentQueries
from schema.audit import AuditMutations, AuditQueries
from schema.audit_events import AuditEventMutations, AuditEventQueries
from schema.bundles import BundleMutations, BundleQueries
from schema.canvas import CanvasMutations, CanvasQueries
from schema.catalog import CatalogMutations, CatalogQueries
from schema.common import SCALARS
from schema.consents import ConsentMutations, ConsentQueries
from schema.conversations import ConversationMutations, ConversationQueries
from schema.credentials import CredentialMutations, CredentialQueries
from schema.declare import Declared, Nodes, Relation, target_of
from schema.discovery import DiscoveryQueries
from schema.governance import GovernanceMutations, GovernanceQueries
from schema.governance_versions import GovernanceVersionMutations, GovernanceVersionQueries
from schema.identity_providers import IdentityProviderMutations, IdentityProviderQueries
from schema.infrastructure import InfrastructureMutations, InfrastructureQueries
from schema.llm_providers import LlmProviderMutations, LlmProviderQueries
from schema.message_streams import MessageSubscriptions
from schema.messages import MessageMutations, MessageQueries
from schema.placements import PlacementMutations
from schema.privacy import PrivacyMutations
from schema.prohibited_topics import ProhibitedTopicMutations, ProhibitedTopicQueries
from schema.recovery import RecoveryMutations
from schema.registry import RegistryMutations, RegistryQueries
from schema.runs import RunMutations, RunQueries
from schema.secrets import SecretMutations, SecretQueries
from schema.sessions import SessionMutations, SessionQueries
from schema.structure_events import StructureEventQueries
from schema.tenants import TenantMutations, TenantQueries
from schema.terminal_sessions import TerminalSessionMutations, TerminalSessionQueries
from schema.usage import UsageQueries
from schema.users import UserMutations, UserQueries
from schema.webhooks import WebhookMutations, WebhookQueries
from schema.workspace_streams import RegistrySubscriptions


@strawberry.type(description="What can be read.")
class Query(
    ActivityQueries,
    ActivityLogQueries,
    AgentQueries,
    AgentTemplateQueries,
    ApprovalQueries,
    AlertQueries,
    AlertRuleQueries,
    AlertStatisticsQueries,
    AuditQueries,
    AuditEventQueries,
    CatalogQueries,
    AssignmentQueries,
    BundleQueries,
    CanvasQueries,
    ConsentQueries,
    ConversationQueries,
    CredentialQueries,
    DiscoveryQueries,
    GovernanceQueries,
    GovernanceVersionQueries,
    IdentityProviderQueries,
    InfrastructureQueries,
    LlmProviderQueries,
    MessageQueries,
    ProhibitedTopicQueries,
    RegistryQueries,
    RunQueries,
    SessionQueries,
    StructureEventQueries,
    TenantQueries,
    UsageQueries,
    TerminalSessionQueries,
    UserQueries,
    SecretQueries,
    WebhookQueries,
):
    """Root of queries."""


@strawberry.type(
    description="Payloads are nullable so that one refused field does not empty its siblings. On CONFLICT, "
    "ALREADY_DECIDED and ILLEGAL_TRANSITION a payload holds the object as it stands now."
)
class Mutation(
    AgentMutations,
    AgentTemplateMutations,
    ApprovalMutations,
    AlertMutations,
    AlertRuleMutations,
    AlertAnalysisMutations,
    AuditMutations,
    AuditEventMutations,
    CatalogMutations,
    ActivityLogMutations,
    BundleMutations,
    CanvasMutations,
    ConsentMutations,
    ConversationMutations,
    CredentialMutations,
    GovernanceMutations,
    GovernanceVersionMutations,
    IdentityProviderMutations,
    InfrastructureMutations,
    LlmProviderMutations,
    MessageMutations,
    RecoveryMutations,
    PlacementMutations,
    PrivacyMutations,
    ProhibitedTopicMutations,
    RegistryMutations,
    RunMutations,
    SessionMutations,
    TenantMutations,
    TerminalSessionMutations,
    UserMutations,
    SecretMutations,
    WebhookMutations,
):
    """Root of mutations."""


@strawberry.type(description="What can be watched.")
class Subscription(
    ActivitySubscriptions, AlertSubscriptions, ApprovalSubscriptions, MessageSubscriptions, RegistrySubscriptions
):
    """Root of subscriptions."""


class SchemaError(Exception):
    """The schema is not fit to be served."""


@cache
def build() -> strawberry.Schema:
    """The schema that is served."""
    return assemble(Query, Mutation, Subscription)


def assemble(query: type, mutation: type | None = None, subscription: type | None = None) -> strawberry.Schema:
    """A schema of these roots. Raises SchemaError when a field lacks its scope, its cost or its description."""
    schema = strawberry.Schema(
        query=query,
        mutation=mutation,
        subscription=subscription,
        types=[node.graphql_type for node in Nodes.by_prefix.values()],
        config=StrawberryConfig(scalar_map=SCALARS),
    )
    problems = [problem for definition in definitions(schema) for problem in _finish(definition)]
    if problems:
        raise SchemaError("; ".join(sorted(problems)))
    return schema


def core(schema: strawberry.Schema) -> GraphQLSchema:
    """graphql-core's own form of the schema."""
    return schema._schema


def definitions(schema: strawberry.Schema) -> Iterator[StrawberryObjectDefinition]:
    """Every object and interface type."""
    for concrete in schema.schema_converter.type_map.values():
        definition = concrete.definition
        if isinstance(definition, StrawberryObjectDefinition) and not definition.is_input:
            yield definition


def _finish(definition: StrawberryObjectDefinition) -> Iterator[str]:
    """Give each edge the scope of the type it leads to; name what is missing."""
    type_scope = Nodes.scopes.get(_origin(definition))
    for one in definition.fields:
        where = f"{definition.name}.{one.python_name}"
        if not isinstance(one, Declared):
            yield f"{where} is not declared"
            continue
        if not one.description:
            yield f"{where} has no description"
        if one.spec.cost < isinstance(one, Relation):
            yield f"{where} reads rows and costs nothing"
        # Inside a page the edge was checked at the page's own field, once for all of its rows.
        target = None if definition.concrete_of is not None else target_of(one.type)
        if target is not None:
            scope = one.spec.scope if one.spec.scope is not None else target.scope
            one.metadata = MappingProxyType({**one.metadata, "spec": replace(one.spec, scope=scope, target=target)})
        if one.spec.scope is None and type_scope is None:
            yield f"{where} demands no scope"


def _origin(definition: StrawberryObjectDefinition) -> type:
    generic = definition.concrete_of
    return generic.origin if generic is not None else definition.origin
