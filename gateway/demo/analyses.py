"""This module is where the demo's alerts are analysed: one of each outcome, the others not at all."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from gateway.demo.together import SharingCall
from models import Alert, AnalysisStatus
from resolvers.alert_analysis import claim_analysis, fail_analysis, report_progress, request_analysis, submit_analysis

_FOUND: Final = (
    "The volume fills because logs are not rotated since the last deployment; at this rate it is full tonight."
)
_ADVICE: Final = ["Rotate the logs now.", "Restore the rotation rule that the deployment removed."]
_HOUR: Final = 3_600


async def analyse(call: SharingCall) -> None:
    """Four alerts that nobody asked about yet: found, failed, at work, waiting. Fewer where there are fewer."""
    session = call.shared.session
    idle = await session.scalars(
        select(Alert.id)
        .where(
            Alert.tenant_id == call.tenant_id,
            Alert.analysis_status == AnalysisStatus.NONE,
            Alert.is_ignored.is_(False),
        )
        .order_by(Alert.starts_at.desc(), Alert.id)
        .limit(4)
    )
    for number, id in enumerate(list(idle)):
        await request_analysis(call, id=id)
        if number < 3:
            await claim_analysis(call, id=id, lease_seconds=_HOUR, worker="demo")
            await report_progress(call, id=id, percent=40, lease_seconds=_HOUR, worker="demo")
        if number == 0:
            await submit_analysis(call, id=id, analysis=_FOUND, recommendations=_ADVICE, worker="demo")
        if number == 1:
            await fail_analysis(call, id=id, error="The model provider is away.", worker="demo")
