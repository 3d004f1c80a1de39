#!/bin/sh
# Builds what a release consists of, for one target, into dist/.
#
#   tools/package.sh wheels TARGET [PYTHON]  Python's wheel for all Pythons, or for one that is free-threaded
#   tools/package.sh addon TARGET            Node's addon; `npm` packs them all
#   tools/package.sh library TARGET          libpgentra: an archive, and dist/native/TARGET for the packages below
#   tools/package.sh program TARGET          an archive of the program pgentra, with completions and man pages
#   tools/package.sh emulator TARGET         the emulator: an archive, a wheel, and dist/emulator/TARGET for `npm`
#   tools/package.sh npm                     the npm packages of all addons and emulators of dist
#   tools/package.sh nuget                   the .NET packages with every library of dist/native
#   tools/package.sh gems                    a gem for each library of dist/native
#   tools/package.sh composer                the package for Composer
#   tools/package.sh sbom                    software bills of materials, in CycloneDX's format
#   tools/package.sh checksums               SHA256SUMS of all files of dist
#
# Artifacts for Linux are linked by zig for glibc 2.28 (tools/glibc.py) or for musl, except the program, which is static.
# The programs maturin, cargo-zigbuild, npm, dotnet, gem and cargo-cyclonedx are found in PATH.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
command=${1:-} target=${2:-}
build=${CARGO_TARGET_DIR:-$PWD/target} dist=$PWD/dist
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
mkdir -p "$dist"

# The names of a target in the packages of each language.
runtime_identifier() {
    case "$1" in
        x86_64-unknown-linux-gnu) echo linux-x64 ;;
        aarch64-unknown-linux-gnu) echo linux-arm64 ;;
        x86_64-unknown-linux-musl) echo linux-musl-x64 ;;
        aarch64-unknown-linux-musl) echo linux-musl-arm64 ;;
        x86_64-apple-darwin) echo osx-x64 ;;
        aarch64-apple-darwin) echo osx-arm64 ;;
        x86_64-pc-windows-msvc) echo win-x64 ;;
        aarch64-pc-windows-msvc) echo win-arm64 ;;
        *) echo "unknown target: $1" >&2 && exit 2 ;;
    esac
}

gem_platform() {
    case "$1" in
        x86_64-unknown-linux-*) echo "x86_64-linux-${1##*-}" ;;
        aarch64-unknown-linux-*) echo "aarch64-linux-${1##*-}" ;;
        x86_64-apple-darwin) echo x86_64-darwin ;;
        aarch64-apple-darwin) echo arm64-darwin ;;
        x86_64-pc-windows-msvc) echo x64-mingw-ucrt ;;
        # Ruby for Windows on ARM is experimental.
        *) return 1 ;;
    esac
}

node_platform() {
    case "$1" in
        x86_64-*) machine=x64 ;;
        *) machine=arm64 ;;
    esac
    case "$1" in
        *linux-*) echo "linux-$machine-${1##*-}" ;;
        *apple-darwin) echo "darwin-$machine" ;;
        *) echo "win32-$machine-msvc" ;;
    esac
}

# cargo_build PROFILE PACKAGE: builds for the target.
cargo_build() {
    case "$target" in
        *linux-gnu) cargo zigbuild --quiet --profile "$1" -p "$2" --target "$target.2.28" ;;
        # A shared library links the system's musl.
        *linux-musl) RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=-crt-static" cargo zigbuild --quiet --profile "$1" -p "$2" --target "$target" ;;
        *) cargo build --quiet --profile "$1" -p "$2" --target "$target" ;;
    esac
}

# archive NAME FOLDER: packs the files of a folder into dist/NAME-VERSION-TARGET, by names alone.
archive() {
    cp LICENSE CHANGELOG.md "$2"
    name=$1-$version-$target
    rm -rf "$build/archive"
    mkdir -p "$build/archive"
    cp -R "$2" "$build/archive/$name"
    tar -C "$build/archive" -czf "$dist/$name.tar.gz" "$name"
    ls "$dist/$name.tar.gz"
}

wheels() {
    set -- maturin build --quiet --profile release --manifest-path bindings-python/Cargo.toml --out "$dist" \
        --target "$target" --interpreter "${3:-$PYTHON}"
    case "$target" in
        *linux-gnu) set -- "$@" --zig --compatibility manylinux_2_28 ;;
        *linux-musl) set -- "$@" --zig --compatibility musllinux_1_2 ;;
    esac
    "$@"
}

addon() {
    mkdir -p "$dist/addons"
    set -- --output-dir "$dist/addons" --target "$target"
    case "$target" in
        *linux-gnu) set -- --output-dir "$dist/addons" --target "$target.2.28" --cross-compile ;;
        *linux-musl) set -- "$@" --cross-compile ;;
    esac
    npm run --silent --prefix bindings-node build:release -- "$@"
}

library() {
    cargo_build shared pgentra-c
    built=$build/$target/shared native=$dist/native/$target stage=$build/stage
    rm -rf "$native" "$stage"
    mkdir -p "$native" "$stage/include" "$stage/lib"
    case "$target" in
        *linux*)
            case "$target" in *gnu) "$PYTHON" tools/glibc.py check "$built/libpgentra.so" ;; esac
            strip='strip'
            [ "$(uname -m)-unknown-linux" = "${target%-*}" ] || strip="${target%%-*}-linux-gnu-strip"
            $strip --strip-unneeded -o "$native/libpgentra.so" "$built/libpgentra.so"
            # The layout of `make install`, which can be moved.
            rm -rf "$stage"
            bindings-c/install/install.sh "$built" / "$stage"
            ;;
        *apple*)
            strip -x -o "$native/libpgentra.dylib" "$built/libpgentra.dylib"
            cp bindings-c/include/*.h* "$stage/include"
            cp "$native/libpgentra.dylib" "$built/libpgentra.a" "$stage/lib"
            ;;
        *windows*)
            cp "$built/pgentra.dll" "$native"
            cp bindings-c/include/*.h* "$stage/include"
            cp "$built/pgentra.dll" "$built/pgentra.dll.lib" "$built/pgentra.lib" "$stage/lib"
            ;;
    esac
    archive libpgentra "$stage"
}

program() {
    tools/cli.sh build
    tools/cli.sh install "" "$build/stage-program"
    archive pgentra "$build/stage-program"
}

emulator() {
    PROFILE=release tools/emulator.sh wheel "$target"
    cp .cache/emulator/*.whl "$dist"
    PROFILE=release tools/emulator.sh binary "$target"
    rm -rf "$build/stage-emulator"
    mkdir -p "$build/stage-emulator" "$dist/emulator/$target"
    cp ".cache/emulator/pgentra-emulator-$target" "$build/stage-emulator/pgentra-emulator"
    cp ".cache/emulator/pgentra-emulator-$target" "$dist/emulator/$target/pgentra-emulator"
    cp emulator/README.md "$build/stage-emulator"
    archive pgentra-emulator "$build/stage-emulator"
}

npm_packages() {
    [ ! -d "$dist/addons" ] || node bindings-node/scripts/pack.mjs "$dist" "$dist/addons"
    set --
    for folder in "$dist"/emulator/*; do
        [ -d "$folder" ] && set -- "$@" "$(node_platform "$(basename "$folder")")=$folder/pgentra-emulator"
    done
    [ $# = 0 ] || node emulator/npm/pack.mjs "$dist" "$@"
}

nuget() {
    runtimes=$build/runtimes
    rm -rf "$runtimes"
    for folder in "$dist"/native/*; do
        mkdir -p "$runtimes/$(runtime_identifier "$(basename "$folder")")"
        cp "$folder"/* "$runtimes/$(runtime_identifier "$(basename "$folder")")"
    done
    for project in PgEntra PgEntra.AzureCore; do
        PgEntraRuntimes=$runtimes dotnet pack "bindings-dotnet/src/$project" -c Release -v q -nologo -o "$dist"
    done
}

gems() {
    for folder in "$dist"/native/*; do
        platform=$(gem_platform "$(basename "$folder")") || continue
        stage=$build/gem
        rm -rf "$stage"
        cp -RL bindings-ruby "$stage"
        cp LICENSE "$stage"
        mkdir -p "$stage/lib/pgentra/native"
        for file in "$folder"/*; do
            # The names that lib/pgentra/library.rb looks for.
            case "$file" in
                *.so) cp "$file" "$stage/lib/pgentra/native/libpgentra.so.1" ;;
                *.dylib) cp "$file" "$stage/lib/pgentra/native/libpgentra.1.dylib" ;;
                *) cp "$file" "$stage/lib/pgentra/native" ;;
            esac
        done
        (cd "$stage" && PGENTRA_GEM_PLATFORM=$platform gem build --silent pgentra.gemspec)
        mv "$stage"/*.gem "$dist"
    done
    ls "$dist"/*.gem
}

composer() {
    stage=$build/composer
    rm -rf "$stage" "$dist/pgentra-php-$version.zip"
    mkdir -p "$stage"
    cp -R bindings-php/composer.json bindings-php/README.md bindings-php/preload.php bindings-php/src LICENSE "$stage"
    (cd "$stage" && "$PYTHON" -m zipfile -c "$dist/pgentra-php-$version.zip" ./*)
    ls "$dist/pgentra-php-$version.zip"
}

# One for each artifact; maturin puts its own into the wheels.
sbom() {
    for crate in core proxy emulator cli drivers bindings-c/library bindings-node bindings-java/native; do
        cargo cyclonedx --quiet --manifest-path "$crate/Cargo.toml" --format json --override-filename sbom
        mv "$crate/sbom.json" "$dist/$(echo "$crate" | tr / -)-$version.cdx.json"
    done
    # It describes every member of the workspace beside its manifest.
    find . -name sbom.json -not -path './target/*' -not -path './dist/*' -delete
}

checksums() {
    rm -f "$dist/SHA256SUMS"
    sums=$(cd "$dist" && find . -maxdepth 1 -type f | sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum)
    echo "$sums" | tee "$dist/SHA256SUMS"
}

case "$command" in
    wheels) wheels "$@" ;;
    addon | library | program | emulator | nuget | gems | composer | sbom | checksums) "$command" ;;
    npm) npm_packages ;;
    *) sed -n 's/^# \{0,1\}//; 2,19p' "$0" >&2; exit 2 ;;
esac
