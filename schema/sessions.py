"""This module is where sign-ins that last are seen from outside, ended, and accounts unlocked."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from strawberry import ID

import models
from dataloaders.credentials import sessions
from dataloaders.pages import Direction
from models import Scope
from resolvers import session_control as use_cases
from schema.commands import UserError, command, payload, user_errors
from schema.common import Connection, Node, connection, own_without
from schema.declare import column, computed, describe, node, root_fields, to_one
from schema.inputs import form, optional, required
from schema.users import User, UserPayload


class SessionOrderField(StrEnum):
    """What sessions can be sorted by."""

    STARTED_AT = "started_at"
    LAST_SEEN_AT = "last_seen_at"


describe(
    SessionOrderField,
    "What sessions can be sorted by.",
    STARTED_AT="When they signed in.",
    LAST_SEEN_AT="When they last exchanged a refresh token.",
)


@node(
    models.Session,
    "One sign-in on one device, with all the tokens that came of it.",
    scope=Scope.USERS_READ,
    own=lambda row, call: call.principal is not None and call.principal.member_id == row.user_id,
)
class Session(Node):
    """GraphQL type of models.Session."""

    user: User | None = to_one(models.User, "Who signed in.", "user_id")
    started_at: datetime = column("When they signed in.")
    last_seen_at: datetime = column("When they last exchanged a refresh token.")
    expires_at: datetime = column("When it ends by itself, unless it goes on before.")
    revoked_at: datetime | None = column("When it was ended.")
    address: str | None = column("Where they signed in from, as far as it was known.")
    user_agent: str | None = column("What they signed in with, in its own words.", "agent")
    is_current: bool = computed(
        lambda row, call: call.principal is not None and call.principal.session_id == row.id,
        "Whether this request belongs to it.",
        cost=0,
    )


@form("Which sessions; fields combine with and.")
class SessionFilter:
    """Filter of sessions."""

    user_id: ID | None = optional("Of this person.", of="user")
    is_active: bool | None = optional("Whether they still go on.")


@form("How sessions are sorted; ties are broken by id.")
class SessionOrder:
    """Order of sessions."""

    field: SessionOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("Which session ends.")
class RevokeSessionInput:
    """Input of revokeSession."""

    id: ID = required("Which one.", of="session")


@form("Whose sessions end.")
class RevokeOtherSessionsInput:
    """Input of revokeOtherSessions."""

    user_id: ID | None = optional("Whose; one's own when absent. Another person's needs users:write.", of="user")


@form("Whose locks are lifted.")
class UnlockUserInput:
    """Input of unlockUser."""

    id: ID = required("Whose.", of="user")


@payload("A session after a change.")
class SessionPayload:
    """Payload of revokeSession."""

    session: Session | None = column("The session as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("The end of sessions.")
class RevokeOtherSessionsPayload:
    """Payload of revokeOtherSessions."""

    revoked_sessions: int | None = column("How many ended.")
    user_errors: list[UserError] = user_errors()


@root_fields
class SessionQueries:
    """Root fields over sessions."""

    sessions: Connection[Session] | None = connection(
        sessions,
        "The tenant's sessions; without users:read one's own.",
        filter=SessionFilter,
        order=SessionOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.USERS_READ),
    )


@root_fields
class SessionMutations:
    """What can be done with sessions."""

    revoke_session: SessionPayload | None = command(
        use_cases.revoke_session,
        "Ends a session of one's own, or with users:write anybody's, and the streams that it opened.",
        input=RevokeSessionInput,
        payload=SessionPayload,
        scope=Scope.SIGNED_IN,
    )
    revoke_other_sessions: RevokeOtherSessionsPayload | None = command(
        use_cases.revoke_other_sessions,
        "Ends every session of a person but the one that asks.",
        input=RevokeOtherSessionsInput,
        payload=RevokeOtherSessionsPayload,
        scope=Scope.SIGNED_IN,
    )
    unlock_user: UserPayload | None = command(
        use_cases.unlock_user,
        "Forgets wrong passwords and lifts the locks that they brought.",
        input=UnlockUserInput,
        payload=UserPayload,
        scope=Scope.USERS_WRITE,
    )
