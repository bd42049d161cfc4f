# The Python that the tests run on. Rebuild regularly: the tag follows Python's and Debian's updates.
FROM python:3.11-slim-bookworm AS build

WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# Dependencies first: they change less often than the source, and stay in the build cache.
COPY requirements-telemetry.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/restaurant-system \
    && pip --python /opt/restaurant-system/bin/python install \
        --require-hashes --only-binary :all: -r requirements-telemetry.lock \
    && pip install --no-compile --require-hashes --only-binary :all: -r requirements-build.lock

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/restaurant-system/bin/python install --no-index --no-deps dist/*.whl


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="restaurant-system" \
      org.opencontainers.image.description="Order management for restaurants" \
      org.opencontainers.image.licenses="MIT"

# Fixed ids, so that the owner of a volume is known. Only the embedded PostgreSQL of `up` writes files.
RUN groupadd --gid 10001 restaurant \
    && useradd --uid 10001 --gid restaurant --no-log-init --no-create-home \
        --home-dir /var/lib/restaurant-system --shell /usr/sbin/nologin restaurant \
    && install --directory --owner restaurant --group restaurant --mode 0700 \
        /var/lib/restaurant-system \
    && install --directory /etc/restaurant-system

COPY --from=build /opt/restaurant-system /opt/restaurant-system

ENV PATH=/opt/restaurant-system/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    RESTAURANT_DATA_DIR=/var/lib/restaurant-system \
    HEALTH_PORT=3000

USER 10001:10001
# A config.yaml that is mounted here is read.
WORKDIR /etc/restaurant-system
EXPOSE 3000 3001 3002
STOPSIGNAL SIGTERM

# HEALTH_PORT is the port of the service; of workers and subscribers, that of --metrics-port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['HEALTH_PORT']), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["restaurant-system"]
CMD ["--help"]
