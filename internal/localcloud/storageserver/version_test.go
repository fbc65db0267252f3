package storageserver

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/storage/v1"
)

// versioned is a server with a bucket that keeps versions.
type versioned struct {
	*Server
	stop func()
	t    *testing.T
}

func newVersioned(t *testing.T, opt Options) *versioned {
	t.Helper()
	s, stop := open(t, opt)
	v := &versioned{s, stop, t}
	v.call(200, "POST", "/storage/v1/b", `{"name":"bkt","versioning":{"enabled":true}}`)
	return v
}

func (v *versioned) call(want int, method, path, body string) string {
	v.t.Helper()
	w := do(v.t, v.Server, method, path, body, "Authorization", "Bearer owner")
	if w.Code != want {
		v.t.Errorf("%s %s %s = %d %s, want %d", method, path, body, w.Code, w.Body, want)
	}
	return w.Body.String()
}

func (v *versioned) object(want int, method, path, body string) *storage.Object {
	v.t.Helper()
	o := &storage.Object{}
	if err := json.Unmarshal([]byte(v.call(want, method, path, body)), o); err != nil {
		v.t.Error(err)
	}
	return o
}

// put writes an object and returns its generation.
func (v *versioned) put(name, data string) string {
	v.t.Helper()
	o := v.object(200, "POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name="+url.QueryEscape(name), data)
	return strconv.FormatInt(o.Generation, 10)
}

// list is what a list has, in its order, over pages of so many: NAME#GENERATION of what is not live, NAME of
// what is, and prefixes.
func (v *versioned) list(page int, query string) (out []string) {
	v.t.Helper()
	token := ""
	for {
		var l storage.Objects
		if err := json.Unmarshal([]byte(v.call(200, "GET", fmt.Sprintf("/storage/v1/b/bkt/o?maxResults=%d&pageToken=%s&%s", page, url.QueryEscape(token), query), "")), &l); err != nil {
			v.t.Fatal(err)
		}
		for _, o := range l.Items {
			name := o.Name
			if o.TimeDeleted != "" {
				name += "#" + strconv.FormatInt(o.Generation, 10)
			}
			out = append(out, name)
		}
		out = append(out, l.Prefixes...)
		if token = l.NextPageToken; token == "" {
			return out
		}
	}
}

const bkt = "/storage/v1/b/bkt"

// TestVersions goes through the life of versions as https://cloud.google.com/storage/docs/object-versioning
// has it.
func TestVersions(t *testing.T) {
	t.Parallel()
	v := newVersioned(t, Options{InMemory: true, Lax: true})
	large := strings.Repeat("x", smallBytes+1)
	one, two := v.put("a", large), v.put("a", "two")
	read := func(path string) string { return v.call(200, "GET", path, "") }
	for path, want := range map[string]string{
		bkt + "/o/a?alt=media": "two", bkt + "/o/a?alt=media&generation=" + one: large, bkt + "/o/a?alt=media&generation=" + two: "two",
		"/bkt/a": "two", "/bkt/a?generation=" + one: large, "/download" + bkt + "/o/a?alt=media&generation=" + one: large,
	} {
		if got := read(path); got != want {
			t.Errorf("%s has %d bytes, want %d", path, len(got), len(want))
		}
	}
	old := v.object(200, "GET", bkt+"/o/a?generation="+one, "")
	live := v.object(200, "GET", bkt+"/o/a", "")
	if old.TimeDeleted != live.TimeCreated || live.TimeDeleted != "" || old.Metageneration != 1 {
		t.Errorf("the old version ended at %s, the live one began at %s and ended at %q", old.TimeDeleted, live.TimeCreated, live.TimeDeleted)
	}
	// What is not live has metadata of its own.
	if o := v.object(200, "PATCH", bkt+"/o/a?generation="+one, `{"metadata":{"k":"v"}}`); o.Metageneration != 2 || o.TimeDeleted != old.TimeDeleted {
		t.Errorf("after a change the old version is %+v", o)
	}
	if o := v.object(200, "GET", bkt+"/o/a", ""); o.Metadata != nil || o.Metageneration != 1 {
		t.Errorf("a change of the old version changed the live one to %+v", o)
	}
	// Conditions are on the version that is named, or on the live one.
	v.call(412, "GET", bkt+"/o/a?ifGenerationMatch="+one, "")
	v.call(200, "GET", bkt+"/o/a?generation="+one+"&ifGenerationMatch="+one, "")
	v.call(412, "DELETE", bkt+"/o/a?generation="+one+"&ifMetagenerationMatch=1", "")
	v.call(404, "GET", bkt+"/o/a?generation=1", "")
	v.call(412, "POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=a&ifGenerationMatch=0", "x")
	v.call(412, "POST", bkt+"/o/a/copyTo/b/bkt/o/b?sourceGeneration="+one+"&ifSourceMetagenerationMatch=1", "")

	// A deletion without a generation has the live one end, one with it is for good.
	v.call(204, "DELETE", bkt+"/o/a", "")
	v.call(404, "GET", bkt+"/o/a", "")
	v.call(404, "DELETE", bkt+"/o/a", "")
	if got, want := v.list(1, "versions=true"), []string{"a#" + one, "a#" + two}; !slices.Equal(got, want) {
		t.Errorf("versions = %q, want %q", got, want)
	}
	if got := v.list(1, ""); got != nil {
		t.Errorf("objects = %q", got)
	}
	v.call(409, "DELETE", bkt, "")
	// Restored by a copy; there is no live one, as a condition may ask.
	v.call(200, "POST", bkt+"/o/a/rewriteTo/b/bkt/o/a?ifGenerationMatch=0&sourceGeneration="+one, "")
	restored := v.object(200, "GET", bkt+"/o/a", "")
	if read(bkt+"/o/a?alt=media") != large || restored.Metadata["k"] != "v" || restored.TimeDeleted != "" {
		t.Errorf("restored: %+v", restored)
	}
	v.call(200, "POST", bkt+"/o/all/compose", `{"sourceObjects":[{"name":"a","generation":"`+two+`"},{"name":"a","generation":"`+one+`"},{"name":"a"}]}`)
	v.call(204, "DELETE", bkt+"/o/a?generation="+one, "")
	v.call(404, "GET", bkt+"/o/a?generation="+one, "")
	if got := read(bkt + "/o/all?alt=media"); got != "two"+large+large {
		t.Errorf("composed of versions: %d bytes", len(got))
	}
	// A hold is of its version.
	v.call(200, "PATCH", bkt+"/o/a?generation="+two, `{"temporaryHold":true}`)
	v.call(403, "DELETE", bkt+"/o/a?generation="+two, "")
	v.call(200, "PATCH", bkt+"/o/a?generation="+two, `{"temporaryHold":false}`)
	v.call(204, "DELETE", "/bkt/a?generation="+two, "")
	v.call(204, "DELETE", bkt+"/o/a?generation="+strconv.FormatInt(restored.Generation, 10), "")
	if got := v.list(9, "versions=true"); !slices.Equal(got, []string{"all"}) {
		t.Errorf("after deletions for good there are %q", got)
	}

	// Without versioning nothing ends any more, and what has ended stays.
	v.call(204, "DELETE", bkt+"/o/all", "")
	v.put("b", "kept")
	kept := v.put("b", "live")
	if b := v.call(200, "PATCH", bkt, `{"versioning":{"enabled":false}}`); !strings.Contains(b, `"versioning":{"enabled":false}`) {
		t.Errorf("the bucket is %s", b)
	}
	last := v.put("b", "last")
	v.call(404, "GET", bkt+"/o/b?generation="+kept, "")
	if got := v.list(9, "versions=true&prefix=b"); len(got) != 2 || got[1] != "b" {
		t.Errorf("versions of b = %q", got)
	}
	v.call(204, "DELETE", bkt+"/o/b", "")
	v.call(404, "GET", bkt+"/o/b?generation="+last, "")
	// The index's form of a version is no name.
	for _, o := range v.listed("versions=true") {
		v.call(404, "GET", bkt+"/o/"+url.PathEscape(o.Name+"\x00"+fmt.Sprintf("%016x", o.Generation)), "")
	}
	if b, n, err := v.Reset(""); b != 1 || n != 2 || err != nil {
		t.Errorf("Reset() = %d, %d, %v; want a bucket with two versions", b, n, err)
	}
}

func (v *versioned) listed(query string) []*storage.Object {
	v.t.Helper()
	var l storage.Objects
	if err := json.Unmarshal([]byte(v.call(200, "GET", bkt+"/o?"+query, "")), &l); err != nil {
		v.t.Fatal(err)
	}
	return l.Items
}

// TestListVersions holds lists of random names and versions, in pages of each size, against a plain list.
func TestListVersions(t *testing.T) {
	t.Parallel()
	v := newVersioned(t, Options{InMemory: true, Lax: true})
	r := rand.New(rand.NewPCG(16, 7))
	names := []string{"a", "a\x01", "a/", "a/b", "a/b/c", "ab", "b/", "b/x", "c"}
	ended, live := map[string][]string{}, map[string]string{}
	for range 40 {
		name := names[r.IntN(len(names))]
		if g := live[name]; g != "" && r.IntN(3) == 0 {
			v.call(204, "DELETE", bkt+"/o/"+url.PathEscape(name), "")
			ended[name] = append(ended[name], g)
			delete(live, name)
			continue
		}
		if g := live[name]; g != "" {
			ended[name] = append(ended[name], g)
		}
		live[name] = v.put(name, "x")
	}
	for _, c := range []struct {
		prefix, delimiter, start, end string
		trailing                      bool
	}{{}, {prefix: "a"}, {prefix: "a/"}, {delimiter: "/"}, {delimiter: "/", trailing: true}, {prefix: "a", delimiter: "/"}, {start: "a/b", end: "b/x"}, {start: "a\x00", end: "b/\x00"}, {prefix: "a/", delimiter: "/", trailing: true}} {
		for _, versions := range []bool{false, true} {
			var items, prefixes []string
			for _, name := range names {
				if !strings.HasPrefix(name, c.prefix) || name < c.start || c.end != "" && name >= c.end || len(ended[name]) == 0 && live[name] == "" || !versions && live[name] == "" {
					continue
				}
				before, _, in := strings.Cut(name[len(c.prefix):], c.delimiter)
				dir := c.prefix + before + c.delimiter
				in = in && c.delimiter != ""
				if in && !slices.Contains(prefixes, dir) {
					prefixes = append(prefixes, dir)
				}
				if in && (dir != name || !c.trailing) {
					continue
				}
				if versions {
					for _, g := range ended[name] {
						items = append(items, name+"#"+g)
					}
				}
				if live[name] != "" {
					items = append(items, name)
				}
			}
			want := slices.Concat(items, prefixes)
			slices.Sort(want)
			q := url.Values{"prefix": {c.prefix}, "delimiter": {c.delimiter}, "startOffset": {c.start}, "endOffset": {c.end}}
			q.Set("versions", strconv.FormatBool(versions))
			q.Set("includeTrailingDelimiter", strconv.FormatBool(c.trailing))
			for page := 1; page <= 9; page += 2 {
				got := v.list(page, q.Encode())
				if own := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !slices.Contains(items, s) }); c.delimiter == "" && !slices.Equal(own, items) {
					t.Errorf("%s in pages of %d: the order is %q, want %q", q.Encode(), page, own, items)
				}
				if slices.Sort(got); !slices.Equal(got, want) {
					t.Errorf("%s in pages of %d: %q, want %q", q.Encode(), page, got, want)
				}
			}
		}
	}
}

// TestVersionsOnDisk: versions are there after a restart with their bytes, each in its file, and lifecycle
// rules look at how long they have been noncurrent and at how many are newer.
func TestVersionsOnDisk(t *testing.T) {
	t.Parallel()
	opt := Options{Dir: t.TempDir(), Lax: true}
	v := newVersioned(t, opt)
	var generations []string
	content := func(i int) string { return strings.Repeat(strconv.Itoa(i), smallBytes+1) }
	for i := range 4 {
		generations = append(generations, v.put("a", content(i)))
	}
	v.put("gone", content(4))
	v.call(204, "DELETE", bkt+"/o/gone", "")
	files := func(want int) {
		t.Helper()
		got, err := filepath.Glob(filepath.Join(opt.Dir, "objects", "*", "*"))
		if err != nil || len(got) != want {
			t.Errorf("%d files, %v, want %d", len(got), err, want)
		}
	}
	restart := func() {
		t.Helper()
		v.stop()
		v.Server, v.stop = open(t, opt)
	}
	restart()
	files(5)
	for i, g := range generations {
		if got := v.call(200, "GET", bkt+"/o/a?alt=media&generation="+g, ""); got != content(i) {
			t.Errorf("version %d has %d bytes after a restart, want its %d", i, len(got), len(content(i)))
		}
	}
	tidy := func(rule string, after time.Duration, want int) {
		t.Helper()
		v.call(200, "PATCH", bkt, `{"lifecycle":{"rule":[{"action":{"type":"Delete"},"condition":`+rule+`}]}}`)
		if err := v.tidy(time.Now().Add(after)); err != nil {
			t.Fatal(err)
		}
		if got := v.list(9, "versions=true"); len(got) != want {
			t.Errorf("%s leaves %q, want %d", rule, got, want)
		}
	}
	const day = 24 * time.Hour
	tidy(`{"daysSinceNoncurrentTime":3}`, 2*day, 5)
	tidy(`{"noncurrentTimeBefore":"2026-01-01"}`, 2*day, 5)
	tidy(`{"numNewerVersions":4}`, 0, 5)
	tidy(`{"numNewerVersions":3}`, 0, 4) // the oldest of a
	tidy(`{"numNewerVersions":1,"isLive":true}`, 0, 4)
	tidy(`{"age":1,"isLive":true}`, 2*day, 4) // the live one of a has ended, and is kept
	if got := v.list(9, ""); got != nil {
		t.Errorf("there are live ones: %q", got)
	}
	tidy(`{"numNewerVersions":1}`, 0, 2) // of each name the newest
	tidy(`{"daysSinceNoncurrentTime":3}`, 4*day, 0)
	files(0)
	v.call(204, "DELETE", bkt, "")
}

// What many overwrite at once has a version of each, and one that is live.
func TestVersionsAtOnce(t *testing.T) {
	t.Parallel()
	v := newVersioned(t, Options{InMemory: true, Lax: true})
	const writers, each = 4, 10
	got := make(chan string, writers*each)
	for range writers {
		go func() {
			for i := range each {
				w := do(t, v.Server, http.MethodPost, "/upload/storage/v1/b/bkt/o?uploadType=media&name=a", strconv.Itoa(i))
				var o storage.Object
				if json.Unmarshal(w.Body.Bytes(), &o) != nil {
					got <- w.Body.String()
					continue
				}
				got <- strconv.FormatInt(o.Generation, 10)
			}
		}()
	}
	var want []string
	for range writers * each {
		want = append(want, <-got)
	}
	slices.Sort(want)
	for i := range want[:len(want)-1] {
		want[i] = "a#" + want[i]
	}
	want[len(want)-1] = "a"
	if got := v.list(7, "versions=true"); !slices.Equal(got, want) {
		t.Errorf("versions = %q, want %q", got, want)
	}
}

// Lifecycle rules end all versions of a name that are due, however often a caller may change one.
func TestVersionsExpireAtOnce(t *testing.T) {
	t.Parallel()
	v := newVersioned(t, Options{InMemory: true, Lax: true})
	for range objectBurst + 3 {
		v.put("a", "x")
	}
	v.call(200, "PATCH", bkt, `{"lifecycle":{"rule":[{"action":{"type":"Delete"},"condition":{"numNewerVersions":1}}]}}`)
	v.pace = newPace()
	if err := v.tidy(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := v.list(9, "versions=true"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("versions = %q, want the live one", got)
	}
}
