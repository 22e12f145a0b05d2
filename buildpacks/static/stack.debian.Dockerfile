FROM {{base}} AS build

FROM {{base}} AS run
RUN {{ca}} {{ca_env}} apt-get update \
 && apt-get upgrade -y && apt-get install -y --no-install-recommends ca-certificates nginx-light \
 && rm -rf /var/lib/apt/lists/* /etc/nginx/sites-enabled/default /var/log/nginx/*
RUN getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group --home-dir /app --shell /bin/sh app
