# A runner for the scheduled retraining (docs/schedule.md). It holds the commit it is built from and
# the locked environment. Addresses and passwords are given when it runs, never when it is built.

FROM python:3.11-slim AS tools
# Debian replaces these versions with each security fix, so a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 knownline
USER 1000

FROM tools
RUN mkdir /home/knownline/checkout
WORKDIR /home/knownline/checkout
# Nothing but git's history: what is not committed stays outside, and a retraining would refuse it.
COPY --chown=1000 .git .git
RUN git reset --quiet --hard
# An index with PyTorch's CPU builds makes the image gigabytes smaller.
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_CACHE_DIR=1
RUN make .venv/.ready
CMD ["make", "retrain"]
