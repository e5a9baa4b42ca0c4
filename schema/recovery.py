"""This module is where people are invited, get a new password and prove their address, seen from outside."""

from __future__ import annotations

from strawberry import ID

from models import Role, Scope
from resolvers import recovery as use_cases
from schema.commands import UserError, command, payload, user_errors
from schema.declare import root_fields
from schema.inputs import form, optional, required
from schema.users import UserPayload


@form("Whose password was forgotten.")
class RequestPasswordResetInput:
    """Input of requestPasswordReset."""

    tenant_slug: str | None = optional("Only platform administrators leave it out.")
    email: str = required("The address they sign in with.")


@form("A new password, by the token of a mail.")
class ResetPasswordInput:
    """Input of resetPassword."""

    token: str = required("Of a mail that requestPasswordReset or inviteUser sent; works once.")
    new_password: str = required("8 to 128 characters.")


@form("An address, by the token of a mail to it.")
class VerifyEmailInput:
    """Input of verifyEmail."""

    token: str = required("Of a mail that requestEmailVerification sent; works once.")


@form("Whose address is to be proven.")
class RequestEmailVerificationInput:
    """Input of requestEmailVerification."""

    user_id: ID | None = optional("Whose; one's own when absent. Another person's needs users:write.", of="user")


@form("Somebody who is to join.")
class InviteUserInput:
    """Input of inviteUser."""

    email: str = required("Where the mail goes, and what they will sign in with.")
    roles: list[Role] = required("What they may do.")
    username: str | None = optional("Short name, unique in the tenant.")
    display_name: str | None = optional("What people call them.")
    department: str | None = optional("Where in the organisation they work.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Who gets another mail.")
class ResendInvitationInput:
    """Input of resendInvitation."""

    id: ID = required("Who was invited.", of="user")


@payload("The same for every address, known or not.")
class RequestPasswordResetPayload:
    """Payload of requestPasswordReset."""

    user_errors: list[UserError] = user_errors()


@payload("A password that was set.")
class ResetPasswordPayload:
    """Payload of resetPassword."""

    user_errors: list[UserError] = user_errors()


@payload("An address that was proven.")
class VerifyEmailPayload:
    """Payload of verifyEmail."""

    user_errors: list[UserError] = user_errors()


@payload("A mail that is on its way.")
class RequestEmailVerificationPayload:
    """Payload of requestEmailVerification."""

    user_errors: list[UserError] = user_errors()


@root_fields
class RecoveryMutations:
    """Ways in without a password."""

    request_password_reset: RequestPasswordResetPayload | None = command(
        use_cases.request_password_reset,
        "Sends a mail that lets its reader set a new password; at most one an operation. Nothing in the answer, nor "
        "the time it takes, tells whether anybody has the address.",
        input=RequestPasswordResetInput,
        payload=RequestPasswordResetPayload,
        scope=Scope.PUBLIC,
        cost=100,
        guarded=True,
    )
    reset_password: ResetPasswordPayload | None = command(
        use_cases.reset_password,
        "Sets a password by the token of a mail and ends every session of the person; who was invited becomes active.",
        input=ResetPasswordInput,
        payload=ResetPasswordPayload,
        scope=Scope.PUBLIC,
        cost=100,
        guarded=True,
    )
    verify_email: VerifyEmailPayload | None = command(
        use_cases.verify_email,
        "Proves an address by the token of a mail to it.",
        input=VerifyEmailInput,
        payload=VerifyEmailPayload,
        scope=Scope.PUBLIC,
        guarded=True,
    )
    request_email_verification: RequestEmailVerificationPayload | None = command(
        use_cases.request_email_verification,
        "Sends a mail that lets its reader prove the address.",
        input=RequestEmailVerificationInput,
        payload=RequestEmailVerificationPayload,
        scope=Scope.SIGNED_IN,
        guarded=True,
    )
    invite_user: UserPayload | None = command(
        use_cases.invite_user,
        "Creates a pending account and sends a mail that lets its reader set the password.",
        input=InviteUserInput,
        payload=UserPayload,
        scope=Scope.USERS_WRITE,
    )
    resend_invitation: UserPayload | None = command(
        use_cases.resend_invitation,
        "Sends another mail to somebody who was invited and has not come yet.",
        input=ResendInvitationInput,
        payload=UserPayload,
        scope=Scope.USERS_WRITE,
    )
