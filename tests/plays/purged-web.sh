#!/usr/bin/env bash
# The examples for Apache and nginx, with a generator of two lines: a page is rendered once, is served
# as a file until purged deletes it, and is rendered again by the next request.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
command -v curl >/dev/null || skip 'curl is not here (Debian: curl)'
need python3
examples=$plays/../../examples/purged

www=$scratch/www
mkdir -p "$www/docs/news/items" "$www/cgi-bin"
cat >"$scratch/spread.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    web1 127.0.0.1
}
SpreadSocket = false
StateDir = $scratch
CONF
mkdir -m 700 "$scratch/web1"
"$bin/groupd" -c "$scratch/spread.conf" -n web1 --socket "$scratch/web1/socket" 2>"$scratch/groupd.err" &
"$bin/purged" --root="$www/docs" --allow='/news/items/*.html' -s "$scratch/web1/socket" imgcache 2>"$scratch/purged.err" &
has_joined() { "$bin/groupctl" -s "$scratch/web1/socket" members imgcache | grep -q '^#pd'; }
until_true 10 'purged is a member' has_joined
is() { [ "$1" = "$2" ] || fail "$3: got \"$1\", not \"$2\""; }
get() { curl -sf --max-time 10 -H 'Host: www.example.com' http://127.0.0.1/news/items/17.html; }

# plays WHAT: the server serves; rendered pages carry the number of times that they were.
plays() {
    until_true 20 "$1 serves" get
    rm -f "$www/docs/news/items/17.html" "$scratch/count"
    is "$(get)" 'item 17, rendered 1' "$1: a page that is missing"
    is "$(cat "$www/docs/news/items/17.html")" 'item 17, rendered 1' "$1: its file"
    is "$(get)" 'item 17, rendered 1' "$1: from the file"
    "$bin/purge" -s "$scratch/web1/socket" http://www.example.com/news/items/17.html >"$scratch/purge.out" ||
        fail "purge: $(cat "$scratch/purge.out")"
    grep -Eq '^#pd[0-9]+#web1 confirmed in [0-9.]+ ms, 1 deleted$' "$scratch/purge.out" || fail "$(cat "$scratch/purge.out")"
    [ ! -e "$www/docs/news/items/17.html" ] || fail "$1: the page is still there"
    is "$(get)" 'item 17, rendered 2' "$1: rendered again"
    echo "ok: $1 renders what purged has deleted"
}
cat >"$www/cgi-bin/render" <<RENDER
#!/bin/sh
item=\${QUERY_STRING#item=}
echo >>"$scratch/count"
page=$www/docs/news/items/\$item.html
echo "item \$item, rendered \$(wc -l <"$scratch/count")" >"\$page.new" && mv "\$page.new" "\$page"
printf 'Content-Type: text/html\r\n\r\n'
cat "\$page"
RENDER
chmod +x "$www/cgi-bin/render"

if command -v nginx >/dev/null; then
    cat >"$scratch/generator.py" <<'PYTHON'
import http.server, re, subprocess, sys

class Render(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        item = re.match(r"/news/items/([0-9]+)\.html", self.path)[1]
        page = subprocess.check_output([sys.argv[1]], env={"QUERY_STRING": f"item={item}", "PATH": "/usr/bin:/bin"})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(page.split(b"\r\n\r\n", 1)[1])

http.server.HTTPServer(("127.0.0.1", 9000), Render).serve_forever()
PYTHON
    python3 "$scratch/generator.py" "$www/cgi-bin/render" 2>"$scratch/generator.err" &
    sed "s|/www/docs|$www/docs|" "$examples/nginx.conf" >"$scratch/site.conf"
    cat >"$scratch/nginx.conf" <<CONF
daemon off;
master_process off;
user root;
pid $scratch/nginx.pid;
error_log stderr error;
events { }
http {
    access_log off;
    client_body_temp_path $scratch/body-temp;
    proxy_temp_path $scratch/proxy-temp;
    fastcgi_temp_path $scratch/fastcgi-temp;
    uwsgi_temp_path $scratch/uwsgi-temp;
    scgi_temp_path $scratch/scgi-temp;
    include $scratch/site.conf;
}
CONF
    nginx -t -q -c "$scratch/nginx.conf" 2>"$scratch/nginx-t.err" || fail 'nginx -t'
    nginx -c "$scratch/nginx.conf" 2>"$scratch/nginx.err" &
    server=$!
    plays nginx
    kill -TERM $server
    wait $server 2>/dev/null # its exit code says nothing about us
else
    echo 'not shown here: nginx is not here (Debian: nginx)'
fi

modules=/usr/lib/apache2/modules
if command -v apache2 >/dev/null; then
    sed "s|/www/|$www/|g" "$examples/apache.conf" >"$scratch/site.conf"
    cat >"$scratch/apache.conf" <<CONF
ServerName www.example.com
ServerRoot $scratch
PidFile $scratch/apache.pid
ErrorLog $scratch/apache-log.err
Listen 127.0.0.1:80
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule alias_module $modules/mod_alias.so
LoadModule rewrite_module $modules/mod_rewrite.so
LoadModule cgid_module $modules/mod_cgid.so
ScriptSock $scratch/cgid
Include $scratch/site.conf
CONF
    apache2 -t -f "$scratch/apache.conf" 2>"$scratch/apache-t.err" || fail 'apache2 -t'
    apache2 -X -f "$scratch/apache.conf" 2>"$scratch/apache.err" &
    server=$!
    plays Apache
    kill -TERM $server
    wait $server 2>/dev/null # nor does this one's
else
    echo 'not shown here: Apache is not here (Debian: apache2)'
fi
echo 'ok: the examples work'
