#!/bin/sh
# Install the RabbitMQ of a Debian suite into a folder of its own, unless it is there already.
#
#   make_rabbitmq_root.sh SUITE FOLDER     trixie has RabbitMQ 4.0, forky 4.3
#
# Needs root and Debian; packages come from the mirror that apt is configured with.
set -eu

suite=$1
root=$2
[ ! -e "$root" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "Making $root needs Debian and root; run this as root on Debian." >&2
    exit 1
fi
command -v debootstrap > /dev/null || {
    apt-get update --quiet
    apt-get install --yes --quiet --no-install-recommends debootstrap
}
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | head -n 1)
if [ -z "$mirror" ]; then
    echo "apt knows no mirror of Debian; run apt-get update, and try again." >&2
    exit 1
fi

new="$root.new" # renamed when it is complete
rm -rf --one-file-system "$new"
mkdir -p "$(dirname "$root")"
echo "Installing the RabbitMQ of Debian $suite into $root ..."
# Debian's suites are all installed alike; debootstrap may be older than this one.
debootstrap --variant=minbase --include=ca-certificates "$suite" "$new" "$mirror" \
    /usr/share/debootstrap/scripts/sid > "$new.log"
printf '#!/bin/sh\nexit 101\n' > "$new/usr/sbin/policy-rc.d" # nothing starts by itself
chmod +x "$new/usr/sbin/policy-rc.d"
cp /etc/resolv.conf /etc/hosts "$new/etc/"
# In mounts of its own, which end with the command.
unshare --mount -- sh -eu -c '
    mount -t proc proc "$1/proc"
    export DEBIAN_FRONTEND=noninteractive
    # A mirror that is not updated any more will do for tests.
    chroot "$1" apt-get --option Acquire::Check-Valid-Until=false update --quiet
    chroot "$1" apt-get install --yes --quiet --no-install-recommends rabbitmq-server
    chroot "$1" apt-get clean
' sh "$new" >> "$new.log"
mv "$new" "$root"
rm "$new.log"
