#!/bin/sh
# Removes from the LiteLLM environment what a proxy without database, pages, audio and profiler never imports.
set -eu
packages=$(echo "$1"/lib/python3*/site-packages)

rm -rf "$packages"/polars* "$packages"/_polars_runtime* "$packages"/pyroscope* "$packages"/litellm/proxy/_experimental/out \
  "$packages"/pip "$packages"/pip-*.dist-info
find "$packages" -type d \( -name tests -o -name test \) -path '*/numpy/*' -prune -exec rm -rf {} +
