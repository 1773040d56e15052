#!/usr/bin/env bash
# Resolve every extra in a fresh environment and write the versions to constraints.txt.
# torch keeps its exact pin, without the local version of the wheel at hand; what only its CUDA build needs is left to pip.
set -euo pipefail
python=${1:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install -q ".[worker,local,hub,s3,dev]"
{
  echo "# Written by 'make lock'. Every version that was resolved and tested together."
  "$folder/bin/python" -m pip freeze --exclude wasserscope | grep -viE '^(nvidia-|triton|cuda)' | sed -E 's/^(torch==[0-9.]+)\+.*/\1/'
} > constraints.txt
