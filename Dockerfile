# One image for the web server, the workers and the keeper; docker-compose.yml gives each its command.
#
# On machines without a GPU, have the much smaller CPU build of torch:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu .

FROM python:3.11.16-slim-trixie AS base
ENV PATH=/opt/venv/bin:$PATH


FROM base AS build
# Where a dependency has no wheel for the platform, pip compiles it. This stage is thrown away.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
ARG PIP_EXTRA_INDEX_URL=
RUN python -m venv /opt/venv
WORKDIR /app
# The dependencies first, those of both roles: they are large and change seldom.
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*p['dependencies'], *(d for role in ('web', 'worker') for d in p['optional-dependencies'][role]), sep='\n')" \
    > /tmp/requirements.txt \
    && pip install --no-cache-dir --requirement /tmp/requirements.txt
COPY editable_only.py ./
COPY models models
COPY bench bench
COPY cli cli
COPY client client
COPY shared shared
COPY training training
COPY web web
COPY worker worker
# Such as s3, for PATHLIGHT_BLOBS in a bucket, or bulk, for `pathlight bulk` in a container.
ARG EXTRAS=
# Editable: the code stays in /app, where it finds models/ beside it. Readable: a checkout's modes may be strict.
RUN pip install --no-cache-dir --editable ./client --editable ".[web,worker${EXTRAS:+,$EXTRAS}]" \
    && chmod -R a+rX,go-w /app


FROM base
RUN groupadd --gid 10001 pathlight \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pathlight \
    && install --directory --owner=pathlight --group=pathlight --mode=0700 /var/lib/pathlight
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    PATHLIGHT_HOME=/var/lib/pathlight
USER 10001:10001
CMD ["pathlight", "--help"]
