#!/bin/sh
# Takes out of the file system what only an administrator or an attacker needs.
set -eu

unwanted_packages="apt libapt-pkg7.0 debconf adduser passwd login login.defs mount perl-base sysvinit-utils
    init-system-helpers e2fsprogs debian-archive-keyring sqv dpkg"

packaged_files() {
    for package in $unwanted_packages; do
        dpkg -L "$package" 2>/dev/null || true
    done
}

# The package manager names the files, its own too, before any of them goes.
packaged_files >/tmp/files
while read -r file; do
    case $file in /bin | /sbin | /lib | /lib64) continue ;; esac
    if [ -f "$file" ] || [ -L "$file" ]; then echo "$file"; fi
done </tmp/files >/tmp/unwanted
xargs rm -f </tmp/unwanted
(cd /usr/bin && rm -f su nsenter unshare setpriv dmesg lsns) && (cd /usr/sbin && rm -f runuser chroot pivot_root)

rm -rf /etc/apt /etc/dpkg /var/lib/apt /var/lib/dpkg /var/cache/* /var/log/* /var/backups/* \
    /usr/lib/apt /usr/lib/dpkg /usr/share/dpkg /usr/share/debconf /usr/share/keyrings /usr/share/perl* \
    /usr/lib/*/perl* /usr/lib/*/gconv /usr/lib/python3*/test /usr/lib/python3*/ensurepip /usr/lib/python3*/idlelib \
    /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/i18n /usr/share/bug \
    /usr/share/bash-completion /usr/share/zsh /usr/share/menu /root /etc/*- /etc/shadow /etc/gshadow
find /usr/share/doc -type f ! -name copyright -delete
find / -xdev \( -type f -o -type d \) -perm /6000 -exec chmod ug-s {} +

python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3.13
# A tmpfs takes the mode of the folder that it covers.
mkdir -p /root /mnt/data /home/sandbox
chmod 0700 /root
chmod 1777 /mnt/data /home/sandbox
rm -rf /tmp/*
