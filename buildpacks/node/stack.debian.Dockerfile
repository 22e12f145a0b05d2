FROM {{base}} AS build
RUN {{ca}} {{ca_env}} apt-get update \
 && apt-get upgrade -y && apt-get install -y --no-install-recommends ca-certificates build-essential git libnode-dev nodejs npm pkg-config python3 \
 && rm -rf /var/lib/apt/lists/*
# The headers are here: node-gyp need not fetch them.
ENV npm_config_nodedir=/usr npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false
RUN {{ca}} {{ca_env}} npm install --global npm@10 && rm -rf /root/.npm

FROM {{base}} AS run
RUN {{ca}} {{ca_env}} apt-get update \
 && apt-get upgrade -y && apt-get install -y --no-install-recommends ca-certificates nodejs \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
ENV npm_config_update_notifier=false
RUN getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group --home-dir /app --shell /bin/sh app
