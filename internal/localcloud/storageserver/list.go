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

// list walks one page of the names. The page token is the name, in an escaped form, the page starts at.
func (s *Server) list(bucket string, q url.Values, limit int) (*storage.Objects, error) {
	prefix, delimiter, trailing := q.Get("prefix"), q.Get("delimiter"), q.Get("includeTrailingDelimiter") == "true"
	token, err := url.PathUnescape(q.Get("pageToken"))
	if err != nil {
		return nil, badRequest("Invalid value for pageToken.")
	}
	var glob *regexp.Regexp
	if v := q.Get("matchGlob"); v != "" {
		if glob, err = compileGlob(v); err != nil {
			return nil, err
		}
	}
	lower, upper := objectSpan(bucket)
	if end := q.Get("endOffset"); end != "" {
		upper = objectKey(bucket, end)
	}
	base := len(lower)
	out := &storage.Objects{Kind: "storage#objects"}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: objectKey(bucket, max(prefix, q.Get("startOffset"), token)), UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer func() { _ = iter.Close() }() // reading errors are in iter.Error
	for ok := iter.First(); ok; {
		name := string(iter.Key()[base:])
		if !strings.HasPrefix(name, prefix) {
			break
		}
		if len(out.Items)+len(out.Prefixes) >= limit { // an object that is its own prefix adds both
			out.NextPageToken = url.PathEscape(name)
			break
		}
		if delimiter != "" {
			if i := strings.Index(name[len(prefix):], delimiter); i >= 0 {
				dir := name[:len(prefix)+i+len(delimiter)]
				if dir == name && trailing {
					if err := appendObject(out, iter.Value(), name, glob); err != nil {
						return nil, err
					}
				}
				if glob == nil || glob.MatchString(dir) {
					out.Prefixes = append(out.Prefixes, dir)
				}
				// Go on behind all names that begin with dir.
				ok = iter.SeekGE(append(slices.Clone(objectKey(bucket, dir)), 0xff))
				continue
			}
		}
		if err := appendObject(out, iter.Value(), name, glob); err != nil {
			return nil, err
		}
		ok = iter.Next()
	}
	if err := iter.Error(); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return out, nil
}

// appendObject adds an index entry unless the glob, if there is one, does not match the name.
func appendObject(out *storage.Objects, value []byte, name string, glob *regexp.Regexp) error {
	if glob != nil && !glob.MatchString(name) {
		return nil
	}
	var rec record
	if err := decode(value, &rec); err != nil {
		return err
	}
	out.Items = append(out.Items, shown(rec.Object))
	return nil
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
