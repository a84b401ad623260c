#!/usr/bin/env bash
# Capture the *.prom files beside this script: real scrapes, in the Prometheus
# text exposition format, of exporters packaged by Debian 12 (bookworm).
#
# Run as root, in a container or on a throwaway machine. Everything started
# here listens on 127.0.0.1, keeps its state in a temporary directory and is
# stopped at the end. The files in this directory are overwritten.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d /tmp/capture.XXXXXX)
pids=()

cleanup() {
    local status=$? i
    trap - EXIT
    # The last started is the first stopped: clients before their servers.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    if ((status != 0)); then
        echo "capture failed (status $status); logs are in $work" >&2
    else
        rm -rf "$work"
    fi
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# start NAME USER COMMAND...: run COMMAND in the background as USER.
start() {
    local name=$1 user=$2
    shift 2
    (
        cd "$work"
        exec setpriv --reuid="$user" --regid="$user" --init-groups "$@" >"$work/$name.log" 2>&1
    ) &
    pids+=("$!")
}

# await URL: wait until URL answers with a success status.
await() {
    local try
    for ((try = 0; try < 100; try++)); do
        if curl -sf -o /dev/null "$1"; then return 0; fi
        sleep 0.2
    done
    echo "no answer from $1" >&2
    return 1
}

# scrape NAME URL: store the body of URL, as it came, as NAME.prom.
scrape() {
    curl -sSf -o "$work/$1.prom" "$2"
}

# ---------------------------------------------------------------- packages

packages=(
    curl prometheus prometheus-alertmanager prometheus-apache-exporter
    prometheus-blackbox-exporter prometheus-haproxy-exporter
    prometheus-node-exporter prometheus-postgres-exporter
    prometheus-process-exporter prometheus-pushgateway
    prometheus-redis-exporter
    apache2 haproxy postgresql-15 redis-server redis-tools
)
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends --no-upgrade "${packages[@]}"

# ---------------------------------------------------- servers to be watched

chmod 755 "$work"
pgbin=/usr/lib/postgresql/15/bin
install -d -o postgres -g postgres -m 700 "$work/pg"
install -d -o redis -g redis "$work/redis"
install -d -o prometheus -g prometheus "$work/prom-a" "$work/prom-b" "$work/am"
install -d "$work/www"
echo ok >"$work/www/index.html"

(cd "$work" && setpriv --reuid=postgres --regid=postgres --init-groups \
    "$pgbin/initdb" -D "$work/pg" -U postgres -A trust -E UTF8 --locale=C) >"$work/initdb.log"
start postgres postgres "$pgbin/postgres" -D "$work/pg" -p 19432 \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories=''

start redis redis redis-server --bind 127.0.0.1 --port 19379 --dir "$work/redis" --save ''

cat >"$work/apache.conf" <<CONF
ServerName localhost
ServerRoot /etc/apache2
Listen 127.0.0.1:19080
PidFile $work/apache.pid
ErrorLog $work/apache-error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule status_module /usr/lib/apache2/modules/mod_status.so
User www-data
Group www-data
DocumentRoot $work/www
ExtendedStatus On
<Location /server-status>
    SetHandler server-status
</Location>
CONF
start apache root apache2 -f "$work/apache.conf" -DFOREGROUND

cat >"$work/haproxy.cfg" <<'CONF'
defaults
    mode http
    timeout connect 2s
    timeout client 10s
    timeout server 10s
frontend stats
    bind 127.0.0.1:19084
    http-request use-service prometheus-exporter if { path /metrics }
    stats enable
    stats uri /stats
frontend www
    bind 127.0.0.1:19081
    default_backend www
frontend api
    bind 127.0.0.1:19082
    default_backend api
backend www
    balance roundrobin
    server www-1 127.0.0.1:19080 check inter 1s
    server www-2 127.0.0.1:19080 check inter 1s
    server www-3 127.0.0.1:19089 check inter 1s
backend api
    balance leastconn
    option httpchk GET /index.html
    server api-1 127.0.0.1:19080 check inter 1s
    server api-2 127.0.0.1:19089 check inter 1s backup
CONF
start haproxy haproxy haproxy -db -f "$work/haproxy.cfg"

# --------------------------------------------------------------- exporters

# Only virtual or system paths are left out of the node exporter's file
# systems; the hardware addresses of network devices are left out too.
start node-exporter prometheus prometheus-node-exporter \
    --web.listen-address=127.0.0.1:19100 \
    --collector.filesystem.mount-points-exclude='^/(dev|proc|run|sys|mnt|media|var/lib/docker/.+)($|/)' \
    --collector.netclass.ignored-devices='^(eth|en|wl|ifb|docker|veth|br-).*' \
    --collector.interrupts --collector.tcpstat

# Group the daemons of this capture by name and leave all else alone.
cat >"$work/process.yml" <<'CONF'
process_names:
  - name: "{{.Comm}}"
    comm: [postgres, redis-server, apache2, haproxy]
  - name: "{{.ExeBase}}"
    exe:
      - prometheus
      - prometheus-alertmanager
      - prometheus-apache-exporter
      - prometheus-blackbox-exporter
      - prometheus-haproxy-exporter
      - prometheus-node-exporter
      - prometheus-postgres-exporter
      - prometheus-process-exporter
      - prometheus-pushgateway
      - prometheus-redis-exporter
CONF
start process-exporter prometheus prometheus-process-exporter \
    -config.path "$work/process.yml" -web.listen-address 127.0.0.1:19256
start redis-exporter prometheus prometheus-redis-exporter \
    -redis.addr redis://127.0.0.1:19379 -web.listen-address 127.0.0.1:19121
start postgres-exporter prometheus \
    env DATA_SOURCE_NAME='postgresql://postgres@127.0.0.1:19432/postgres?sslmode=disable' \
    prometheus-postgres-exporter --web.listen-address=127.0.0.1:19187
start apache-exporter prometheus prometheus-apache-exporter \
    --telemetry.address=127.0.0.1:19117 --scrape_uri='http://127.0.0.1:19080/server-status/?auto'
start haproxy-exporter prometheus prometheus-haproxy-exporter \
    --web.listen-address=127.0.0.1:19101 --haproxy.scrape-uri='http://127.0.0.1:19084/stats;csv'
start blackbox-exporter prometheus prometheus-blackbox-exporter \
    --config.file=/etc/prometheus/blackbox.yml --web.listen-address=127.0.0.1:19115
start pushgateway prometheus prometheus-pushgateway --web.listen-address=127.0.0.1:19091
start alertmanager prometheus prometheus-alertmanager \
    --config.file=/etc/prometheus/alertmanager.yml --storage.path="$work/am" \
    --web.listen-address=127.0.0.1:19093 --cluster.listen-address=''

# ----------------------------------- two Prometheus replicas, one same target

for replica in a b; do
    cat >"$work/prometheus-$replica.yml" <<CONF
global:
  scrape_interval: 2s
  external_labels: {cluster: demo, replica: $replica}
scrape_configs:
  - job_name: node
    static_configs: [{targets: ["127.0.0.1:19100"]}]
  - job_name: exporters
    static_configs:
      - targets:
          - 127.0.0.1:19084
          - 127.0.0.1:19091
          - 127.0.0.1:19093
          - 127.0.0.1:19101
          - 127.0.0.1:19115
          - 127.0.0.1:19117
          - 127.0.0.1:19121
          - 127.0.0.1:19187
          - 127.0.0.1:19256
CONF
done
start prometheus-a prometheus prometheus --config.file="$work/prometheus-a.yml" \
    --storage.tsdb.path="$work/prom-a" --web.listen-address=127.0.0.1:19090
start prometheus-b prometheus prometheus --config.file="$work/prometheus-b.yml" \
    --storage.tsdb.path="$work/prom-b" --web.listen-address=127.0.0.1:19190

for port in 19084 19090 19091 19093 19100 19101 19115 19117 19121 19187 19190 19256; do
    await "http://127.0.0.1:$port/metrics"
done

# ------------------------------------------------------- something to measure

for ((i = 0; i < 40; i++)); do
    curl -s -o /dev/null http://127.0.0.1:19081/
    curl -s -o /dev/null http://127.0.0.1:19082/index.html
    curl -s -o /dev/null http://127.0.0.1:19082/missing
done
redis-benchmark -q -h 127.0.0.1 -p 19379 -n 500 -t set,get,incr,lpush,sadd,hset,zadd >/dev/null
psql=("$pgbin/psql" -q -h 127.0.0.1 -p 19432 -U postgres)
for db in shop blog wiki; do
    "${psql[@]}" -c "CREATE DATABASE $db"
    "${psql[@]}" -d "$db" -c "CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 1000) AS g"
done

# What a few batch jobs might push, with every type the text format has.
for host in db-1 db-2 web-1 web-2; do
    for job in backup logrotate certs; do
        curl -sSf --data-binary @- "http://127.0.0.1:19091/metrics/job/$job/instance/$host" <<'PUSH'
# TYPE job_last_success_timestamp_seconds gauge
# HELP job_last_success_timestamp_seconds When the job last succeeded.
job_last_success_timestamp_seconds 1.7e+09
# TYPE job_files_total counter
# HELP job_files_total Files seen, by path: "\\" and line breaks are escaped.
job_files_total{path="/srv/data"} 1204
job_files_total{path="C:\\Data\\\"new\""} 17
job_files_total{path="/srv/näyttö\nsecond line"} 3
# TYPE job_step_duration_seconds histogram
job_step_duration_seconds_bucket{le="0.1"} 3
job_step_duration_seconds_bucket{le="1"} 8
job_step_duration_seconds_bucket{le="10"} 9
job_step_duration_seconds_bucket{le="+Inf"} 9
job_step_duration_seconds_sum 6.25
job_step_duration_seconds_count 9
# TYPE job_file_size_bytes summary
job_file_size_bytes{quantile="0.5"} 4096
job_file_size_bytes{quantile="0.99"} 1.048576e+06
job_file_size_bytes_sum 8.8e+06
job_file_size_bytes_count 1224
# TYPE job_compression_ratio gauge
job_compression_ratio NaN
job_exit_code 0
PUSH
    done
done
# A grouping label with slashes in its value goes in as base64.
printf 'disk_scrub_errors 0\n' | curl -sSf --data-binary @- \
    "http://127.0.0.1:19091/metrics/job/scrub/path@base64/$(printf /srv/data | base64)"

sleep 12 # a few scrapes of both replicas

# ----------------------------------------------------------------- capture

federate='federate?match\[\]=%7Bjob%3D%22node%22%7D' # match[]={job="node"}
scrape node-replica-a "http://127.0.0.1:19090/$federate"
scrape node-replica-b "http://127.0.0.1:19190/$federate"
scrape prometheus http://127.0.0.1:19090/metrics
scrape process-exporter http://127.0.0.1:19256/metrics
scrape redis-exporter http://127.0.0.1:19121/metrics
scrape postgres-exporter http://127.0.0.1:19187/metrics
scrape apache-exporter http://127.0.0.1:19117/metrics
scrape haproxy http://127.0.0.1:19084/metrics
scrape haproxy-exporter http://127.0.0.1:19101/metrics
scrape blackbox-probe 'http://127.0.0.1:19115/probe?module=http_2xx&target=http%3A%2F%2F127.0.0.1%3A19080%2F'
scrape blackbox-exporter http://127.0.0.1:19115/metrics
scrape alertmanager http://127.0.0.1:19093/metrics
scrape pushgateway http://127.0.0.1:19091/metrics

# promtool exits with 1 on a parse error, with 3 on mere lint warnings.
for file in "$work"/*.prom; do
    status=0
    promtool check metrics <"$file" >"$file.lint" 2>&1 || status=$?
    if ((status != 0 && status != 3)); then
        echo "$file does not parse:" >&2
        cat "$file.lint" >&2
        exit 1
    fi
done

install -m 644 "$work"/*.prom "$here"
for file in "$work"/*.prom; do
    printf '%-24s %6d series %8d bytes\n' \
        "$(basename "$file")" "$(grep -vc '^#' "$file")" "$(wc -c <"$file")"
done
