# One image for webserver, daemon, code server, runs, steps, migrations and the MLflow server.
#
#   docker build --target cpu -t credit-assets:0.1.0 .
#   docker build --target gpu -t credit-assets:0.1.0-gpu .
#
# The two differ in NVIDIA's NCCL (which XGBoost asks for and a CPU never uses) and in what the GPU runtime is told.
# Everything is pinned with hashes by requirements-image.lock, which `make lock` draws from requirements.lock.
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV UV_LINK_MODE=copy UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m pip install --quiet 'uv>=0.9' && python -m venv --without-pip /opt/venv
WORKDIR /build
COPY requirements-image.lock ./
# Byte code is written here, once: the image is read-only where it runs, and each pod would compile everything anew.
# Without the overrides of pyproject.toml, which would take NCCL away.
RUN uv pip install --quiet --no-config --python /opt/venv/bin/python --compile-bytecode --require-hashes --no-deps \
    -r requirements-image.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY credit_assets ./credit_assets
RUN uv pip install --quiet --python /opt/venv/bin/python --compile-bytecode --no-deps . \
 && find /opt/venv -depth -type d \( -name tests -o -name test \) -path '*/pyarrow/*' -exec rm -rf {} +

FROM build AS build-cpu
RUN uv pip uninstall --quiet --python /opt/venv/bin/python nvidia-nccl-cu12

FROM python:${PYTHON} AS base
# libgomp1 for LightGBM; tzdata because pyarrow reads time zones from the system and nowhere else.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libgomp1 tzdata \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 credit \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin credit \
 && mkdir -p /opt/dagster/dagster_home \
 && chown 10001:10001 /opt/dagster/dagster_home
# Spinning OpenMP threads cost up to eight times the CPU as soon as cores are shared.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=PASSIVE \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=1
WORKDIR /tmp
USER 10001:10001
CMD ["dagster", "api", "grpc", "--module-name", "credit_assets.definitions", "--host", "0.0.0.0", "--port", "3030"]

FROM base AS gpu
# The driver's libraries come from the node; the wheels of XGBoost and CatBoost bring the rest of CUDA with them.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build /opt/venv /opt/venv

FROM base AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
