# One image for every role: `limner serve --role …`, `limner migrate`.
#
#   docker build -t limner .
#
# The base is pinned by digest (python:3.13-slim-trixie, 3.13.15). A newer one:
#   docker buildx imagetools inspect python:3.13-slim-trixie --format '{{.Manifest.Digest}}'
#   docker build --build-arg PYTHON_DIGEST=sha256:… -t limner .
ARG PYTHON_DIGEST=sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

FROM python@${PYTHON_DIGEST} AS build
ARG UV_VERSION=0.13.9
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/limner
RUN pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /build
# What is installed changes less often than the program: a layer of its own.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --extra gcp --extra telemetry --no-install-project --no-cache
COPY README.md LICENSE ./
COPY states states
COPY schemas schemas
COPY adapters adapters
COPY pipeline pipeline
RUN uv sync --locked --no-dev --extra gcp --extra telemetry --no-editable --no-cache

FROM python@${PYTHON_DIGEST}
COPY --from=build /opt/limner /opt/limner
ENV PATH=/opt/limner/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LIMNER_HOME=/data
# Nothing of the image is written, so its root may be read-only. The local profile keeps its files in
# /data; /tmp must be writable.
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["limner"]
CMD ["serve"]
