package fsvalue

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Limits on names, from the product's quota page.
const (
	MaxIDBytes       = 1500 // one collection or document id
	MaxNameBytes     = 6144 // a whole document name, counted as in [Path.Size]
	maxPathSegments  = 200  // 100 levels of collection and document
	minDatabaseBytes = 4
	maxDatabaseBytes = 63
)

var databaseID = regexp.MustCompile(`^[a-z][a-z0-9-]*[a-z0-9]$`)

func invalidf(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// ParseDatabase parses "projects/P/databases/D".
func ParseDatabase(name string) (Database, error) {
	db, rest, err := cutDatabase(name)
	if err != nil {
		return Database{}, err
	}
	if rest != "" {
		return Database{}, invalidf("Database name %q has segments after the database id.", name)
	}
	return db, nil
}

// ParseDocument parses the full name of a document.
func ParseDocument(name string) (Path, error) {
	p, err := parsePath(name, "Document name")
	if err != nil {
		return Path{}, err
	}
	if !p.IsDocument() {
		return Path{}, invalidf("Document name %q lacks \"/\" at index %d.", name, len(name))
	}
	return p, nil
}

// ParseParent parses the name of a root or a document: what collections hang from.
func ParseParent(name string) (Path, error) {
	p, err := parsePath(name, "Document parent name")
	if err != nil {
		return Path{}, err
	}
	if p.Len()%2 != 0 {
		return Path{}, invalidf("Document parent name %q lacks \"/\" at index %d.", name, len(name))
	}
	return p, nil
}

// CheckID checks a document id. Numeric ids, as entities imported from Datastore have them, are legal;
// Google's emulator creates them, too.
func CheckID(id string) error {
	if _, ok := NumericID(id); ok {
		return nil
	}
	return checkSegment(id, "Resource id")
}

// CheckCollectionID checks a collection id.
func CheckCollectionID(id string) error { return checkSegment(id, "Collection id") }

func parsePath(name, what string) (Path, error) {
	db, rest, err := cutDatabase(name)
	if err != nil {
		return Path{}, err
	}
	rel, ok := strings.CutPrefix(rest, "/documents")
	if !ok || (rel != "" && rel[0] != '/') {
		return Path{}, invalidf("%s %q lacks \"/documents\" after the database.", what, name)
	}
	p := Path{db: db, rel: strings.TrimPrefix(rel, "/")}
	if rel == "/" {
		return Path{}, invalidf("%s %q ends in \"/\".", what, name)
	}
	n := 0
	for seg := range p.Segments() {
		check := CheckCollectionID
		if n%2 == 1 {
			check = CheckID
		}
		if err := check(seg); err != nil {
			return Path{}, err
		}
		n++
	}
	if n > maxPathSegments {
		return Path{}, invalidf("%s has %d segments, more than the maximum of %d.", what, n, maxPathSegments)
	}
	if p.IsDocument() && p.Size() > MaxNameBytes {
		return Path{}, invalidf("%s is longer than %d bytes.", what, MaxNameBytes)
	}
	return p, nil
}

// cutDatabase splits a resource name behind the database id; rest is empty or begins with "/".
func cutDatabase(name string) (db Database, rest string, err error) {
	if !utf8.ValidString(name) {
		return db, "", invalidf("Resource name is not valid UTF-8.")
	}
	tail, ok := strings.CutPrefix(name, "projects/")
	if !ok {
		return db, "", invalidf("Resource name %q lacks \"projects\" at index 0.", name)
	}
	db.Project, tail, ok = strings.Cut(tail, "/")
	if !ok || db.Project == "" {
		return db, "", invalidf("Resource name %q lacks \"/\" at index %d.", name, len(name)-len(tail))
	}
	tail, ok = strings.CutPrefix(tail, "databases/")
	if !ok {
		return db, "", invalidf("Resource name %q lacks \"databases\" at index %d.", name, len(name)-len(tail))
	}
	if i := strings.IndexByte(tail, '/'); i >= 0 {
		tail, rest = tail[:i], tail[i:]
	}
	db.ID = tail
	if db.ID != "(default)" && (len(db.ID) < minDatabaseBytes || len(db.ID) > maxDatabaseBytes || !databaseID.MatchString(db.ID)) {
		return db, "", invalidf("Invalid database id %q: it must be (default), or %d to %d lower-case letters, digits and hyphens, the first a letter and the last no hyphen.", db.ID, minDatabaseBytes, maxDatabaseBytes)
	}
	return db, rest, nil
}

func checkSegment(id, what string) error {
	switch {
	case id == "":
		return invalidf("%s must not be empty.", what)
	case len(id) > MaxIDBytes:
		return invalidf("%s is longer than %d bytes.", what, MaxIDBytes)
	case !utf8.ValidString(id):
		return invalidf("%s is not valid UTF-8.", what)
	case id == "." || id == "..":
		return invalidf("%s %q is invalid because it is reserved.", what, id)
	case strings.Contains(id, "/"):
		return invalidf("%s %q is invalid because it contains \"/\".", what, id)
	case isReserved(id):
		return invalidf("%s %q is invalid because it is reserved.", what, id)
	}
	return nil
}

// isReserved reports whether a name matches __.*__ with something between: Google's emulator, unlike the
// quota page, takes "____".
func isReserved(s string) bool {
	return len(s) > len("____") && strings.HasPrefix(s, "__") && strings.HasSuffix(s, "__")
}

// NumericID returns the number of a document id like __id7__ or __id-92__. 0 is none, and neither are leading
// zeros, a plus sign or more than 64 bits.
func NumericID(id string) (n int64, ok bool) {
	digits, ok := strings.CutPrefix(id, numericPrefix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, numericSuffix); !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && n != 0 && strconv.FormatInt(n, 10) == digits
}

const numericPrefix, numericSuffix = "__id", "__"

func numericID(n int64) string { return numericPrefix + strconv.FormatInt(n, 10) + numericSuffix }
