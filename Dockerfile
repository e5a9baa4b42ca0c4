# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements/run.txt ./
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r run.txt

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Signalbox" \
      org.opencontainers.image.description="A GraphQL gateway with real-time subscriptions for fleets of AI agents"
RUN groupadd --gid 10001 signalbox \
    && useradd --uid 10001 --gid signalbox --home-dir /data --no-create-home --shell /usr/sbin/nologin signalbox \
    && install -d -o signalbox -g signalbox -m 0700 /data
COPY --from=build /venv /venv
WORKDIR /app
COPY models models
COPY dataloaders dataloaders
COPY subscriptions subscriptions
COPY resolvers resolvers
COPY schema schema
COPY gateway gateway
# Here, because the user that runs it may not write: each start would compile all of it again.
RUN /venv/bin/python -m compileall -q .
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SIGNALBOX_HOST=0.0.0.0 \
    SIGNALBOX_PORT=8000 \
    SIGNALBOX_DATA_DIR=/data
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['SIGNALBOX_PORT'] + '/livez', timeout=4)"]
CMD ["python", "-m", "gateway", "serve"]
