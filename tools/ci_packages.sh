#!/bin/sh
# Installs the Debian packages that the tests need and that are missing: PgBouncer for the tests of `pgentra agent`,
# Chromium for those of the documentation site, PHP and Ruby with their drivers, frameworks and linters.
set -eu

command -v apt-get >/dev/null || exit 0
missing=
packages='pgbouncer chromium
    php-cli php-fpm php-pgsql php-doctrine-dbal php-illuminate-database php-illuminate-events php-psr-log php-codesniffer
    ruby ruby-ffi ruby-pg ruby-activerecord ruby-railties ruby-sequel rubocop'
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -qq
# The packages are words of their own. Their services are not started: the tests start them.
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install --yes --no-install-recommends $missing
