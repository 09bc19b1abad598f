#!/bin/sh
# Removes from an installed node_modules only what Linux never loads: other platforms' binaries, source maps, types.
set -eu
modules=$1

find "$modules" -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete
for platform in "$modules"/koffi/build/koffi/*; do
  case "${platform##*/}" in
    linux_x64 | linux_arm64) ;;
    *) rm -rf "$platform" ;;
  esac
done
