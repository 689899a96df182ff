#!/bin/sh
# Removes what a sandbox does not need. `trim.sh system`: the file system; `trim.sh environments`: /opt/*.
set -eu

remove_packages() {
    # The files of these packages, named by the package manager itself, which goes last.
    for package in apt debconf adduser passwd login login.defs mount perl-base sysvinit-utils \
        init-system-helpers e2fsprogs debian-archive-keyring dpkg; do
        dpkg -s "$package" >/dev/null 2>&1 || continue
        dpkg -L "$package" | while read -r file; do
            if [ -f "$file" ] || [ -L "$file" ]; then echo "$file"; fi
        done >>/tmp/unwanted
    done
    grep -vE '^/(bin|sbin|lib|lib64)$' /tmp/unwanted | xargs rm -f
    rm -rf /tmp/unwanted /etc/apt /var/lib/apt /var/lib/dpkg /usr/lib/apt /usr/lib/dpkg /usr/share/dpkg \
        /usr/share/debconf /var/cache/* /var/log/* /usr/share/keyrings /usr/share/perl* /usr/lib/*/perl*
}

remove_documentation() {
    find /usr/share/doc -type f ! -name copyright -delete
    rm -rf /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/i18n \
        /usr/share/bash-completion /usr/lib/locale/C.utf8/LC_MESSAGES/* /usr/share/bug /usr/share/menu
}

trim_system() {
    remove_packages
    remove_documentation
    find / -xdev \( -type f -o -type d \) -perm /6000 -exec chmod ug-s {} +
    rm -rf /root /tmp/* /etc/*- /etc/shadow* /etc/gshadow*
    mkdir -p /root /mnt/data /home/sandbox
    chmod 0700 /root
    chmod 1777 /mnt/data /home/sandbox
    python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3* || true
}

trim_environments() {
    cd /opt
    find . -type d \( -name tests -o -name test \) -path '*/site-packages/*/*' -prune \
        ! -path '*/networkx/utils/*' -exec rm -rf {} +
    find . -type d -name include -path '*/site-packages/*' -prune -exec rm -rf {} +
    find . \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.a' \) -type f -delete
}

"trim_$1"
