FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/rollcall
ENV PATH=/opt/rollcall/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/run.lock requirements/run.lock
RUN pip install --require-hashes -r requirements/run.lock
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
# Says only that the program can start: there is no HTTP health endpoint yet.
HEALTHCHECK --interval=60s --timeout=10s CMD ["rollcall", "version"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["rollcall"]
CMD ["run"]
