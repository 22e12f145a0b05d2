#!/usr/bin/env bash
# Installs paas on this machine (Debian 12 or 13, root). Run it again to upgrade: it does only what is missing.
#
#   ./install.sh              install, then print the three commands to type next
#   ./install.sh --demo       install, then push a sample app over ssh and fetch its page
#   ./install.sh --uninstall  remove what this script made; asks about the data
#   ./install.sh --uninstall --purge   the data too
#   --yes                     ask nothing (--uninstall keeps the data then, without --purge)
# PAAS_BINARY=/path/to/paas   install this binary instead of building one (default: `paas` beside this script, if it is there)
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly binary=/usr/local/bin/paas config=/etc/paas/paas.toml state=/var/lib/paas run=/run/paas
readonly record=/etc/paas/install-manifest drop_in=/etc/ssh/sshd_config.d/paas.conf dockerd_log=/var/log/paas-dockerd.log
readonly units="paas-daemon.socket paas-control.socket paas-proxy.socket paas-proxy-tls.socket paas-dialer.socket paas-daemon.service paas-proxy.service paas-dialer.service paas.service"
demo=no uninstall=no purge=no yes=no
log=$(mktemp /tmp/paas-install.XXXXXX.log)
begun=$SECONDS

# ---- telling what happens ---------------------------------------------------------------------------------------------------------

say() { printf -- '-----> %s\n' "$*"; }
note() { printf '       %s\n' "$*"; }
warn() { printf ' !     %s\n' "$*" >&2; }
die() {
    warn "$1"
    shift
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

# step "Doing this" command…: one line with the seconds that it took; a line every ten seconds meanwhile; its output only if it fails.
step() {
    local title=$1 started=$SECONDS pid shown=0 took
    shift
    : >"$log"
    "$@" >"$log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.1
        took=$((SECONDS - started))
        if ((took >= shown + 10)); then
            shown=$took
            note "$title … ${took} s: $(tail -n 1 "$log" | tr -d '\r' | cut -c 1-90)"
        fi
    done
    if ! wait "$pid"; then
        warn "$title failed. Its last lines:"
        tail -n 25 "$log" >&2
        die "nothing was undone; fix the cause and run $0 again"
    fi
    say "$title ($((SECONDS - started)) s)"
}

usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
has() { command -v "$1" >/dev/null 2>&1; }
systemd_runs() { [ -d /run/systemd/system ]; }

# What this script made, so that --uninstall removes that and nothing else. One line each: kind and name.
made() {
    mkdir -p "${record%/*}"
    grep -qxF "$*" "$record" 2>/dev/null || printf '%s\n' "$*" >>"$record"
}
was_made() { grep -qxF "$*" "$record" 2>/dev/null; }

# ---- what the machine must have -----------------------------------------------------------------------------------------------------

missing_packages() {
    local want=(ca-certificates curl git openssh-server iptables iproute2 debootstrap)
    has dockerd || want+=(docker.io)
    [ -n "$prebuilt" ] || want+=(gcc libc6-dev make)
    for package in "${want[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages)
    if [ ${#packages[@]} -eq 0 ]; then
        say "Packages are all here"
        return
    fi
    has apt-get || die "these are missing: ${packages[*]}" "this script installs packages on Debian only; install them and run it again"
    step "Reading the package lists" apt-get update -q
    step "Installing ${packages[*]}" apt-get install -qy --no-install-recommends "${packages[@]}"
    for package in "${packages[@]}"; do made package "$package"; done
}

docker_answers() { curl -sf --max-time 5 --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null 2>&1; }

# Only where this script brought the engine: another's is left as it is.
set_up_docker() {
    was_made package docker.io || return 0
    # With live-restore the instances run on while the engine itself restarts.
    if [ ! -e /etc/docker/daemon.json ]; then
        mkdir -p /etc/docker
        printf '{\n  "live-restore": true\n}\n' >/etc/docker/daemon.json
        made file /etc/docker/daemon.json
        if systemd_runs && systemctl is-active -q docker; then systemctl reload docker; fi
    fi
    # Debian's unit gives up after three failures in a minute; here nobody is there to start it by hand.
    local setting=/etc/systemd/system/docker.service.d/paas.conf
    if systemd_runs && [ ! -e $setting ]; then
        install -D -m 0644 /dev/stdin $setting <<<$'[Unit]\nStartLimitIntervalSec=0'
        made file $setting
        systemctl daemon-reload
    fi
}

start_docker() {
    set_up_docker
    if systemd_runs; then
        # Enabled too: after a reboot paas needs it, and nobody else may.
        if ! systemctl is-enabled -q docker 2>/dev/null; then
            systemctl enable -q docker 2>"$log" || die "Docker can't be enabled: $(tail -n 1 "$log")" "if it was masked on purpose: systemctl unmask docker.service docker.socket"
            made enabled docker
        fi
        docker_answers || step "Starting Docker" systemctl start docker
    elif ! docker_answers; then
        # Without an init system: the engine goes on when this script ends.
        local options=()
        # The engine refuses an option that stands in its settings too.
        [ -e /etc/docker/daemon.json ] || options=(--live-restore)
        # From here on the log belongs to the engine, which may go on when paas is removed.
        made file $dockerd_log
        setsid -f dockerd "${options[@]}" >>$dockerd_log 2>&1 </dev/null
        step "Starting Docker" wait_until 60 docker_answers
        made process "$(cat /var/run/docker.pid)" dockerd
    else
        say "Docker answers"
    fi
    docker_answers || die "Docker does not answer on /var/run/docker.sock" "look at: journalctl -u docker (or $dockerd_log)"
}

# By the clock and not by tries: one try may take seconds, as with an engine that hangs.
wait_until() {
    local seconds=$1 started=$SECONDS
    shift
    until "$@"; do
        if ((SECONDS - started >= seconds)); then
            echo "not within $seconds s: $*"
            return 1
        fi
        sleep 0.1
    done
}

# ---- the binary ---------------------------------------------------------------------------------------------------------------------

# The oldest cargo that can build this source.
wanted_cargo() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$here/Cargo.toml"; }

cargo_is_new_enough() {
    has cargo || return 1
    local have
    have=$(cargo --version 2>/dev/null | awk '{print $2}')
    [ "$(printf '%s\n%s\n' "$(wanted_cargo)" "$have" | sort -V | head -n 1)" = "$(wanted_cargo)" ]
}

get_cargo() {
    [ -d "${CARGO_HOME:-$HOME/.cargo}/bin" ] && PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    if cargo_is_new_enough; then return; fi
    say "This machine has $(cargo --version 2>/dev/null || echo 'no cargo'); paas needs $(wanted_cargo) or newer: rustup's own installer brings it into ${CARGO_HOME:-$HOME/.cargo}"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$log.rustup" || die "rustup's installer can't be fetched" "give a binary with PAAS_BINARY=/path/to/paas"
    step "Installing Rust" sh "$log.rustup" -y -q --profile minimal --no-modify-path
    rm -f "$log.rustup"
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    cargo_is_new_enough || die "cargo is still older than $(wanted_cargo)"
    made note "rustup in ${CARGO_HOME:-$HOME/.cargo} (left in place: rustup self uninstall)"
}

build_binary() {
    get_cargo
    local target
    target=$(rustc -vV | sed -n 's/^host: //p')
    step "Building paas (release, static)" cargo build --release --locked --manifest-path "$here/Cargo.toml" --bin paas
    prebuilt=${CARGO_TARGET_DIR:-$here/target}/$target/release/paas
    [ -x "$prebuilt" ] || die "cargo built no $prebuilt"
}

install_binary() {
    [ -n "$prebuilt" ] || build_binary
    "$prebuilt" --version >"$log" 2>&1 || die "$prebuilt does not run on this machine" "$(tail -n 3 "$log")"
    if [ -e "$binary" ] && ! was_made file "$binary"; then
        "$binary" --version 2>/dev/null | grep -q '^paas ' || die "$binary is there already and is not paas" "move it away, or keep it and do not install"
    fi
    if cmp -s "$prebuilt" "$binary"; then
        say "$("$binary" --version) is installed already"
        return
    fi
    # A rename, so that processes which run the old one are not disturbed and nobody sees half a file.
    install -m 0755 "$prebuilt" "$binary.new"
    mv -f "$binary.new" "$binary"
    made file "$binary"
    say "Installed $("$binary" --version) as $binary"
}

# ---- users, folders, settings ---------------------------------------------------------------------------------------------------------

add_group() { getent group "$1" >/dev/null || { groupadd --system "$1" && made group "$1"; }; }

add_user() { # name home shell
    getent passwd "$1" >/dev/null && return
    local own=(--user-group)
    ! getent group "$1" >/dev/null || own=(--gid "$1")
    useradd --system "${own[@]}" --no-create-home --home-dir "$2" --shell "$3" "$1"
    made user "$1"
}

add_member() { # user group
    id -nG "$1" | tr ' ' '\n' | grep -qx "$2" && return
    usermod -aG "$2" "$1"
    made member "$1" "$2"
}

make_users() {
    add_group paas-admin
    add_user paasd $state /usr/sbin/nologin
    add_user paas-proxy /nonexistent /usr/sbin/nologin
    # sshd runs the forced command by the login's shell, and refuses a locked account (`!`) where PAM is off: `*` is no password either.
    add_user paas $state/home /bin/sh
    if was_made user paas; then usermod -p '*' paas; fi
    add_member paasd docker
    add_member paasd paas
    if [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then add_member "$SUDO_USER" paas-admin; fi
    # Traversable for the ssh login, listable for nobody else; each thing below has its own mode.
    install -d -m 0711 -o paasd -g paas $state
    # Root's, so that the login can put no file into its own home that sshd or git would read.
    install -d -m 0755 -o root -g root $state/home
    install -d -m 0755 -o paasd -g root $run
    install -d -m 0755 -o root -g root /etc/paas
    say "Users paasd, paas-proxy and paas, and their folders"
}

who_has_port() { ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/p;t;s/.*/another program/p' | head -n 1; }

# port_for PORT INSTEAD KEY WHAT: prints PORT, or the first free one from INSTEAD on, and then says to the user who has PORT and which
# KEY of the config changes it.
port_for() {
    local holder port=$2
    holder=$(who_has_port "$1")
    if [ -z "$holder" ]; then echo "$1"; return; fi
    while [ -n "$(who_has_port "$port")" ]; do port=$((port + 1)); done
    warn "port $1 is taken by $holder: paas listens $4on port $port instead" >&2
    if systemd_runs; then
        note "to change it: [proxy] $3 in $config, then run $0 again" >&2
    else
        note "to change it: [proxy] $3 in $config, then paas down, and run $0 again" >&2
    fi
    echo "$port"
}

write_config() {
    [ -e $config ] && return
    local listen='# listen = ["[::]:80"]' listen_tls='# listen_tls = ["[::]:443"]' port
    port=$(port_for 443 8443 listen_tls 'for TLS ')
    [ "$port" = 443 ] || listen_tls="listen_tls = [\"[::]:$port\"]"
    port=$(port_for 80 8080 listen '')
    [ "$port" = 80 ] || listen="listen = [\"[::]:$port\"]"
    local ssh_port
    ssh_port=$(sshd_port)
    cat >$config <<TOML
# The settings of this paas host. All are optional; docs/config.md explains each. After a change: systemctl restart paas, and after one of listen
# or listen_tls run install.sh again. Without systemd: paas down, then paas up --detach.

# Apps answer at <app>.<domain>; without it at <app>.localhost.
# domain = "apps.example.com"

[proxy]
$listen
$listen_tls

[ssh]
# host = "server.example.com"
port = $ssh_port

[stack]
# registry: base images by name. debian: made here from Debian packages. auto: the registry if it answers.
# source = "auto"
TOML
    chmod 0644 $config
    made file $config
    say "Settings in $config"
}

# ---- ssh ------------------------------------------------------------------------------------------------------------------------------

sshd_port() {
    mkdir -p /run/sshd
    { /usr/sbin/sshd -T 2>/dev/null || true; } | awk '/^port / && !found {print $2; found = 1} END {if (!found) print 22}'
}

# The sshd of this system, by its own pid file: other sshds are nobody's business here.
sshd_pid() {
    local pid
    pid=$(cat /run/sshd.pid 2>/dev/null) || return 1
    [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = /usr/sbin/sshd ] && echo "$pid"
}

set_up_ssh() {
    grep -Eiq '^[[:space:]]*Include[[:space:]]+/etc/ssh/sshd_config\.d/\*\.conf' /etc/ssh/sshd_config ||
        die "/etc/ssh/sshd_config does not include its drop-ins" "add this as its first line and run $0 again:" "Include /etc/ssh/sshd_config.d/*.conf"
    local changed=no wanted
    mkdir -p /run/sshd /etc/ssh/sshd_config.d
    wanted=$(sed "s:@LOGIN@:paas:g; s:@STATE_DIR@:$state:g" "$here/systemd/sshd-paas.conf")
    if [ "$wanted" != "$(cat $drop_in 2>/dev/null)" ]; then
        [ ! -e $drop_in ] || was_made file $drop_in || die "$drop_in is there already and is not ours"
        install -m 0644 /dev/stdin $drop_in <<<"$wanted"
        made file $drop_in
        changed=yes
        ls /etc/ssh/ssh_host_*_key >/dev/null 2>&1 || ssh-keygen -A >/dev/null
        if ! /usr/sbin/sshd -t 2>"$log"; then
            rm -f $drop_in
            die "sshd does not take its new settings; they were taken back" "$(cat "$log")"
        fi
    fi
    if systemd_runs; then
        systemctl is-enabled -q ssh 2>/dev/null || { systemctl enable -q ssh && made enabled ssh; }
        if systemctl is-active -q ssh; then [ $changed = no ] || systemctl reload ssh; else systemctl start ssh; fi
    elif sshd_pid >/dev/null; then
        [ $changed = no ] || kill -HUP "$(sshd_pid)"
    else
        /usr/sbin/sshd || die "sshd does not start"
        step "Starting sshd" wait_until 10 sshd_pid
        made process "$(sshd_pid)" sshd
    fi
    say "Pushes come in by sshd, port $(sshd_port)"
}

# ---- processes ------------------------------------------------------------------------------------------------------------------------

# The addresses of a setting (listen, listen_tls), one per line; nothing where the default holds.
addresses_of() { { sed -n "/^\\[proxy\\]/,/^\\[[^p]/s/^$1 *= *//p" $config | grep -oE '"[^"]+"' || true; } | tr -d '"'; }
tls_is_off() { sed -n '/^\[proxy\]/,/^\[[^p]/p' $config | grep -Eq '^listen_tls *= *\[ *\]'; }

# Says who holds a port that the proxy needs, while there is still a simple way out.
check_ports() {
    local address
    for address in $(addresses_of listen | grep . || echo '[::]:80'); do check_port "${address##*:}" listen 8080; done
    tls_is_off && return
    for address in $(addresses_of listen_tls | grep . || echo '[::]:443'); do check_port "${address##*:}" listen_tls 8443; done
}

check_port() { # port setting instead
    # What runs already has its ports: paas itself, or systemd for it.
    local held
    held=$(ss -Hltnp "sport = :$1" 2>/dev/null || true)
    if grep -q '"paas",pid=' <<<"$held"; then return; fi
    if grep -q '"systemd",pid=' <<<"$held" && systemctl show -P Listen paas-proxy.socket paas-proxy-tls.socket 2>/dev/null | grep -q ":$1 "; then return; fi
    local holder
    holder=$(who_has_port "$1")
    [ -z "$holder" ] || die "port $1 is taken by $holder" "set another one in $config, for example:" '[proxy]' "$2 = [\"[::]:$3\"]"
}

# The sockets of systemd must be those of the settings. Notes in `ports_changed` whether they were others.
write_socket_drop_in() { # socket setting
    local folder=/etc/systemd/system/$1.d addresses wanted=''
    addresses=$(addresses_of "$2")
    if [ "$2" = listen_tls ] && tls_is_off; then
        # Wanted by other units, so it must refuse to start by itself.
        wanted=$'[Unit]\nConditionPathExists=!/'
    elif [ -n "$addresses" ]; then
        wanted=$'[Socket]\nListenStream=\nListenStream='${addresses//$'\n'/$'\n'ListenStream=}
    fi
    [ "$wanted" != "$(cat "$folder/listen.conf" 2>/dev/null)" ] || return 0
    ports_changed=yes
    rm -rf "$folder"
    [ -n "$wanted" ] || return 0
    install -D -m 0644 /dev/stdin "$folder/listen.conf" <<<"$wanted"
    made dir "$folder"
}

start_by_systemd() {
    local changed=no ports_changed=no unit
    for unit in $units; do
        cmp -s "$here/systemd/$unit" "/etc/systemd/system/$unit" && continue
        install -m 0644 "$here/systemd/$unit" "/etc/systemd/system/$unit"
        made unit "$unit"
        changed=yes
    done
    if ! cmp -s "$here/systemd/paas-tmpfiles.conf" /etc/tmpfiles.d/paas.conf; then
        install -D -m 0644 "$here/systemd/paas-tmpfiles.conf" /etc/tmpfiles.d/paas.conf
        made file /etc/tmpfiles.d/paas.conf
    fi
    write_socket_drop_in paas-proxy.socket listen
    write_socket_drop_in paas-proxy-tls.socket listen_tls
    systemctl daemon-reload
    # shellcheck disable=SC2086  # a list of units
    systemctl enable -q $units 2>/dev/null || true
    if [ $ports_changed = yes ] && systemctl is-active -q paas-proxy.socket; then
        # An open socket keeps its address, and systemd opens no other one for a process that runs.
        say "The ports of the proxy change: it is away for a moment"
        systemctl stop paas-proxy.service paas-proxy.socket paas-proxy-tls.socket
        step "Starting the proxy" systemctl start paas-proxy.socket paas-proxy-tls.socket paas-proxy.service
    fi
    if tls_is_off; then systemctl stop -q paas-proxy-tls.socket; fi
    if ! systemctl is-active -q paas-daemon.service; then
        step "Starting paas" systemctl start paas.service
    elif [ "$changed" = yes ]; then
        # What a unit says of its process holds from its start on.
        step "Restarting paas" systemctl restart paas.service
    else
        step "Starting paas" systemctl start paas.service
        # The sockets stay open, and the new proxy takes the old one's place beside it: no request waits or is lost.
        if runs_another paas-dialer; then step "Restarting the dialer" systemctl restart paas-dialer.service; fi
        if runs_another paas-proxy; then step "Giving the proxy's place to the new one" systemctl reload paas-proxy.service; fi
        if runs_another paas-daemon; then step "Restarting the daemon" systemctl restart paas-daemon.service; fi
    fi
}

# Was the program of this unit replaced since it began?
runs_another() {
    local pid
    pid=$(systemctl show -P MainPID "$1")
    [ "${pid:-0}" != 0 ] && ! [ "/proc/$pid/exe" -ef "$binary" ]
}

start_by_paas_up() {
    if paas_answers; then
        # What runs another program than the installed one takes it over; the sockets stay open.
        step "Letting paas run what is installed" "$binary" up --detach --config $config
        say "paas runs"
        return
    fi
    # No systemd here: a small supervisor of our own starts the same processes. It does not come back after a reboot.
    step "Starting paas (no systemd on this machine: by paas up)" "$binary" up --detach --config $config
}

# What a laptop adds as its remote: git's short form where the port is the usual one.
remote_url() {
    local server port
    server=$(hostname -f 2>/dev/null || hostname)
    port=$(sshd_port)
    if [ "$port" = 22 ]; then echo "paas@$server:shop"; else echo "ssh://paas@$server:$port/shop"; fi
}

paas_answers() { "$binary" status --json >/dev/null 2>&1; }
status_field() { timeout 10 "$binary" status --json | tr -d '\n' | sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p"; }

start_paas() {
    check_ports
    if systemd_runs; then start_by_systemd; else start_by_paas_up; fi
    step "Waiting until paas answers" wait_until 30 paas_answers
    made install "$(status_field install)"
}

make_stack() {
    grep -Eq '^source *= *"registry"' $config && return
    step "Making the base image from Debian packages" "$binary" stack make --config $config
}

# ---- the demo -------------------------------------------------------------------------------------------------------------------------

run_demo() {
    local home=${HOME:-/root}/.config/paas-demo port app=hello git
    port=$(sshd_port)
    [ -d "${home%/*}" ] || { mkdir -p "${home%/*}" && made folder "${home%/*}"; }
    install -d -m 0700 "$home"
    made demo "$home"
    [ -e "$home/id" ] || ssh-keygen -q -t ed25519 -N '' -C paas-demo -f "$home/id"
    if ! "$binary" keys list --json | grep -q '"demo"'; then
        "$binary" keys add demo <"$home/id.pub" >"$log" 2>&1 || die "the key of the demo was refused" "$(cat "$log")"
        made key demo
    fi
    "$binary" apps info $app >/dev/null 2>&1 || "$binary" apps create $app >"$log" 2>&1 || die "the app can't be made" "$(cat "$log")"
    mkdir -p "$home/hello"
    cp -r "$here/tests/apps/hello/." "$home/hello/"
    git=(git -C "$home/hello")
    [ -d "$home/hello/.git" ] || git init -q -b main "$home/hello"
    # In the repository, so that whoever goes on from here needs no options.
    "${git[@]}" config user.name demo
    "${git[@]}" config user.email demo@localhost
    "${git[@]}" config commit.gpgsign false
    "${git[@]}" config core.sshCommand "ssh -p $port -i $home/id -F none -o LogLevel=ERROR -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=$home/known_hosts"
    "${git[@]}" remote remove deploy 2>/dev/null || true
    "${git[@]}" remote add deploy "paas@localhost:$app"
    "${git[@]}" add -A
    "${git[@]}" commit -q --allow-empty -m "demo of $(date -u +%FT%TZ)"
    # This machine's own host key may be a new one.
    rm -f "$home/known_hosts"
    unset GIT_SSH_COMMAND GIT_SSH
    say "git push deploy main     (to paas@localhost:$app)"
    local started=$SECONDS
    "${git[@]}" push deploy main || die "the push failed" "run again, or look at: paas deploys list -a $app"
    show_page $app "$("${git[@]}" rev-parse HEAD)" $((SECONDS - started))
}

show_page() { # app commit seconds
    local address host page
    host=$1.$(sed -n 's/^domain *= *"\(.*\)".*/\1/p' $config)
    [ "$host" != "$1." ] || host=$1.localhost
    # An address that one can connect to: the wildcard is this machine.
    address=$(grep -oE '"[^" ]+:[1-9][0-9]*"' $run/listening.json 2>/dev/null | head -n 1 | tr -d '"' || addresses_of listen | head -n 1)
    address=$(sed 's/^\[::\]/127.0.0.1/; s/^0\.0\.0\.0/127.0.0.1/' <<<"${address:-127.0.0.1:80}")
    page=$(curl -sS --max-time 10 -H "Host: $host" "http://$address/") || die "no page at http://$address/ (Host: $host)"
    grep -qi 'hello' <<<"$page" || die "this is not the page of the demo:" "$(head -c 300 <<<"$page")"
    say "The page came through the proxy: $(sed -n 's:.*<h1>\(.*\)</h1>.*:\1:p' <<<"$page" | head -n 1)"
    printf '\n       URL      http://%s/\n' "$host$(sed 's/.*\(:[0-9]*\)$/\1/; s/^:80$//' <<<"$address")"
    printf '       commit   %s\n       push     %s s (its stages are listed above)\n       all      %s s\n\n' "$2" "$3" $((SECONDS - begun))
    note "next: cd ${HOME:-/root}/.config/paas-demo/hello, change index.html, git commit -a, git push deploy main; paas logs --tail -a $1"
}

# ---- removing -------------------------------------------------------------------------------------------------------------------------

ask_about_data() {
    [ $purge = no ] && [ $yes = no ] && [ -t 0 ] || return 0
    local answer
    read -r -p "       Remove the data too (apps, repositories, releases, logs in $state)? [y/N] " answer
    case $answer in [yY]*) purge=yes ;; esac
}

engine() { curl -sS --max-time 60 --unix-socket /var/run/docker.sock "$@"; }

# Deletes what the engine lists at $1 for this installation's label; ids come from the engine, and its list may be empty.
delete_all() { # list delete install
    local id
    engine "http://docker/$1filters=%7B%22label%22%3A%5B%22paas.install%3D$3%22%5D%7D" | grep -oE '"Id":"(sha256:)?[0-9a-f]{64}"' | cut -d '"' -f 4 | sort -u |
        while read -r id; do engine -o /dev/null -X DELETE "http://docker/$2/$id?force=1"; done || true
}

# Images of apps are ours by their repository's name: a label in them would be inherited by what others build from them.
delete_images() { # repository prefix
    engine "http://docker/images/json?filters=%7B%22reference%22%3A%5B%22$1%2F%2A%22%5D%7D" | grep -oE "\"$1/[a-z0-9-]+:d[0-9]+\"" | tr -d '"' | sort -u |
        while read -r image; do engine -o /dev/null -X DELETE "http://docker/images/$image?force=1"; done || true
}

stack_images() { engine 'http://docker/images/json?filters=%7B%22reference%22%3A%5B%22paas-stack%2F%2A%22%5D%7D' | grep -oE '"paas-stack/[a-z0-9-]+:[a-z0-9.-]+"' | tr -d '"' | sort -u; }

# Base and language images that were there when paas was first installed here belong to somebody else.
remember_stack_images() {
    was_made stack-looked-at && return
    local image
    for image in $(stack_images || true); do made stack-before "$image"; done
    made stack-looked-at
}

# What else of paas the engine has: containers and images of apps tell whose they are.
other_installs() { # install
    engine 'http://docker/containers/json?all=1' | grep -oE '"paas\.install": *"[0-9a-f-]{36}"' | grep -vF "$1" || true
    engine http://docker/images/json | grep -oE '"paas-[0-9a-f]{8}/' | grep -vF "paas-${1:0:8}/" || true
}

remove_stack_images() { # install
    if [ -n "$(other_installs "$1")" ]; then
        note "another installation of paas uses this engine: the base images (paas-stack/…) are left to it"
        return
    fi
    local image
    for image in $(stack_images || true); do
        was_made stack-before "$image" || engine -o /dev/null -X DELETE "http://docker/images/$image"
    done
}

remove_docker_objects() { # install…
    local install
    if ! docker_answers; then
        warn "Docker is not installed any more: its containers and images of paas, if there are any, stay where they are"
        return
    fi
    for install in "$@"; do
        delete_all 'containers/json?all=1&' containers "$install"
        delete_all 'networks?' networks "$install"
        if [ $purge = yes ]; then
            delete_all 'images/json?' images "$install"
            delete_images "paas-${install:0:8}"
        fi
    done
    # Nothing of any of them is left: the last one speaks for all.
    [ $purge = no ] || remove_stack_images "$install"
}

# The engine that this script started without an init system, unless others have something running on it.
stop_our_docker() { # pid
    [ "$(readlink "/proc/$1/exe" 2>/dev/null)" = "$(command -v dockerd)" ] || return 0
    if [ "$(engine http://docker/containers/json | tr -d '[:space:]')" != '[]' ]; then
        note "Docker goes on: it runs containers of others"
        return
    fi
    kill "$1"
    wait_until 30 process_ended "$1" || warn "Docker does not end (process $1)"
}

# Instances run on in a Docker that does not answer, and what has been removed can't tell any more which they are.
require_docker() {
    if docker_answers || ! has dockerd; then return; fi
    say "Waiting for Docker, which runs the apps"
    wait_until 30 docker_answers >/dev/null || die "Docker does not answer: the apps that run in it can't be removed; nothing was changed" \
        "start it (systemctl start docker) and run this again; if it is gone for good, remove its package first"
}

process_ended() { [ -z "$(readlink "/proc/$1/exe" 2>/dev/null)" ]; }

stop_paas() {
    if systemd_runs; then
        local unit
        # One by one: of an installation that was never finished some are not there. The sockets come first, or they start what was stopped.
        for unit in $units; do systemctl disable -q --now "$unit" 2>/dev/null || true; done
    elif [ -x $binary ]; then
        "$binary" down --config $config >/dev/null 2>&1 || true
    fi
}

remove_file() {
    # An engine that goes on writes into its log.
    if [ "$1" = $dockerd_log ] && docker_answers; then return; fi
    rm -f "$1"
    case $1 in */docker.service.d/* | /etc/docker/*) rmdir "${1%/*}" 2>/dev/null || true ;; esac
}

remove_made() { # in the reverse of the order in which it was made
    local kind name more
    while read -r kind name more; do
        case $kind in
        unit) rm -f "/etc/systemd/system/$name" ;;
        dir) rm -rf "$name" ;;
        # The settings belong to the data.
        file) if [ "$name" != $config ] || [ $purge = yes ]; then remove_file "$name"; fi ;;
        member) [ $purge = no ] || gpasswd -d "$name" "$more" >/dev/null 2>&1 || true ;;
        process)
            # Only a process that is still the one we started.
            if [ "$more" = sshd ] && [ "$(readlink "/proc/$name/exe" 2>/dev/null)" = /usr/sbin/sshd ]; then kill "$name"; fi
            if [ "$more" = dockerd ]; then stop_our_docker "$name"; fi
            ;;
        demo) [ $purge = no ] || rm -rf "$name" ;;
        # Only if nobody has put anything into it.
        folder) [ $purge = no ] || rmdir "$name" 2>/dev/null || true ;;
        user) [ $purge = no ] || userdel "$name" 2>/dev/null || true ;;
        group) [ $purge = no ] || groupdel "$name" 2>/dev/null || true ;;
        esac
    done < <(tac "$record")
}

remove_paas() {
    [ -e "$record" ] || die "there is no $record: paas was not installed by this script"
    local installs packages restored
    # A backup that was restored here brought the name of the installation that it is of.
    restored=$(status_field install 2>/dev/null || true)
    [ -z "$restored" ] || made install "$restored"
    mapfile -t installs < <(sed -n 's/^install //p' "$record" | grep -xE '[0-9a-f-]{36}')
    [ ${#installs[@]} = 0 ] || require_docker
    ask_about_data
    packages=$(sed -n 's/^package //p' "$record" | tr '\n' ' ')
    stop_paas
    say "Stopped paas"
    [ ${#installs[@]} = 0 ] || remove_docker_objects "${installs[@]}"
    remove_made
    if systemd_runs; then
        systemctl daemon-reload
        systemctl reload ssh 2>/dev/null || true
    elif sshd_pid >/dev/null; then
        kill -HUP "$(sshd_pid)"
    fi
    rm -rf $run
    if [ $purge = yes ]; then
        rm -rf $state "$record"
        rmdir /etc/paas 2>/dev/null || true
        say "Removed paas and its data"
    else
        # What is left of the record belongs to the data: the users that own it, and the name of the installation.
        grep -E '^(user|group|member|install|package|demo|folder|stack-|file /etc/paas/)' "$record" >"$record.kept" || true
        mv "$record.kept" "$record"
        say "Removed paas; its data stays in $state with its users (--purge removes both, ./install.sh takes it up again)"
    fi
    [ -z "$packages" ] || note "these packages were installed for paas and are left, others may use them by now: $packages"
    if docker_answers; then note "Docker goes on running, with its build cache (docker builder prune); stop it yourself if nothing else needs it"; fi
}

# ---- in order -------------------------------------------------------------------------------------------------------------------------

for argument in "$@"; do
    case $argument in
    --demo) demo=yes ;;
    --uninstall) uninstall=yes ;;
    --purge) purge=yes ;;
    --yes) yes=yes ;;
    --help | -h)
        usage
        exit 0
        ;;
    *)
        usage >&2
        die "unknown option $argument"
        ;;
    esac
done
trap 'rm -f "$log" "$log.rustup"' EXIT
[ "$(id -u)" = 0 ] || die "this must run as root" "sudo $0 $*"
[ $purge = no ] || [ $uninstall = yes ] || die "--purge goes with --uninstall"
if [ $uninstall = yes ]; then
    remove_paas
    exit 0
fi

prebuilt=${PAAS_BINARY:-}
[ -n "$prebuilt" ] || { [ -x "$here/paas" ] && [ -f "$here/paas" ] && prebuilt=$here/paas; } || true
install_packages
start_docker
remember_stack_images
install_binary
make_users
write_config
set_up_ssh
start_paas
make_stack
if [ $demo = yes ]; then
    run_demo
else
    say "paas is ready ($((SECONDS - begun)) s). Next, three commands:"
    note "on this server:    paas keys add laptop < id_ed25519.pub"
    note "in your project:   git remote add deploy $(remote_url)"
    note "                   git push deploy main"
fi
