"""This module is where a process keeps the rules that it asked of last, made ready, for each tenant.

What is kept is used only while the numbers of the newest versions are those it was read after: every change of a rule
makes a version in its own transaction, so an answer is never older than the last commit before the question.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from uuid import UUID

from dataloaders.governance import newest_versions, rules_in_force, topics_of
from models.database import Database
from resolvers.policy_evaluation import RuleSet

MOST_KEPT: Final = 256
"""Tenants whose rules one process keeps; whoever asked longest ago goes first."""


class RuleSets:
    """Rules by tenant, with the versions they are of."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[UUID, tuple[tuple[int, int], RuleSet]] = OrderedDict()

    async def current(self, database: Database, tenant_id: UUID) -> RuleSet:
        """The tenant's rules with the platform's: one statement, three more after a change. Raises Unavailable."""
        async with database.session(tenant_id) as session:
            # Asked before the rules are read: these may be newer than their numbers, and never older.
            versions = await newest_versions(session)
            kept = self._kept.get(tenant_id)
            if kept is not None and kept[0] == versions:
                self._kept.move_to_end(tenant_id)
                return kept[1]
            rules, topics = await rules_in_force(session), await topics_of(session)
        made = RuleSet(rules, topics)
        self._kept[tenant_id] = versions, made
        self._kept.move_to_end(tenant_id)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return made
