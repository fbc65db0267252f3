package localcloud

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// folderFormat is raised when something is stored that builds before cannot serve as it was meant. 2 has
	// subscriptions whose messages are pushed, versions of objects, and multipart uploads. Builds of 1 wrote
	// no number and look for none: they hold such messages to be pulled, and change nothing about them; they
	// list versions as objects, and make no more; and they remove the bytes of parts, which then are none.
	folderFormat = 2
	formatFile   = "format"
)

// checkFormat returns the format of a folder, 0 where none is written, and refuses that of a newer build. It
// changes nothing.
func checkFormat(dir string) (format uint64, err error) {
	path := filepath.Join(dir, formatFile)
	raw, err := os.ReadFile(path)
	text := strings.TrimSpace(string(raw))
	if errors.Is(err, fs.ErrNotExist) || err == nil && text == "" { // as a crash before the first byte leaves it
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the format of the data folder: %w", err)
	}
	if format, err = strconv.ParseUint(text, 10, 32); err != nil {
		return 0, fmt.Errorf("%s does not hold the number of a format; nothing was changed: put the file back, or start with another data folder", path)
	}
	if format > folderFormat {
		return 0, fmt.Errorf("the data folder %s is of a newer version: it has format %d, and this program reads up to %d; nothing was changed: start the newer program, or this one with another data folder", dir, format, folderFormat)
	}
	return format, nil
}

// writeFormat says that this build has written to the folder.
func writeFormat(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, formatFile), []byte(strconv.Itoa(folderFormat)+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the format of the data folder: %w", err)
	}
	return nil
}
