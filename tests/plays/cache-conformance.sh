#!/usr/bin/env bash
# The tests of http-cache-tests against imgcache: what passed once must go on passing.
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../conformance/run" "$1" "$here/../../target/conformance"
