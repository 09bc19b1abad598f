#!/bin/sh
# Removes from an installed node_modules only what Linux never loads: other platforms' binaries, source maps, types, headers.
set -eu
modules=$1

find "$modules" -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete
rm -rf "$modules"/node-linux-*/include "$modules"/node-linux-*/share # headers for native builds, manual pages
for platform in "$modules"/koffi/build/koffi/*; do
  case "${platform##*/}" in
    linux_x64 | linux_arm64) ;;
    *) rm -rf "$platform" ;;
  esac
done
