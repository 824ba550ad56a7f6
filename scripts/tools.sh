#!/usr/bin/env bash
# Installs what the tests need besides Go: restic, borg, openssl, strace, systemd
# (for systemd-analyze, and as process 1 of namespaces of its own) with its bus, nfpm, the CloudEvents SDKs for Python and
# JavaScript, and schemathesis. It asks nothing,
# does nothing when all is there, and ends well also where something can't be
# installed: then it says what and why, and the tests that need it say so again
# (they skip; with CI=true they fail).
set -uo pipefail
cd "$(dirname "$0")/.."

cache=.cache
cloudevents_js=10.0.0
webhooks_js=1.1.1
github_examples=7.6.1
playwright=1.65.1
axe=4.14.1
vnu=26.9.27
pebble=v2.10.1
stamp=$cache/tools.stamp
mkdir -p "$cache"
want=$(cat scripts/tools.sh scripts/requirements.txt | sha256sum | cut -d' ' -f1)

# have PROGRAM…: all of them are there. One command -v is content with any.
have() {
	local one
	for one; do command -v "$one" >/dev/null || return 1; done
}

# complete: everything is there, by looking, so that a removed folder is noticed.
complete() {
	[ "$(cat "$stamp" 2>/dev/null)" = "$want" ] &&
		have restic borg openssl systemd-analyze journalctl dbus-daemon strace rsyslogd prometheus-alertmanager prometheus && [ -x bin/nfpm ] &&
		have cscli rspamd postfix clamd clamonacc yara redis-server &&
		have certbot lego caddy aide mariadbd mkfs.btrfs mkfs.ext4 setquota insmod && [ -x /usr/lib/postgresql/15/bin/postgres ] &&
		[ -x bin/pebble ] && [ -x bin/pebble-challtestsrv ] && [ -x $cache/uml/usr/bin/linux.uml ] &&
		[ -x $cache/venv/bin/schemathesis ] &&
		have chromium java &&
		[ -f $cache/npm/node_modules/vnu-jar/package.json ] &&
		[ -f $cache/npm/node_modules/standardwebhooks/package.json ] &&
		[ -f $cache/npm/node_modules/@octokit/webhooks-examples/package.json ] &&
		[ -f $cache/npm/node_modules/cloudevents/package.json ]
}
if complete; then exit 0; fi

failed=0
missing() {
	echo "tools: $1 is missing: $2" >&2
	failed=1
}

# quietly COMMAND…: its last words only, and only when it fails.
log=$cache/tools.log
quietly() { "$@" >"$log" 2>&1 </dev/null; }
reason() { grep -v '^[[:space:]]*$' "$log" | tail -n 1; }

packages=()
command -v restic >/dev/null || packages+=(restic)
command -v borg >/dev/null || packages+=(borgbackup)
command -v openssl >/dev/null || packages+=(openssl)
command -v systemd-analyze >/dev/null || packages+=(systemd)
# systemd tells of its services on a bus, and its journal is read by journalctl.
command -v dbus-daemon >/dev/null || packages+=(dbus)
command -v strace >/dev/null || packages+=(strace)
# Real receivers of what the transports send.
command -v rsyslogd >/dev/null || packages+=(rsyslog rsyslog-gnutls)
command -v prometheus-alertmanager >/dev/null || packages+=(prometheus-alertmanager)
# A real sender of alerts.
command -v prometheus >/dev/null || packages+=(prometheus)
command -v python3 >/dev/null || packages+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
# The pages are driven in a browser, and their HTML is validated.
command -v chromium >/dev/null || packages+=(chromium fonts-dejavu-core)
command -v java >/dev/null || packages+=(default-jre-headless)
# What the host sources watch: a mail server with its filter, scanners, CrowdSec.
command -v postfix >/dev/null || packages+=(postfix)
command -v rspamd >/dev/null || packages+=(rspamd)
command -v redis-server >/dev/null || packages+=(redis-server)
command -v clamd >/dev/null && command -v clamonacc >/dev/null || packages+=(clamav-daemon)
command -v yara >/dev/null || packages+=(yara)
if ! command -v cscli >/dev/null; then
	packages+=(crowdsec)
	# Without this file the package registers the machine with CrowdSec's central API while it
	# is installed, and where it can't, it stays half installed.
	before_crowdsec='mkdir -p /etc/crowdsec && { [ -e /etc/crowdsec/online_api_credentials.yaml ] ||
		echo "# no central API" >/etc/crowdsec/online_api_credentials.yaml; }'
fi
# Clients of ACME, whose certificates are watched (pebble, below, is the authority).
command -v certbot >/dev/null || packages+=(certbot)
command -v lego >/dev/null || packages+=(lego)
command -v caddy >/dev/null || packages+=(caddy)
# The integrity scan, and databases whose root password is changed.
command -v aide >/dev/null || packages+=(aide)
command -v mariadbd >/dev/null || packages+=(mariadb-server)
[ -x /usr/lib/postgresql/15/bin/postgres ] || packages+=(postgresql-15)
# File systems with quotas; insmod for the kernel in which they are tried.
command -v mkfs.btrfs >/dev/null || packages+=(btrfs-progs)
command -v mkfs.ext4 >/dev/null || packages+=(e2fsprogs)
command -v setquota >/dev/null || packages+=(quota)
command -v insmod >/dev/null || packages+=(kmod)
# The race detector needs a C compiler.
command -v cc >/dev/null || packages+=(gcc libc6-dev)
if [ ${#packages[@]} -gt 0 ]; then
	root=()
	[ "$(id -u)" = 0 ] || root=(sudo -n)
	# RUNLEVEL=1: no package starts its daemon. The lock is waited for.
	apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -o DPkg::Lock::Timeout=120)
	if [ -n "${before_crowdsec:-}" ] && ! quietly "${root[@]}" sh -c "$before_crowdsec"; then
		missing crowdsec "$(reason)"
	fi
	if ! command -v apt-get >/dev/null; then
		missing "${packages[*]}" "this is no Debian; install these by hand"
	elif ! quietly "${apt[@]}" install -y --no-install-recommends "${packages[@]}" &&
		! { quietly "${apt[@]}" update && quietly "${apt[@]}" install -y --no-install-recommends "${packages[@]}"; }; then
		missing "${packages[*]}" "$(reason)"
	fi
fi

if [ ! -x bin/nfpm ] && ! quietly make --no-print-directory "$PWD/bin/nfpm"; then
	missing nfpm "$(reason)"
fi

# An authority for ACME that is made for tests.
if [ ! -x bin/pebble ] || [ ! -x bin/pebble-challtestsrv ]; then
	GOBIN=$PWD/bin quietly go install "github.com/letsencrypt/pebble/v2/cmd/pebble@$pebble" "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv@$pebble" ||
		missing pebble "$(reason)"
fi

# User-Mode Linux, unpacked and not installed: a kernel with quotas, as a process.
if [ ! -x $cache/uml/usr/bin/linux.uml ] && command -v apt-get >/dev/null; then
	mkdir -p $cache/uml
	if ! (cd $cache/uml && rm -f ./*.deb && apt-get download user-mode-linux && dpkg -x user-mode-linux_*.deb . && rm -f ./*.deb) >"$log" 2>&1 </dev/null; then
		missing user-mode-linux "$(reason)"
	fi
fi

if command -v python3 >/dev/null; then
	[ -x $cache/venv/bin/pip ] || quietly python3 -m venv --clear $cache/venv
	if ! quietly $cache/venv/bin/pip install --disable-pip-version-check --no-input -r scripts/requirements.txt; then
		missing "schemathesis and the Python SDK" "$(reason)"
	fi
fi

if command -v npm >/dev/null; then
	mkdir -p $cache/npm
	[ -f $cache/npm/package.json ] || echo '{"private": true}' >$cache/npm/package.json
	if ! quietly npm install --prefix $cache/npm --no-audit --no-fund --ignore-scripts --save-exact "cloudevents@$cloudevents_js" "standardwebhooks@$webhooks_js" "@octokit/webhooks-examples@$github_examples" \
		"playwright-core@$playwright" "axe-core@$axe" "vnu-jar@$vnu"; then
		missing "the JavaScript packages" "$(reason)"
	fi
fi

if [ $failed = 0 ]; then echo "$want" >"$stamp"; fi
exit 0
