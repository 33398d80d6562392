#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs a build into an empty prefix, moves it, and uses what is there from
# a program outside the tree, found by pkg-config and by CMake.
#
#   tests/abi/install_test.sh BUILD_DIRECTORY VERSION
set -euo pipefail

consumer=$(cd "$(dirname "$0")" && pwd)/consumer
build=$1
version=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "install: $*" >&2
    exit 1
}

# expect WHAT COMMAND...: the consumer's one line, from a store of its own.
expect() {
    local what=$1 said
    shift
    said=$("$@" "sqlite://$dir/$what.db") || fail "$what does not run"
    [ "$said" = "$version sqlite" ] || fail "$what says '$said'"
    echo "install: $what works"
}

if ! cmake --install "$build" --prefix "$dir/first" >"$dir/log" 2>&1; then
    cat "$dir/log"
    fail "cmake --install failed"
fi
mv "$dir/first" "$dir/prefix"

pc=$(find "$dir/prefix" -name executr.pc -printf '%h')
[ -n "$pc" ] || fail "executr.pc was not installed"
export PKG_CONFIG_PATH=$pc
[ "$(pkg-config --modversion executr)" = "$version" ] ||
    fail "executr.pc has the version $(pkg-config --modversion executr)"
# shellcheck disable=SC2046  # flags are words
gcc -std=c11 -Wall -Wextra -Werror "$consumer/main.c" -o "$dir/by_pkgconfig" \
    $(pkg-config --cflags --libs executr)
libdir=$(pkg-config --variable=libdir executr)
expect pkg-config env LD_LIBRARY_PATH="$libdir" "$dir/by_pkgconfig"

# The installed library is found through the prefix, not through pkg-config.
unset PKG_CONFIG_PATH
if ! { cmake -S "$consumer" -B "$dir/consumer" -G Ninja \
    -DCMAKE_PREFIX_PATH="$dir/prefix" &&
    cmake --build "$dir/consumer"; } >"$dir/log" 2>&1; then
    cat "$dir/log"
    fail "the CMake package does not work"
fi
expect cmake-shared "$dir/consumer/consumer_shared"
expect cmake-static "$dir/consumer/consumer_static"
if ldd "$dir/consumer/consumer_static" | grep -q libexecutr; then
    fail "executr::static links the shared library"
fi

# Programs run without being told where the library is.
for program in "$dir"/prefix/bin/*; do
    [ -e "$program" ] || break
    said=$(env -u LD_LIBRARY_PATH "$program" --version) ||
        fail "$(basename "$program") --version does not run"
    case $said in
    *"$version"*) echo "install: $(basename "$program") runs" ;;
    *) fail "$(basename "$program") --version says '$said'" ;;
    esac
done

# Machines of executors need no database library, nor memory for one.
if [ -e "$dir/prefix/bin/executr-executor" ] &&
    ldd "$dir/prefix/bin/executr-executor" | grep -E 'libpq|libsqlite'; then
    fail "executr-executor loads a database library"
fi
