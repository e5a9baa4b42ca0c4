"""This module is where the series of alerts stand: what has ever fired, once, however often it fired.

A series is what Prometheus calls so: one alert of one instance and job. A fleet has millions of alerts of thousands of
series, and the words that a search looks for are the series' (docs/decisions/0021).
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, tenant_key
from models.search import search_vector

# The lengths keep what belongs to one column from being taken for the beginning of the next.
SERIES_OF: Final = (
    "('x' || left(md5(length(alert_name) || ':' || coalesce(length(instance), 0) || ':' || alert_name || "
    "coalesce(instance, '') || coalesce(job, '')), 16))::bit(64)::bigint"
)
"""SQL for the number of an alert's series: it follows from what the series is, so nobody has to look it up.

Not 16 bytes but 8, because the index of the newest alerts holds it and is gone through; among a million series of a
tenant two have the same with a probability of one to 30 million.
"""

SERIES_WORDS: Final = search_vector("alert_name", "instance", "job")
"""SQL for the words of a series, its tenant's lexeme among them; kept in the index and nowhere else."""


class AlertSeries(Base):
    """An alert of an instance and a job; made by the database with the first alert of it, and never changed."""

    __tablename__ = "alert_series"
    __table_args__ = (
        tenant_key(),
        Index("ix_alert_series_words", text(f"({SERIES_WORDS})"), postgresql_using="gin"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    alert_name: Mapped[str]
    instance: Mapped[str | None]
    job: Mapped[str | None]


KEEP_SERIES: Final = (
    """
CREATE FUNCTION keep_alert_series() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  -- In one order, so that two that keep the same series never wait for each other in a circle.
  INSERT INTO alert_series (tenant_id, id, alert_name, instance, job)
  SELECT DISTINCT ON (tenant_id, series) tenant_id, series, alert_name, instance, job
  FROM came ORDER BY tenant_id, series
  ON CONFLICT (tenant_id, id) DO NOTHING;
  RETURN NULL;
END $$
""",
    "CREATE TRIGGER keep_alert_series AFTER INSERT ON alerts REFERENCING NEW TABLE AS came "
    "FOR EACH STATEMENT EXECUTE FUNCTION keep_alert_series()",
)
"""Statements that have the database keep the series of every alert that is stored, whoever stores it."""
