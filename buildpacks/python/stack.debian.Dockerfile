FROM {{base}} AS build
RUN {{ca}} {{ca_env}} apt-get update \
 && apt-get upgrade -y && apt-get install -y --no-install-recommends ca-certificates build-essential git pkg-config python3 python3-dev python3-venv \
    default-libmysqlclient-dev libffi-dev libjpeg-dev libpq-dev libssl-dev libxml2-dev libxslt1-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
RUN {{ca}} {{ca_env}} python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv && ln -s /opt/uv/bin/uv /usr/local/bin/uv

FROM {{base}} AS run
RUN {{ca}} {{ca_env}} apt-get update \
 && apt-get upgrade -y && apt-get install -y --no-install-recommends ca-certificates python3 libffi8 libjpeg62-turbo libmariadb3 libpq5 libxml2 libxslt1.1 media-types \
 && rm -rf /var/lib/apt/lists/*
RUN ln -sf python3 /usr/bin/python
RUN getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group --home-dir /app --shell /bin/sh app
