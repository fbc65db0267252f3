package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"exportd/internal/localcloud/seal"
)

// ErrInUse means that another process has the data folder open.
var ErrInUse = errors.New("data folder is in use by another process")

// subfolders are those that hold data.
var subfolders = []string{"firestore", "pubsub", "storage"}

// watchEvery is how often is looked whether the data folder is still there: what is written after it was
// removed is lost.
const watchEvery = time.Second

// watchFolder returns when stop is closed, or why the cloud cannot go on.
func watchFolder(dir string, stop <-chan struct{}) error {
	opened, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the data folder: %w", err)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
		for _, sub := range append([]string{""}, subfolders...) {
			info, err := os.Stat(filepath.Join(dir, sub))
			if errors.Is(err, fs.ErrNotExist) || err == nil && sub == "" && !os.SameFile(info, opened) {
				return fmt.Errorf("the data folder %s was removed while it was in use", filepath.Join(dir, sub))
			}
		}
	}
}

// openFolder makes the data folder private and locks it. The operating system drops the lock when the process
// ends in any way.
func openFolder(dir string) (*flock.Flock, error) {
	if dir == "" {
		return nil, errors.New("no data folder given")
	}
	for _, sub := range append([]string{""}, subfolders...) {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("create data folder: %w", err)
		}
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	format, err := checkFormat(dir)
	if err == nil {
		err = seal.Check(dir, subfolders...)
	}
	if err == nil && format < folderFormat {
		err = writeFormat(dir)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	return lock, nil
}

// listen binds a loopback address; an empty one means any free port.
func listen(ctx context.Context, name, addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address for %s: %w", name, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("address for %s: %s is not on loopback; the embedded cloud has no authentication", name, addr)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen for %s: %s is taken by another process: %w", name, addr, syscall.EADDRINUSE)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", name, err)
	}
	return l, nil
}
