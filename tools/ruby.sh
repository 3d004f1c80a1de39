#!/bin/sh
# The Ruby binding.
#
#   tools/ruby.sh test    the tests, which run Ruby from Python
#   tools/ruby.sh lint    the syntax, Ruby's warnings, and the style of each file
set -eu
cd "$(dirname "$0")/.."

if ! ruby -e 'require "ffi"; require "pg"; require "active_record"; require "sequel"' 2>/dev/null; then
    echo "skipped: the Ruby binding: no Ruby with ffi, pg, Active Record and Sequel on this machine" \
        "(Debian: apt-get install ruby ruby-ffi ruby-pg ruby-activerecord ruby-railties ruby-sequel)"
    exit 0
fi

case $1 in
    test)
        exec python -m pytest -c pytest.ini --rootdir . bindings-ruby/tests
        ;;
    lint)
        find bindings-ruby examples/ruby benchmarks/ruby -name '*.rb' -o -name '*.gemspec' | while read -r file; do
            found=$(ruby -wc "$file" 2>&1)
            [ "$found" = "Syntax OK" ] || { echo "$file: $found"; exit 1; }
        done
        if ! command -v rubocop >/dev/null; then
            echo "skipped: the style of Ruby: no rubocop on this machine (Debian: apt-get install rubocop)"
            exit 0
        fi
        rubocop --config bindings-ruby/.rubocop.yml --format quiet bindings-ruby examples/ruby benchmarks/ruby
        ;;
    *)
        sed -n '2,6p' "$0"
        exit 2
        ;;
esac
