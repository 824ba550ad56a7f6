#!/usr/bin/env bash
# Builds dist/tocsin_VERSION_ARCH.deb: the static binary, its unit, its sample
# configuration, completions and licences. VERSION is the last tag's, or says of
# which commit it is; ARCH is this machine's, or amd64 or arm64. DIST is where
# it is put. The same commit gives the same package.
set -euo pipefail
cd "$(dirname "$0")/.."

commit=$(git rev-parse --short=12 HEAD)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
if [ -z "${VERSION:-}" ]; then
	VERSION=$(git describe --tags --match 'v[0-9]*' --exact-match 2>/dev/null | sed 's/^v//') ||
		VERSION=0.0.0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$commit
fi
ARCH=${ARCH:-$(go env GOARCH)}
DIST=${DIST:-dist}
export VERSION ARCH SOURCE_DATE_EPOCH

cli=github.com/tocsin-events/tocsin/internal/cli
flags=(-trimpath -ldflags "-s -w -X $cli.stamped=$VERSION -X $cli.defaultData=/var/lib/tocsin")
stage=dist/stage
rm -rf "$stage"
mkdir -p "$stage" "$DIST"
CGO_ENABLED=0 GOOS=linux GOARCH=$ARCH go build "${flags[@]}" -o "$stage/tocsin" ./cmd/tocsin

# Completions and licences come from the program, in the form that runs here.
here=$stage/tocsin
if [ "$ARCH" != "$(go env GOHOSTARCH)" ]; then
	here=$stage/here
	CGO_ENABLED=0 GOOS= GOARCH= go build "${flags[@]}" -o "$here" ./cmd/tocsin
fi
for shell in bash zsh fish; do "$here" completion $shell >"$stage/tocsin.$shell"; done
"$here" version --licences | gzip -9n >"$stage/licences.txt.gz"
gzip -9nc CHANGELOG.md >"$stage/changelog.gz"

bin/nfpm package --config packaging/nfpm.yaml --packager deb --target "$DIST/tocsin_${VERSION}_$ARCH.deb" >/dev/null
echo "$DIST/tocsin_${VERSION}_$ARCH.deb"
