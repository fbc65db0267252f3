package pubsubserver

import (
	"encoding/base64"
	"iter"
	"slices"
	"strings"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

// page returns the next names with the prefix in order and the token of the page after them. A token is the
// last name seen, so pages neither skip nor repeat when resources come and go in between.
func page(all iter.Seq[string], prefix string, size int32, token string) (names []string, next string, err error) {
	after, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || size < 0 {
		return nil, "", invalid("invalid page token or size")
	}
	if size == 0 {
		size = defaultPageSize
	}
	n := int(min(size, maxPageSize))
	for name := range all {
		if strings.HasPrefix(name, prefix) && name > string(after) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > n {
		names = names[:n]
		next = base64.RawURLEncoding.EncodeToString([]byte(names[n-1]))
	}
	return names, next, nil
}
