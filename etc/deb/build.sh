#!/bin/sh
# Build dist/pypid-server_VERSION_ARCH.deb: pypid in a virtual environment of its own below /opt/pypid, for the Debian or Ubuntu
# release that builds it (`make deb`; on another machine, with any pip as $PIP, from the top of the source):
#
#   PIP='.venv/bin/python -m pip' DEB_PYTHON=/usr/bin/python3 EXTRAS=all sh etc/deb/build.sh
#
# Needs dpkg-dev (dpkg-shlibdeps). DEB_COMPRESSION=none is for tests.
set -eu

PIP=${PIP:-python3 -m pip}
DEB_PYTHON=${DEB_PYTHON:-/usr/bin/python3}
EXTRAS=${EXTRAS:-all}
work=$(pwd)/build/deb
root=$work/root
home=$root/opt/pypid
share=$root/usr/share/doc/pypid-server

command -v dpkg-shlibdeps >/dev/null || { echo "dpkg-shlibdeps is missing. Run: apt install dpkg-dev" >&2; exit 1; }
"$DEB_PYTHON" -c 'import sys; sys.exit(sys.prefix != "/usr")' || {
    echo "$DEB_PYTHON is not the Python of this system, which the package depends on. Use DEB_PYTHON=/usr/bin/python3." >&2
    exit 1
}
minor=$("$DEB_PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next=$("$DEB_PYTHON" -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
arch=$(dpkg --print-architecture)
release=$(. /etc/os-release && echo "$ID$VERSION_ID" | sed 's/^debian/deb/')
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/pypid/__init__.py | sed 's/\.\?\(dev\|a\|b\|rc\)\([0-9]\)/~\1\2/')+$release

rm -rf "$work"
mkdir -p "$root/DEBIAN" dist

# The virtual environment: links lead to /usr/bin/python3.X, scripts begin with its final path, and no file names this folder.
"$DEB_PYTHON" -m venv --without-pip "$home"
# shellcheck disable=SC2086
$PIP --python "$home/bin/python3" --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt \
    ".[$EXTRAS]"
# Not in the same call: there pip looks for pypid-server in an index, before it learns that the source tree is it.
$PIP --python "$home/bin/python3" --disable-pip-version-check install --quiet --no-compile --no-deps ./packages/pypid-pypicloud
rm -f "$home"/bin/activate* "$home"/bin/Activate.ps1 "$home"/lib/python*/site-packages/*.dist-info/direct_url.json
for name in python python3; do ln -sf "/usr/bin/python$minor" "$home/bin/$name"; done
ln -sf "/usr/bin/python$minor" "$home/bin/python$minor"
grep -rlI --null "$home" "$home/bin" "$home/pyvenv.cfg" | xargs -0 sed -i "s|$home|/opt/pypid|g"
# twistd's list of plugins and the bytecode are made here: the service may write nothing there.
(cd "$home" && "$home/bin/python3" -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))')
find "$home" -name __pycache__ -prune -exec rm -rf {} +
"$home/bin/python3" -m compileall -q -j 0 -s "$root" -p / "$home/lib" || true # some packages carry templates that are no Python

# Units, configuration, state folder, documentation.
install -d "$root/usr/bin" "$root/usr/lib/systemd/system" "$root/etc/pypid" "$share/examples"
ln -s /opt/pypid/bin/pypid "$root/usr/bin/pypid"
sed -e '/^# systemd unit/,/^$/d' -e 's/^DynamicUser=yes$/User=pypid\nGroup=pypid/' etc/pypid.service > "$root/usr/lib/systemd/system/pypid.service"
sed '1,/^$/d' etc/pypid.socket > "$root/usr/lib/systemd/system/pypid.socket"
sed 's|^listen = .*|&\nstate = /var/lib/pypid|' etc/pypid.ini > "$root/etc/pypid/pypid.ini"
cp LICENSE "$share/copyright"
gzip -9 --no-name < CHANGES.rst > "$share/CHANGES.rst.gz"
printf 'pypid-server (%s) unstable; urgency=medium\n\n  * See CHANGES.rst.gz.\n\n -- %s  %s\n' \
    "$version" "$(sed -n 's/^Maintainer: //p' etc/deb/control)" "$(date -R)" | gzip -9 --no-name > "$share/changelog.gz"
cp etc/nginx.conf etc/nginx-published.conf etc/Caddyfile etc/grafana.json etc/prometheus-alerts.yml "$share/examples/"
documentation=$(cd "$root" && find opt/pypid/lib -path '*/pypid/documentation' -type d)
[ -z "$documentation" ] || ln -s "/$documentation" "$share/html" # the pages that pypid serves at /docs/
[ ! -d build/man ] || {
    install -d "$root/usr/share/man/man1"
    for page in build/man/*.1; do gzip -9 --no-name < "$page" > "$root/usr/share/man/man1/${page##*/}.gz"; done
}
completion() { # SHELL FILE
    "$home/bin/python3" "$home/bin/pypid" completion "$1" > "$work/completion" 2>/dev/null || return 0
    install -D -m 0644 "$work/completion" "$root/usr/share/$2"
}
completion bash bash-completion/completions/pypid
completion zsh zsh/vendor-completions/_pypid
completion fish fish/vendor_completions.d/pypid.fish
chmod -R u=rwX,go=rX "$root"
find "$home" -name '*.so*' -type f -exec chmod 0644 {} +

# Control files: libraries that the compiled parts need are found by dpkg-shlibdeps.
mkdir -p "$work/debian"
printf 'Source: pypid-server\n\nPackage: pypid-server\nArchitecture: any\n' > "$work/debian/control"
libraries=$(cd "$work" && find root/opt/pypid -name '*.so*' -type f -print0 | xargs -0 dpkg-shlibdeps --ignore-missing-info -O 2>/dev/null |
    sed -n 's/^shlibs:Depends=//p')
cat > "$root/DEBIAN/control" <<END
Package: pypid-server
Version: $version
Architecture: $arch
Maintainer: $(sed -n 's/^Maintainer: //p' etc/deb/control)
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: python3 (>= $minor), python3 (<< $next), python$minor, adduser, ca-certificates${libraries:+, $libraries}
$(sed '/^Maintainer: /d' etc/deb/control)
END
echo /etc/pypid/pypid.ini > "$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 0755 "etc/deb/$script" "$root/DEBIAN/"; done
(cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path ./etc/pypid/pypid.ini -printf '%P\0' | xargs -0 md5sum > DEBIAN/md5sums)
dpkg-deb --root-owner-group "-Z${DEB_COMPRESSION:-zstd}" --build "$root" "dist/pypid-server_${version}_$arch.deb"
