package localcloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

// ErrInUse means that another process has the data folder open.
var ErrInUse = errors.New("data folder is in use by another process")

// openFolder makes the data folder private and locks it. The operating system drops the lock when the process ends in any way.
func openFolder(dir string) (*flock.Flock, error) {
	if dir == "" {
		return nil, errors.New("no data folder given")
	}
	for _, sub := range []string{"", "firestore", "pubsub", "storage"} {
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
