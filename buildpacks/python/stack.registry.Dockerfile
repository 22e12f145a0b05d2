FROM python:{{version}} AS build
RUN {{ca}} {{ca_env}} python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv && ln -s /opt/uv/bin/uv /usr/local/bin/uv

FROM python:{{version}} AS run
RUN getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group --home-dir /app --shell /bin/sh app
