"""This module is where people get hold of their data, and are forgotten."""

from __future__ import annotations

from strawberry import ID

from models import Scope
from resolvers.exports import export_user_data
from resolvers.privacy import erase_user
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON
from schema.declare import column, part, root_fields
from schema.inputs import form, optional, required
from schema.users import UserPayload


@form("Whose data, and where to go on.")
class ExportUserDataInput:
    """Input of exportUserData."""

    id: ID | None = optional("Whose; one's own when absent. Another person's needs privacy:write.", of="user")
    after: str | None = optional("The cursor of the page before; the first page when absent.")


@form("Who is forgotten.")
class EraseUserInput:
    """Input of eraseUser."""

    id: ID = required("Whom.", of="user")


@part("Up to 100 items of one section of a person's data.")
class UserDataPage:
    """GraphQL type of resolvers.exports.ExportPage."""

    section: str = column("What the items are: profile, sessions, consents, apiKeys and so on.")
    items: list[JSON] = column("The items, with all that is known of them but secrets.")
    has_next_page: bool = column("Whether more follow, in this section or the next.")
    end_cursor: str | None = column("Where to go on; null at the end.")


@payload("A page of a person's data.")
class ExportUserDataPayload:
    """Payload of exportUserData."""

    page: UserDataPage | None = column("The page.")
    user_errors: list[UserError] = user_errors()


@root_fields
class PrivacyMutations:
    """What can be done with a person's data."""

    export_user_data: ExportUserDataPayload | None = command(
        export_user_data,
        "Hands over a person's data, page by page; each page is noted in the access log.",
        input=ExportUserDataInput,
        payload=ExportUserDataPayload,
        scope=Scope.SIGNED_IN,
        cost=50,
    )
    erase_user: UserPayload | None = command(
        erase_user,
        "Forgets a person for good: deletes their sessions, tokens and consents, empties their account, and destroys "
        "the key of their part of the audit log. Cannot be taken back.",
        input=EraseUserInput,
        payload=UserPayload,
        scope=Scope.PRIVACY_WRITE,
    )
