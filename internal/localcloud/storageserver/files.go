package storageserver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// files is where the bytes of segments lie that the index has no room for.
type files interface {
	// edit opens a file to be written at offsets, and makes it if there is none.
	edit(id int64) (segmentFile, error)
	// read opens a file; io.ReaderAt of it gives bytes up to its present length.
	read(id int64) (segmentReader, error)
	// remove is no error if there is no such file.
	remove(id int64) error
	// changed is when a file was written last, the zero time if there is none.
	changed(id int64) time.Time
	// sync makes a file and its name survive a power failure.
	sync(id int64) error
	// sweep removes what keep does not know, and says of how many.
	sweep(keep map[int64]bool) (int, error)
}

type segmentFile interface {
	io.WriterAt
	io.Closer
	Truncate(size int64) error
}

type segmentReader interface {
	io.ReaderAt
	io.Closer
}

// folder keeps each segment in a file of its own.
type folder struct{ dir string }

func openFolder(dir string) (files, error) {
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return nil, fmt.Errorf("create object folder: %w", err)
		}
	}
	return folder{dir}, nil
}

func (f folder) path(id int64) string {
	return filepath.Join(f.dir, fmt.Sprintf("%02x", byte(id)), fmt.Sprintf("%016x", id))
}

func (f folder) edit(id int64) (segmentFile, error) {
	file, err := os.OpenFile(f.path(id), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (f folder) read(id int64) (segmentReader, error) {
	file, err := os.Open(f.path(id))
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (f folder) remove(id int64) error {
	if err := os.Remove(f.path(id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f folder) changed(id int64) time.Time {
	info, err := os.Stat(f.path(id))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (f folder) sync(id int64) error {
	for _, name := range []string{f.path(id), filepath.Dir(f.path(id))} {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		err = file.Sync()
		_ = file.Close() // opened for reading
		if err != nil {
			return err
		}
	}
	return nil
}

func (f folder) sweep(keep map[int64]bool) (removed int, err error) {
	names, err := filepath.Glob(filepath.Join(f.dir, "*", "*"))
	if err != nil {
		return removed, err
	}
	for _, name := range names {
		var id int64
		if _, err := fmt.Sscanf(filepath.Base(name), "%016x", &id); err == nil && keep[id] && f.path(id) == name {
			continue
		}
		if err := os.Remove(name); err != nil {
			return removed, fmt.Errorf("remove stray file: %w", err)
		}
		removed++
	}
	return removed, nil
}
