#!/usr/bin/env bash
# Builds a Debian machine image that joins a Kubernetes cluster: kubelet and kubeadm of one version, containerd, cloud-init
# and sshd. What it is for and how it is used: docs/node-image.md.
#
# Writes image.qcow2 (one ext4 file system without a partition table), vmlinuz, initrd and manifest.json into the folder
# that --output names, all at once at the end. Packages come from where apt of this machine takes Debian's from. Needs
# root and what tools/install-node-image.sh installs. Takes about a minute, and 3 GB in the output folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
	cat <<-TEXT
		usage: tools/node-image/build.sh --kubelet PATH --output DIR [--kubeadm PATH] [--package NAME]... [--size SIZE]

		  --kubelet PATH   program to put into the image; its version is the image's
		  --kubeadm PATH   the same for kubeadm, which join mode Kubeadm runs
		  --output DIR     where the image goes; made if it is not there
		  --package NAME   another Debian package, for example nfs-common; may be given more than once
		  --size SIZE      of the disk (4G); machines may have a bigger one, the file system grows into it
	TEXT
}

fail() {
	echo "node-image: $*" >&2
	exit 1
}

kubelet='' kubeadm='' output='' size=4G packages=()
while (($#)); do
	case $1 in
	--help) usage && exit 0 ;;
	--kubelet | --kubeadm | --output | --package | --size) (($# > 1)) || fail "$1 needs a value" ;;
	*) usage >&2 && fail "what is $1?" ;;
	esac
	case $1 in
	--kubelet) kubelet=$2 ;;
	--kubeadm) kubeadm=$2 ;;
	--output) output=$2 ;;
	--package) packages+=("$2") ;;
	--size) size=$2 ;;
	esac
	shift 2
done
[[ -n $kubelet && -n $output ]] || { usage >&2 && fail "--kubelet and --output are needed"; }
[[ $(id -u) == 0 ]] || fail "needs root, to make a file system of files that root owns"
for program in mmdebstrap mke2fs qemu-img; do
	command -v "$program" >/dev/null || fail "$program is not here: run tools/install-node-image.sh (Debian)"
done
for program in "$kubelet" ${kubeadm:+"$kubeadm"}; do
	[[ -x $program ]] || fail "$program is no program that can be run"
done
version=$("$kubelet" --version) && version=${version#Kubernetes }
mapfile -t -O "${#packages[@]}" packages < <(grep -v '^#' "$here/packages.txt")

mkdir -p "$output"
work=$(mktemp -d "$output/.build-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

# One line for each suite, from the archives of Debian that apt of this machine uses; none: mmdebstrap knows them.
debian_sources() {
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null | sort -u |
		while read -r origin label uri; do
			case $origin/$label in
			Debian/Debian) printf 'deb %s %s main\n' "$uri" bookworm "$uri" bookworm-updates ;;
			Debian/Debian-Security) printf 'deb %s bookworm-security main\n' "$uri" ;;
			esac
		done
}
mapfile -t sources < <(debian_sources)

# As an archive, so that who checked the files out, and with which umask, makes no difference.
tar --create --file="$work/tree.tar" --directory="$here/rootfs" --owner=0 --group=0 --mode=u=rwX,go=rX --sort=name etc usr

# Runs on the unpacked tree, with its path as the argument.
cat >"$work/customize" <<-'HOOK'
	set -euo pipefail
	root=$1
	chroot "$root" systemctl --quiet enable systemd-networkd systemd-resolved container-images
	chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
		e2scrub_reap.service cloud-init-hotplugd.socket getty@.service serial-getty@.service
	mkdir -p "$root/opt/cni/bin" "$root/etc/kubernetes/manifests" "$root/etc/containerd/certs.d"
	for plugin in "$root"/usr/lib/cni/*; do ln -s "/usr/lib/cni/${plugin##*/}" "$root/opt/cni/bin/"; done
	echo 'LABEL=node / ext4 defaults,x-systemd.growfs 0 0' >"$root/etc/fstab"
	# Of the machine that builds, or the same in all that are made of this image: neither may be in it.
	rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$root/etc/apt/apt.conf.d/99mmdebstrap"
	rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt
	: >"$root/etc/machine-id"
	echo localhost >"$root/etc/hostname"
	printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
	# The servers that DHCP named, not the local resolver: pods get this file, too, and cannot reach that.
	ln -sf /run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
HOOK

# The same settings of proxies and mirrors, for the time of the build.
apt-config dump --no-empty | grep -E '^Acquire::(https?|ftp)::' >"$work/apt.conf" || true

echo "node-image: Kubernetes $version on Debian 12: packages …" >&2
mmdebstrap --mode=root --variant=minbase --format=directory --include="$(IFS=, && echo "${packages[*]}")" \
	--aptopt="$work/apt.conf" --dpkgopt=force-confold \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--essential-hook="tar-in $work/tree.tar /" --customize-hook="bash $work/customize \"\$1\"" \
	bookworm "$root" ${sources[@]+"${sources[@]}"}
install -m 755 "$kubelet" "$root/usr/bin/kubelet"
[[ -z $kubeadm ]] || install -m 755 "$kubeadm" "$root/usr/bin/kubeadm"

# Container images as `docker save` writes them, of busybox alone: NAME, then the command of the container.
container_image() {
	local name=$1 folder=$work/container-image layer config command
	shift
	command=$(printf '"%s",' "$@")
	layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
	mkdir -p "$folder"
	cp "$work/layer.tar" "$folder/$layer.tar"
	printf '{"architecture":"%s","os":"linux","config":{"Cmd":[%s],"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$(dpkg --print-architecture)" "${command%,}" "$layer" >"$folder/config.json"
	config=$(sha256sum "$folder/config.json" | cut -d' ' -f1)
	mv "$folder/config.json" "$folder/$config.json"
	printf '[{"Config":"%s.json","RepoTags":["local/%s:1"],"Layers":["%s.tar"]}]' "$config" "$name" "$layer" >"$folder/manifest.json"
	mkdir -p "$root/usr/share/container-images"
	tar --create --file="$root/usr/share/container-images/$name.tar" --directory="$folder" --owner=0 --group=0 --sort=name .
	rm -r "$folder"
}
mkdir -p "$work/layer/bin" "$work/layer/tmp"
chmod 1777 "$work/layer/tmp"
install -m 755 "$root/bin/busybox" "$work/layer/bin/busybox"
"$root/bin/busybox" --list | while read -r applet; do
	[[ $applet == busybox ]] || ln -s busybox "$work/layer/bin/$applet"
done
tar --create --file="$work/layer.tar" --directory="$work/layer" --owner=0 --group=0 --mtime=@0 --sort=name .
container_image busybox sh
# Ends when it is told to, and lets processes go that a pod with one process namespace leaves behind.
container_image pause sh -c "trap 'exit 0' TERM; while :; do sleep 86400 & wait; done"

echo "node-image: file system …" >&2
truncate --size="$size" "$work/image.raw"
# Whatever a first boot would do to an unfinished file system is done here; the zeros take no space.
mke2fs -q -t ext4 -L node -m 1 -E lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$work/image.raw"
qemu-img convert -f raw -O qcow2 "$work/image.raw" "$work/image.qcow2"
cp "$root"/boot/vmlinuz-* "$work/vmlinuz"
cp "$root"/boot/initrd.img-* "$work/initrd"
{
	printf '{\n  "kubernetes": "%s",\n  "debian": "%s",\n  "kernelCommandLine": "%s",\n' "$version" \
		"$(cat "$root/etc/debian_version")" "root=LABEL=node rw console=ttyS0 net.ifnames=0 ipv6.disable=1"
	printf '  "containerImages": ["local/pause:1", "local/busybox:1"],\n  "sha256": {\n'
	(cd "$work" && sha256sum image.qcow2 vmlinuz initrd) | sed -E 's/^([0-9a-f]+) [ *](.*)$/    "\2": "\1",/; $ s/,$//'
	printf '  },\n  "packages": {\n'
	chroot "$root" dpkg-query --show --showformat='    "${Package}": "${Version}",\n' | sed '$ s/,$//'
	printf '  }\n}\n'
} >"$work/manifest.json"
mv "$work"/{image.qcow2,vmlinuz,initrd,manifest.json} "$output/"
echo "node-image: done in $SECONDS s: $output/image.qcow2" >&2
