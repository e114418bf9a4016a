# By tag, as in docker-compose.yml: pin the digest before production.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/rollcall
ENV PATH=/opt/rollcall/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# image.lock is run.lock with what AWS and NATS need
COPY requirements/image.lock requirements/image.lock
RUN pip install --require-hashes -r requirements/image.lock
COPY pyproject.toml README.md LICENSE ./
COPY handlers handlers
COPY ingest ingest
COPY schema schema
RUN pip install --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home rollcall
COPY --from=build /opt/rollcall /opt/rollcall
ENV PATH=/opt/rollcall/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001
ENV ROLLCALL_HTTP_HOST=0.0.0.0 ROLLCALL_HTTP_PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"ROLLCALL_HTTP_PORT\"]}/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["rollcall"]
CMD ["run"]
