#!/bin/sh
# Puts the port into the configuration and becomes nginx.
set -e
conf=/tmp/nginx.conf
fallback='=404'
[ -f /app/404.html ] || [ ! -f /etc/paas-static/spa ] || fallback=/index.html
listen6=''
[ -f /proc/net/if_inet6 ] || listen6='/\[::\]/d;'
sed -e "${listen6}s/PORT/${PORT:-8080}/g" -e "s#FALLBACK#$fallback#" /etc/paas-static/nginx.conf > "$conf"
exec nginx -c "$conf"
