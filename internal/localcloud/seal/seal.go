// Package seal tells whether a data folder is as it was when it was closed. The storage engines cannot: to
// them a log or manifest that is cut short is what a crash leaves, and they go on with what is before the cut
// and remove the tables that nothing names any more.
package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	name = "seal.json"
	// maxSummed bounds the bytes of tables and objects that are read to be compared, about 2 s of a disk of
	// 500 MB/s. Logs and manifests are all read; of the rest names and sizes are compared, and a table's
	// blocks have sums of their own.
	maxSummed = 1 << 30
)

// DamagedError names a file that is not as it was when the folder was closed.
type DamagedError struct {
	// File is its path.
	File string
	// What is wrong with it.
	What string
}

// Error implements error.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged: %s; nothing was changed: put the file back, or start with another data folder", e.File, e.What)
}

// file is what a seal says of one.
type file struct {
	Size int64  `json:"size"`
	Sum  uint32 `json:"crc32c,omitempty"`
	// Summed says whether Sum was taken.
	Summed bool `json:"summed,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write seals the subfolders of dir, of which nobody may write any more.
func Write(dir string, subs ...string) error {
	files, err := look(dir, subs)
	if err != nil {
		return fmt.Errorf("seal the data folder: %w", err)
	}
	raw, err := json.Marshal(files)
	if err != nil {
		return fmt.Errorf("seal the data folder: %w", err)
	}
	// Not synced: after a power failure there is no seal, or one that cannot be read, which is as none.
	path := filepath.Join(dir, name)
	if err := errors.Join(os.WriteFile(path+".new", raw, 0o600), os.Rename(path+".new", path)); err != nil {
		return fmt.Errorf("seal the data folder: %w", err)
	}
	return nil
}

// Check compares the subfolders with the seal. It changes nothing, and a folder without a seal, as one whose
// process was killed, is taken as it is.
func Check(dir string, subs ...string) error {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the seal of the data folder: %w", err)
	}
	var want map[string]file
	if json.Unmarshal(raw, &want) != nil {
		return nil
	}
	got, err := look(dir, subs)
	if err != nil {
		return fmt.Errorf("compare the data folder with its seal: %w", err)
	}
	for _, path := range sorted(want) {
		w, g := want[path], got[path]
		_, there := got[path]
		switch {
		case !there:
			return &DamagedError{filepath.Join(dir, path), "it is missing"}
		case w.Size != g.Size:
			return &DamagedError{filepath.Join(dir, path), fmt.Sprintf("it has %d bytes and had %d", g.Size, w.Size)}
		case w.Summed && g.Summed && w.Sum != g.Sum:
			return &DamagedError{filepath.Join(dir, path), "its content has changed"}
		}
	}
	return nil
}

// Break takes the seal off, before anything is written.
func Break(dir string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take the seal off the data folder: %w", err)
	}
	return nil
}

func look(dir string, subs []string) (map[string]file, error) {
	files := map[string]file{}
	for _, sub := range subs {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			files[filepath.ToSlash(rel)] = file{Size: info.Size()}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	left := int64(maxSummed)
	for _, path := range sorted(files) {
		f := files[path]
		if bulk(path) {
			if left -= f.Size; left < 0 {
				continue
			}
		}
		sum, err := sumOf(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			return nil, err
		}
		f.Sum, f.Summed = sum, true
		files[path] = f
	}
	return files, nil
}

// bulk says whether a file is one of those that grow with the data.
func bulk(path string) bool {
	return strings.HasSuffix(path, ".sst") || strings.Contains(path, "/objects/")
}

func sorted(files map[string]file) []string {
	paths := make([]string, 0, len(files))
	for path := range files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func sumOf(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	_, err = io.Copy(h, f)
	return h.Sum32(), err
}
