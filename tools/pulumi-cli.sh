#!/usr/bin/env bash
# Print the path of a pulumi command: $PILOT_PULUMI, else the one on PATH, else one built with Go
# from its module into ${XDG_CACHE_HOME:-~/.cache}/pilot, which outlives the checkout.
#
# The first build takes some minutes and 500 MB of Go's caches; later calls take none of either.
set -euo pipefail

version=3.274.1 # find_pulumi() in controller/engine.py looks for the same

if [[ -n ${PILOT_PULUMI:-} ]]; then
  printf '%s\n' "$PILOT_PULUMI"
  exit
fi
if command -v pulumi; then
  exit
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/pilot
target=$cache/pulumi-$version/pulumi
if [[ -x $target ]]; then
  printf '%s\n' "$target"
  exit
fi

if ! command -v go >/dev/null; then
  {
    echo "pulumi-cli.sh: no pulumi command on PATH, and no Go to build it with"
    echo "  either install pulumi (https://www.pulumi.com/docs/iac/download-install/)"
    echo "  or install Go 1.21 or newer (https://go.dev/doc/install) and run this again"
  } >&2
  exit 1
fi

mkdir -p "${target%/*}"
# Two builds at once do no harm, for the result is moved into place whole; the lock saves the work.
if command -v flock >/dev/null; then
  exec 9>"$target.lock"
  flock 9
  if [[ -x $target ]]; then
    printf '%s\n' "$target"
    exit
  fi
fi

build=$(mktemp -d)
trap 'rm -rf "$build" "$target.$$"' EXIT

# `go install` refuses a module that has replace directives; a module of our own may repeat them.
cat >"$build/go.mod" <<EOF
module pilot.local/pulumi-cli

go 1.26.6

require github.com/pulumi/pulumi/pkg/v3 v$version

replace github.com/atotto/clipboard => github.com/tgummerer/clipboard v0.0.0-20241001131231-d02d263e614e
EOF

echo "pulumi-cli.sh: building pulumi $version into $cache; this takes some minutes, once" >&2
# The Automation API refuses a command that does not know its own version.
(cd "$build" && go build -mod=mod -o "$target.$$" \
  -ldflags "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v$version" \
  github.com/pulumi/pulumi/pkg/v3/cmd/pulumi) >&2
mv "$target.$$" "$target"
printf '%s\n' "$target"
