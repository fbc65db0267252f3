package jobs

import (
	"errors"
	"fmt"
	"time"
)

// Errors of stores of objects, besides ErrNotFound, ErrUnavailable and Failures.
var (
	// ErrNoBucket: not only an object is missing, but the bucket; an ErrNotFound as well.
	ErrNoBucket = fmt.Errorf("bucket %w", ErrNotFound)
	// ErrExists: another object has the name already.
	ErrExists = errors.New("another object has this name")
)

// ObjectAttrs are set when an object is written and never change.
type ObjectAttrs struct {
	ContentType, ContentDisposition, CacheControl string
	// Metadata is shown with the object; Cloud Storage allows 8 KiB in all.
	Metadata map[string]string
}

// Object is what a store of objects says about one.
type Object struct {
	Name string
	// Generation is another one for each object that has had the name.
	Generation int64
	Size       int64 // bytes
	CRC32C     uint32
	Created    time.Time
}
