#!/bin/sh
# Fails when a tracked file names a path of somebody's machine or the host of a
# package registry (packages are named, their hosts are the user's business).
#
#   scripts/check_paths.sh
set -eu
cd "$(dirname "$0")/.."

git rev-parse --git-dir >/dev/null 2>&1 || { echo "check_paths: no git checkout, nothing to check" >&2; exit 0; }

paths='(^|[^A-Za-z0-9_.])/(work|farm|root|home|Users)/[a-z.]'
hosts='pypi[.]org|pythonhosted[.]org|npmjs[.]org|deb[.]debian[.]org|(static|index)[.]crates[.]io'
if git grep -nIE "$paths|$hosts" -- . ':!Cargo.lock' >&2; then
    echo "check_paths: error: the lines above name a machine's path or a registry's host" >&2
    exit 1
fi
echo "check_paths: no machine's path in a tracked file" >&2
