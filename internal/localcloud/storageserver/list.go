package storageserver

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"
)

// maxListPage is Cloud Storage's limit, and default, of objects and prefixes on a page.
const maxListPage = 1000

func (s *Server) listObjects(w http.ResponseWriter, r *http.Request, bucket string) error {
	q := r.URL.Query()
	if err := s.bucketExists(bucket); err != nil {
		return err
	}
	limit, err := pageSize(q)
	if err != nil {
		return err
	}
	list, err := s.list(bucket, q, limit)
	if err != nil {
		return err
	}
	return s.reply(w, r, list)
}

func pageSize(q url.Values) (int, error) {
	if !q.Has("maxResults") {
		return maxListPage, nil
	}
	n, err := strconv.Atoi(q.Get("maxResults"))
	if err != nil || n < 1 {
		return 0, badRequest("Invalid value for maxResults.")
	}
	return min(n, maxListPage), nil
}

// list walks one page of the names, or of their versions. The page token is the key, in an escaped form, that
// the page starts at.
func (s *Server) list(bucket string, q url.Values, limit int) (*storage.Objects, error) {
	prefix := q.Get("prefix")
	token, err := url.PathUnescape(q.Get("pageToken"))
	if err != nil {
		return nil, badRequest("Invalid value for pageToken.")
	}
	l := &lister{
		prefix: prefix, delimiter: q.Get("delimiter"), trailing: q.Get("includeTrailingDelimiter") == "true",
		versions: q.Get("versions") == "true", limit: limit, page: &storage.Objects{Kind: "storage#objects"},
	}
	if v := q.Get("matchGlob"); v != "" {
		if l.glob, err = compileGlob(v); err != nil {
			return nil, err
		}
	}
	lower, upper := objectSpan(bucket)
	if end := q.Get("endOffset"); end != "" {
		upper = objectKey(bucket, offset(end))
	}
	l.root = lower
	// Of one instant, in which the live one is not among the versions that have ended.
	now := s.db.NewSnapshot()
	defer func() { _ = now.Close() }() // always nil
	if name, inside := split(token); inside && l.versions {
		// The page before has some of its versions.
		if l.live, err = readRecord(now, objectKey(bucket, name)); err != nil {
			return nil, err
		}
		l.dirSeen = name
	}
	l.iter, err = now.NewIter(&pebble.IterOptions{LowerBound: objectKey(bucket, max(prefix, offset(q.Get("startOffset")), token)), UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer func() { _ = l.iter.Close() }() // reading errors are in iter.Error
	if err := l.walk(); err != nil {
		return nil, err
	}
	if err := l.iter.Error(); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return l.page, nil
}

// lister makes a page of a list.
type lister struct {
	prefix, delimiter  string
	trailing, versions bool
	glob               *regexp.Regexp // nil for all names
	limit              int

	iter *pebble.Iterator
	root []byte  // what all keys begin with
	live *record // the live one of the name whose versions are being listed: it comes behind them
	page *storage.Objects

	dirSeen string // the latest prefix that is on the page, or on the one before
}

// lastVersion is what comes behind the key of a name's newest version but the live one.
const lastVersion = "\x00~"

func (l *lister) walk() error {
	for ok := l.iter.First(); ok || l.live != nil; {
		key := ""
		if ok {
			key = string(l.iter.Key()[len(l.root):])
		}
		name, noncurrent := split(key)
		switch {
		case l.live != nil && (!ok || name != l.live.Object.Name):
			if l.full(l.live.Object.Name + lastVersion) {
				return nil
			}
			l.add(l.live)
			l.live = nil
			continue
		case !strings.HasPrefix(name, l.prefix):
			return nil
		case noncurrent && !l.versions:
			ok = l.seek(name + "\x01")
			continue
		}
		dir, in := l.dir(name)
		first := in && dir != l.dirSeen
		if first {
			if l.full(dir) {
				return nil
			}
			l.addPrefix(dir)
		}
		if in && (dir != name || !l.trailing) {
			ok = l.seek(dir + "\xff") // behind all names that begin with dir
			continue
		}
		var rec record
		if err := decode(l.iter.Value(), &rec); err != nil {
			return err
		}
		if l.versions && !noncurrent {
			l.live = &rec
			ok = l.iter.Next()
			continue
		}
		if !first && l.full(key) { // an object that is its own prefix adds both
			return nil
		}
		l.add(&rec)
		ok = l.iter.Next()
	}
	return nil
}

func (l *lister) seek(name string) bool {
	return l.iter.SeekGE(append(slices.Clone(l.root), name...))
}

// dir is the prefix that a name is listed under; there may be none.
func (l *lister) dir(name string) (dir string, ok bool) {
	if l.delimiter == "" {
		return "", false
	}
	before, _, ok := strings.Cut(name[len(l.prefix):], l.delimiter)
	return l.prefix + before + l.delimiter, ok
}

func (l *lister) addPrefix(dir string) {
	l.dirSeen = dir
	if l.glob == nil || l.glob.MatchString(dir) {
		l.page.Prefixes = append(l.page.Prefixes, dir)
	}
}

func (l *lister) add(rec *record) {
	if l.glob == nil || l.glob.MatchString(rec.Object.Name) {
		l.page.Items = append(l.page.Items, shown(rec.Object))
	}
}

// full says whether the page ends before the key.
func (l *lister) full(key string) bool {
	if len(l.page.Items)+len(l.page.Prefixes) < l.limit {
		return false
	}
	l.page.NextPageToken = url.PathEscape(key)
	return true
}

// listBuckets lists those of the project that is asked for: see ofProject. A page token is the name that the
// page starts at.
func (s *Server) listBuckets(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := pageSize(q)
	if err != nil {
		return err
	}
	prefix := q.Get("prefix")
	list := &storage.Buckets{Kind: "storage#buckets"}
	err = scan(s.db, bucketKey(max(prefix, q.Get("pageToken"))), []byte("c"), func(key, value []byte) error {
		if name := string(key[1:]); !strings.HasPrefix(name, prefix) || list.NextPageToken != "" {
			return nil
		}
		b := &storage.Bucket{}
		if err := decode(value, b); err != nil {
			return err
		}
		switch {
		case !ofProject(b, q.Get("project")):
			return nil
		case len(list.Items) == limit:
			list.NextPageToken = b.Name
			return nil
		}
		list.Items = append(list.Items, b)
		return completeBucket(b) // stored before there were these settings
	})
	if err != nil {
		return err
	}
	return s.reply(w, r, list)
}
