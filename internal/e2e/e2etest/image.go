package e2etest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"exportd/deployments"
)

// ImageVar names the folder of an image that was unpacked. Where it is set, exportd is the image's: each
// process on a root that cannot be written, as a user of its own, with the permissions of its account and no
// more.
const ImageVar = "EXPORTD_TEST_IMAGE"

// FromImage says whether exportd is an image's.
func FromImage() bool { return os.Getenv(ImageVar) != "" }

// contained does what a container's runtime does before it starts the image's program: files that a process
// is given (keyset, datasets) are mounted at their own paths, names are resolved as outside, the root is
// read-only, and the user is one that nobody else is. Only setup writes, into the keyset's folder.
const contained = `#!/bin/sh
exec unshare --mount --propagation private sh -ec '
root=$1; shift
uid=$((60000 + $$ %% 5000))
mount --bind "$root" "$root"
mount --bind /etc/hosts "$root/etc/hosts"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
mount --bind /proc "$root/proc"
give() {
	folder=$(cd "$(dirname "$1")" && pwd -P)
	path=$folder/$(basename "$1")
	mkdir -p "$root$folder"
	mount --bind "$folder" "$root$folder"
	[ ! -e "$path" ] || chmod a+r "$path"
}
if [ -n "$EXPORTD_KEYSET_FILE" ]; then
	give "$EXPORTD_KEYSET_FILE"
	export EXPORTD_KEYSET_FILE="$path"
	if [ "$1" = setup ]; then
		chown "$uid" "$folder"
		[ ! -e "$path" ] || chown "$uid" "$path"
	fi
fi
if [ -n "$EXPORTD_DATASETS_FILE" ] && [ -e "$EXPORTD_DATASETS_FILE" ]; then
	give "$EXPORTD_DATASETS_FILE"
	export EXPORTD_DATASETS_FILE="$path"
fi
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs chroot --userspec="$uid:$uid" "$root" /usr/local/bin/exportd "$@"' sh '%s' "$@"
`

// Contain writes a program into dir that is an unpacked image's exportd, contained. Its process is exportd
// itself: signals and its id are as if it had been started directly.
func Contain(image, dir string) (string, error) {
	if os.Getuid() != 0 {
		return "", fmt.Errorf("%s=%s: only root may start a process as another user on another root", ImageVar, image)
	}
	image, err := filepath.Abs(image)
	if err != nil {
		return "", err
	}
	for _, file := range []string{"etc/hosts", "etc/resolv.conf"} { // to mount at
		f, err := os.OpenFile(filepath.Join(image, file), os.O_CREATE, 0o444)
		if err != nil {
			return "", fmt.Errorf("prepare the image: %w", err)
		}
		if err := f.Close(); err != nil {
			return "", fmt.Errorf("prepare the image: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Join(image, "proc"), 0o755); err != nil {
		return "", fmt.Errorf("prepare the image: %w", err)
	}
	path := filepath.Join(dir, "exportd")
	return path, os.WriteFile(path, fmt.Appendf(nil, contained, image), 0o755)
}

// buildBeside compiles exportd-dev, which no image of production has, beside the image's exportd.
func buildBeside(dir string) (string, error) {
	out, err := exec.Command("go", "build", "-tags", "nomsgpack", "-o", dir+"/", "exportd/cmd/exportd-dev").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build exportd-dev: %w\n%s", err, out)
	}
	return Contain(os.Getenv(ImageVar), dir)
}

// clouds are those that run with accounts, by where all-powerful callers find their Firestore.
var clouds sync.Map

// withRoles has a cloud that is started for an image's processes know their accounts.
func withRoles(tb testing.TB, args []string) []string {
	tb.Helper()
	if !FromImage() || strings.Contains(strings.Join(args, " "), "--roles") {
		return args
	}
	path := filepath.Join(tb.TempDir(), "permissions.yaml")
	if err := os.WriteFile(path, deployments.Permissions, 0o600); err != nil {
		tb.Fatal(err)
	}
	return append(args[:len(args):len(args)], "--roles", path)
}

// asAccount gives a process the addresses at which it is its account: that of its command.
func asAccount(program string, env, args []string) []string {
	if !FromImage() || filepath.Base(program) != "exportd" || len(args) == 0 {
		return env
	}
	firestore := ""
	for _, kv := range env {
		if addr, ok := strings.CutPrefix(kv, "FIRESTORE_EMULATOR_HOST="); ok {
			firestore = addr // the last one counts
		}
	}
	cloud, ok := clouds.Load(firestore)
	if !ok {
		return env
	}
	if account, ok := cloud.(Hosts).Accounts[args[0]]; ok {
		return append(env[:len(env):len(env)], account.Env()...)
	}
	return env
}

// Demo is a service with demo data: all in one process, or of an image as a fleet: the cloud, an API, and two
// workers. env are settings as `exportd-dev run` takes them.
func Demo(tb testing.TB, binary, folder string, sizes Sizes, env ...string) *Stack {
	tb.Helper()
	if !FromImage() {
		return Dev(tb, binary, folder, sizes, env...)
	}
	env = append([]string{"EXPORTD_CALLBACK_ALLOW_HTTP=true", "EXPORTD_CALLBACK_ALLOW_CIDRS=127.0.0.0/8", "EXPORTD_CALLBACK_ALLOW_PORTS=0",
		"EXPORTD_KEYSET_FILE=" + filepath.Join(tb.TempDir(), "keyset.json")}, env...)
	_, hosts := Emulators(tb, binary, folder)
	s := Services(tb, binary, hosts, sizes, env...)
	for range 2 {
		Worker(tb, binary, hosts, env...)
	}
	return s
}
