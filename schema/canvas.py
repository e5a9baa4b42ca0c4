"""This module is where the canvas is seen from outside: where workspaces are drawn, and what one looks at."""

from __future__ import annotations

from datetime import datetime

from strawberry import ID

from models import Scope
from resolvers import canvas as use_cases
from schema.commands import UserError, command, payload, user_errors
from schema.declare import column, computed, part, root_fields
from schema.inputs import form, optional, required


@part("Where a workspace is drawn on the canvas.")
class CanvasLayout:
    """GraphQL type of models.CanvasLayout."""

    workspace_id: ID = column("Which workspace.", "workspace_typeid")
    x: float = column("How far to the right, in the canvas's own units.")
    y: float = column("How far down, in the canvas's own units.")
    collapsed: bool = column("Whether what is below it is folded away.")
    updated_at: datetime = column("When it was put there.")


@part("What a person last looked at; nobody else's.")
class CanvasViewport:
    """GraphQL type of models.CanvasViewport."""

    id: ID = column("Its TypeID; not a node.", "typeid")
    x: float = column("How far to the right, in the canvas's own units.")
    y: float = column("How far down, in the canvas's own units.")
    zoom: float = column("How large things are drawn; 1 is their own size.")
    saved_at: datetime = column("When it was last looked at.")


@form("Where one workspace is put.")
class CanvasLayoutInput:
    """Part of setCanvasLayouts."""

    workspace_id: ID = required("Which workspace.", of="workspace")
    x: float = required("How far to the right, at most 10,000,000 either way.")
    y: float = required("How far down, at most 10,000,000 either way.")
    collapsed: bool | None = optional("Whether what is below it is folded away; stays when absent.")


@form("Where workspaces are put, all of them or none.")
class SetCanvasLayoutsInput:
    """Input of setCanvasLayouts."""

    layouts: list[CanvasLayoutInput] = required("1 to 100 workspaces, each once.")


@form("What the caller looks at.")
class SetCanvasViewportInput:
    """Input of setCanvasViewport."""

    x: float = required("How far to the right, at most 10,000,000 either way.")
    y: float = required("How far down, at most 10,000,000 either way.")
    zoom: float = required("How large things are drawn, 0.01 to 100.")


@payload("Layouts after a change.")
class CanvasLayoutsPayload:
    """Payload of setCanvasLayouts."""

    layouts: list[CanvasLayout] | None = column("The layouts as they are now, in the order of the input.")
    user_errors: list[UserError] = user_errors()


@payload("A viewport after a change.")
class CanvasViewportPayload:
    """Payload of setCanvasViewport."""

    viewport: CanvasViewport | None = column("The viewport as it is now.")
    user_errors: list[UserError] = user_errors()


@root_fields
class CanvasQueries:
    """Root fields over the canvas."""

    canvas_viewport: CanvasViewport | None = computed(
        lambda _, call: use_cases.canvas_viewport(call),
        "What the caller last looked at; null for machines. Where workspaces are drawn stands at each of them.",
        scope=Scope.WORKSPACES_READ,
    )


@root_fields
class CanvasMutations:
    """What can be done to the canvas."""

    set_canvas_layouts: CanvasLayoutsPayload | None = command(
        use_cases.set_canvas_layouts,
        "Puts workspaces on the canvas, all of them or none.",
        input=SetCanvasLayoutsInput,
        payload=CanvasLayoutsPayload,
        scope=Scope.WORKSPACES_WRITE,
    )
    set_canvas_viewport: CanvasViewportPayload | None = command(
        use_cases.set_canvas_viewport,
        "Keeps what the caller looks at, for their next visit.",
        input=SetCanvasViewportInput,
        payload=CanvasViewportPayload,
        scope=Scope.WORKSPACES_READ,
    )
