# bgpnet's image: `make image` builds it (docker or podman), docs/kubernetes.md says what it is for.
#   BASE        what the image stands on: Debian, Ubuntu or their slim Python images, with Python 3.11 or newer
#   BUILD_BASE  what it is built on: the same distribution and the same Python, as the virtual environment is copied
# Packages that a base has already are not fetched. What pip is told (index, host, certificate) ends with the build stage.
ARG BASE=python:3.13-slim-bookworm
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_DEFAULT_TIMEOUT=60
RUN set -e; missing=; \
    command -v musl-gcc >/dev/null || missing="gcc libc6-dev musl-tools"; \
    command -v make >/dev/null || missing="$missing make"; \
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"; \
    [ -z "$missing" ] || { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; }
WORKDIR /src
# the second is there when pip's index has a certificate of a private authority (scripts/image copies it)
COPY constraints.txt build/image/ca.pe[m] ./
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/bgpnet
COPY pyproject.toml README.md ./
# the dependencies alone: this layer is made anew only when they change
RUN set -e; [ ! -e ca.pem ] || export PIP_CERT=/src/ca.pem; \
    python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' >needed.txt; \
    /pip/bin/pip --python /opt/bgpnet --disable-pip-version-check install -q --no-cache-dir --no-compile \
        --use-pep517 -c constraints.txt -r needed.txt
COPY Makefile ./
COPY bgpnet ./bgpnet
COPY bgpnet_ctl ./bgpnet_ctl
RUN set -e; [ ! -e ca.pem ] || export PIP_CERT=/src/ca.pem; \
    make -s build/cni/bgpnet; \
    /pip/bin/pip --python /opt/bgpnet --disable-pip-version-check install -q --no-cache-dir --no-compile --no-deps .; \
    install -D build/cni/bgpnet /opt/bgpnet/libexec/bgpnet/cni; \
    # compiled here, as the image runs with a read-only root; the sources stay, one can read them
    /opt/bgpnet/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/bgpnet/lib

FROM ${BASE} AS node
# nft and iptables write the rules that a cluster needs beside kube-proxy's; ip is for people
RUN set -e; missing=; \
    command -v python3 >/dev/null || missing="python3"; \
    command -v ip >/dev/null || missing="$missing iproute2"; \
    command -v nft >/dev/null || missing="$missing nftables"; \
    command -v iptables >/dev/null || missing="$missing iptables"; \
    [ -z "$missing" ] || { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; }; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log; \
    grep -q '^bgpnet:' /etc/passwd || echo 'bgpnet:x:65532:65532:bgpnet:/nonexistent:/usr/sbin/nologin' >>/etc/passwd; \
    grep -q '^bgpnet:' /etc/group || echo 'bgpnet:x:65532:' >>/etc/group
COPY --from=build /opt/bgpnet /opt/bgpnet
COPY bgpnet/kernel/rt_protos.conf /etc/iproute2/rt_protos.d/bgpnet.conf
ENV PATH=/opt/bgpnet/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ARG VERSION=unknown
LABEL org.opencontainers.image.title="bgpnet" \
      org.opencontainers.image.description="A BGP-routed container network with IP-in-IP, in Python one can read" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
CMD ["bgpnet", "--help"]

# The image of containerlab/*.clab.yml: routers of other makes, and what one looks with.
FROM node AS lab
RUN set -e; missing=; \
    for pair in bird:bird2 gobgpd:gobgpd vtysh:frr ping:iputils-ping tcpdump:tcpdump ps:procps bridge:iproute2; do \
        command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"; \
    done; \
    [ -z "$missing" ] || { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; }; \
    rm -rf /var/lib/apt/lists/*

# what `docker build .` makes
FROM node
