FROM {{base}} AS build
RUN {{ca}} {{ca_env}} apt-get update \
 && apt-get upgrade -y && apt-get install -y --no-install-recommends ca-certificates build-essential git golang-go pkg-config \
 && rm -rf /var/lib/apt/lists/*

FROM {{base}} AS run
RUN {{ca}} {{ca_env}} apt-get update \
 && apt-get upgrade -y && apt-get install -y --no-install-recommends ca-certificates media-types tzdata \
 && rm -rf /var/lib/apt/lists/*
RUN getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group --home-dir /app --shell /bin/sh app
