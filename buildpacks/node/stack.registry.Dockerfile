FROM node:{{version}} AS build
ENV npm_config_nodedir=/usr/local npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false

FROM node:{{version}} AS run
ENV npm_config_update_notifier=false
