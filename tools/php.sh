#!/bin/sh
# The PHP binding.
#
#   tools/php.sh test    the tests, which run PHP from Python
#   tools/php.sh lint    the syntax and style of each file
set -eu
cd "$(dirname "$0")/.."

packages='php-cli php-fpm php-pgsql php-doctrine-dbal php-illuminate-database php-psr-log php-codesniffer'
if ! php -m 2>/dev/null | grep -q '^FFI$'; then
    echo "skipped: the PHP binding: no PHP with FFI on this machine (Debian: apt-get install $packages)"
    exit 0
fi

case $1 in
    test)
        exec python -m pytest -c pytest.ini --rootdir . bindings-php/tests
        ;;
    lint)
        find bindings-php examples/php benchmarks/php -name '*.php' -print0 | xargs -0 -n 1 php -l >/dev/null
        if ! command -v phpcs >/dev/null; then
            echo "skipped: the style of PHP: no phpcs on this machine (Debian: apt-get install php-codesniffer)"
            exit 0
        fi
        phpcs --standard=bindings-php/phpcs.xml -q bindings-php examples/php benchmarks/php
        ;;
    *)
        sed -n '2,6p' "$0"
        exit 2
        ;;
esac
