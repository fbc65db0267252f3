package dataset

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"fmt"
	"io/fs"
	"regexp"
	"sync"
	"time"
)

// zoneinfo are the time zones of the Go that the tests run with. Those of machines differ, and parts of a
// file, which several write, must not.
//
//go:embed zoneinfo.zip
var zoneinfo []byte

var zones = sync.OnceValues(func() (*zip.Reader, error) {
	return zip.NewReader(bytes.NewReader(zoneinfo), int64(len(zoneinfo)))
})

// zoneName is what names of zones look like. Those of zones with leap seconds, and of the machine's own, are
// none.
var zoneName = regexp.MustCompile(`^[A-Z][A-Za-z0-9_+-]*(/[A-Z][A-Za-z0-9_+-]*){0,2}$`)

// Zone finds a time zone of the IANA database, as this build has it.
func Zone(name string) (*time.Location, error) {
	if !zoneName.MatchString(name) {
		return nil, fmt.Errorf("%q is no time zone", name)
	}
	all, err := zones()
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(all, name)
	if err != nil {
		return nil, fmt.Errorf("%q is no time zone: %w", name, err)
	}
	return time.LoadLocationFromTZData(name, data)
}
