#!/usr/bin/env bash
# A Chromium for the browser tests: the system's, else Debian's package (as root), else Playwright's own download.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
  command -v "$name" > /dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null && exit 0
fi
python -m playwright install chromium || {
  echo "No Chromium: install your system's package 'chromium', or let 'playwright install chromium' reach the network." >&2
  exit 1
}
