#!/bin/sh
# Publishes the parts of a release that are no upload of one file. Run by the workflow `release` after its approval.
#
#   tools/publish.sh maven       the jars of dist with their POMs, signed, as one bundle for the Maven Central portal
#   tools/publish.sh go          commits the archives of dist beside the Go modules, and tags every module at that commit
#   tools/publish.sh composer    commits the package for PHP to a repository of its own, with a tag
#
# DRY_RUN=1 leaves out the uploads and pushes.
# Variables: MAVEN_USER, MAVEN_PASSWORD (a token of the portal), MAVEN_GPG_KEY, MAVEN_GPG_PASSPHRASE, COMPOSER_DEPLOY_KEY.
set -eu
cd "$(dirname "$0")/.."

build=${CARGO_TARGET_DIR:-$PWD/target}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
GROUP=io/github/pgentra

# Runs a command, or prints it with DRY_RUN=1.
publish() {
    if [ -n "${DRY_RUN:-}" ]; then
        echo "dry run: $1"
    else
        "$@"
    fi
}

maven() {
    bundle=$build/maven
    rm -rf "$bundle"
    for module in pgentra pgentra-azure pgentra-spring-boot-starter; do
        folder=$bundle/$GROUP/$module/$version
        mkdir -p "$folder"
        # Of pgentra's jars, those of no other module: `pgentra-0.1.0.jar`, `-sources`, `-javadoc`, the classifiers.
        cp dist/"$module-$version"*.jar "$folder"
        cp "bindings-java/$module/pom.xml" "$folder/$module-$version.pom"
    done
    mkdir -p "$bundle/$GROUP/pgentra-parent/$version"
    cp bindings-java/pom.xml "$bundle/$GROUP/pgentra-parent/$version/pgentra-parent-$version.pom"
    if [ -n "${MAVEN_GPG_KEY:-}" ]; then
        echo "$MAVEN_GPG_KEY" | gpg --batch --quiet --import
    fi
    find "$bundle" -type f | while read -r file; do
        md5sum "$file" | cut -d ' ' -f 1 >"$file.md5"
        sha1sum "$file" | cut -d ' ' -f 1 >"$file.sha1"
        [ -n "${DRY_RUN:-}" ] || gpg --batch --quiet --pinentry-mode loopback --passphrase "$MAVEN_GPG_PASSPHRASE" --armor --detach-sign "$file"
    done
    (cd "$bundle" && python3 -m zipfile -c "$build/maven-bundle.zip" io)
    publish curl --fail --silent --show-error --user "${MAVEN_USER:-}:${MAVEN_PASSWORD:-}" \
        --form bundle=@"$build/maven-bundle.zip" \
        "https://central.sonatype.com/api/v1/publisher/upload?name=pgentra-$version&publishingType=AUTOMATIC"
}

# The modules of the libraries need the archive in their folder, which is not in the main branch.
go() {
    work=$build/go-release
    rm -rf "$work"
    git clone --quiet --shared . "$work"
    for platform in linux_amd64 linux_arm64 darwin_arm64; do
        cp "dist/go-$platform-libpgentra.a" "$work/bindings-go/lib/$platform/libpgentra.a"
        git -C "$work" add --force "bindings-go/lib/$platform/libpgentra.a"
    done
    git -C "$work" -c user.name=pgentra -c user.email=pgentra@users.noreply.github.com commit --quiet \
        --message "build(go): archives of $version"
    tags=
    for module in . lib/linux_amd64 lib/linux_arm64 lib/darwin_arm64 pgxentra pqentra azcoreentra; do
        tag=bindings-go/$module/v$version
        tag=$(echo "$tag" | sed 's|/\./|/|')
        git -C "$work" tag "$tag"
        tags="$tags refs/tags/$tag"
    done
    # shellcheck disable=SC2086  # one word for each tag
    publish git -C "$work" push --quiet "$(git remote get-url origin 2>/dev/null || echo origin)" $tags
    # shellcheck disable=SC2086
    printf '%s\n' $tags
}

composer() {
    repository=git@github.com:pgentra/pgentra-php.git work=$build/composer-release
    rm -rf "$work"
    if [ -n "${DRY_RUN:-}" ]; then
        git init --quiet --initial-branch main "$work"
    else
        key=$(mktemp)
        trap 'rm -f "$key"' EXIT
        echo "$COMPOSER_DEPLOY_KEY" >"$key"
        export GIT_SSH_COMMAND="ssh -i $key -o StrictHostKeyChecking=accept-new"
        git clone --quiet "$repository" "$work"
        git -C "$work" rm -r --quiet --ignore-unmatch .
    fi
    tools/package.sh composer >/dev/null
    cp -R "$build/composer/." "$work"
    git -C "$work" add --all
    git -C "$work" -c user.name=pgentra -c user.email=pgentra@users.noreply.github.com commit --quiet --message "pgentra $version"
    git -C "$work" tag "v$version"
    git -C "$work" show --stat --oneline HEAD | tail -1
    publish git -C "$work" push --quiet "$repository" HEAD:main "v$version"
}

case "${1:-}" in
    maven) maven ;;
    go) go ;;
    composer) composer ;;
    *) sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2; exit 2 ;;
esac
