package storageserver

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/localcloud/disk"
)

// open runs a server until the test ends or stop is called.
func open(t testing.TB, opt Options) (s *Server, stop func()) {
	t.Helper()
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func do(t testing.TB, s *Server, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	req.Host = "127.0.0.1"
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	return w
}

func TestTidyRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := open(t, Options{Dir: dir, Lax: true})
	rule := `{"action":{"type":"Delete"},"condition":{"age":3,"matchesPrefix":["exports/"]}}`
	unknown := `{"action":{"type":"Delete"},"condition":{"age":1,"isLive":false}}`
	do(t, s, "POST", "/storage/v1/b", `{"name":"bkt","lifecycle":{"rule":[`+rule+`,`+unknown+`]}}`)
	for _, name := range []string{"exports/a", "exports/b", "other"} {
		if w := do(t, s, "POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name="+name, strings.Repeat("x", smallBytes+1)); w.Code != http.StatusOK {
			t.Fatalf("upload = %d %s", w.Code, w.Body)
		}
	}
	upload := do(t, s, "POST", "/upload/storage/v1/b/bkt/o?uploadType=resumable&name=open", "{}").Header().Get("Location")
	upload = strings.TrimPrefix(upload, "http://127.0.0.1")
	do(t, s, "PUT", upload, "abc", "Content-Range", "bytes 0-2/*")

	check := func(age time.Duration, wantFiles int, wantUpload int) {
		t.Helper()
		if err := s.tidy(time.Now().Add(age)); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "objects", "*", "*"))
		if err != nil || len(files) != wantFiles {
			t.Errorf("%d files after %s, %v, want %d", len(files), age, err, wantFiles)
		}
		if w := do(t, s, "PUT", upload, "", "Content-Range", "bytes */*"); w.Code != wantUpload {
			t.Errorf("upload after %s = %d, want %d", age, w.Code, wantUpload)
		}
	}
	check(0, 4, 308)
	check(5*time.Hour, 4, 308)
	check(7*time.Hour, 3, 404)
	check(3*24*time.Hour-time.Hour, 3, 404)
	check(3*24*time.Hour+time.Hour, 1, 404) // below exports/ only
}

func TestSignedURLTimes(t *testing.T) {
	t.Parallel()
	signed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	query := "?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=a%2F20260102%2Fauto%2Fstorage%2Fgoog4_request&X-Goog-Date=20260102T030405Z&X-Goog-Expires=60&X-Goog-SignedHeaders=host&X-Goog-Signature=00"
	key, err := createSigner(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]string{
		-time.Hour: "AccessDenied", -time.Minute: "SignatureDoesNotMatch", 0: "SignatureDoesNotMatch",
		time.Minute: "SignatureDoesNotMatch", time.Minute + time.Second: "ExpiredToken",
	} {
		k := *key
		k.now = func() time.Time { return signed.Add(after) }
		err := k.verify(httptest.NewRequestWithContext(t.Context(), "GET", "/b/o"+query, nil))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("verify %s after signing = %v, want %s", after, err, want)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-1/2", "bytes */*", "bytes */5", "bytes 0-*/0", "bytes 0-9223372036854775807/*", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		req := httptest.NewRequestWithContext(t.Context(), "PUT", "/", nil)
		req.ContentLength = -1
		req.Header.Set("Content-Range", header)
		c, err := parseChunk(req)
		// Only an open end may leave nothing to send: of an empty object, or when all has come.
		if err == nil && (c.start < 0 || c.length < -1 || c.length == 0 && !c.open || c.total < -1 || c.total >= 0 && c.length > 0 && c.start+c.length > c.total) {
			t.Fatalf("parseChunk(%q) = %+v", header, c)
		}
	})
}

// Whatever a client sends as a signed URL, it is refused without a panic.
func FuzzVerify(f *testing.F) {
	key, err := createSigner(filepath.Join(f.TempDir(), "key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("X-Goog-Date=20260102T030405Z&X-Goog-Expires=60&X-Goog-Signature=00", "/b/o")
	f.Add("X-Goog-Signature=&X-Goog-Date=1", "/b/%2F..")
	f.Fuzz(func(t *testing.T, query, path string) {
		req := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		req.URL.RawQuery, req.URL.Path = query, path
		if err := key.verify(req); err == nil {
			t.Fatalf("verify(%q, %q) = nil", query, path)
		}
	})
}

func TestNextIDGrows(t *testing.T) {
	t.Parallel()
	s := &Server{}
	s.last.Store(time.Now().Add(time.Hour).UnixMicro()) // the clock was set back
	var ids []int64
	for range 100 {
		ids = append(ids, s.nextID())
	}
	if !slices.IsSorted(ids) || len(slices.Compact(ids)) != 100 {
		t.Errorf("ids = %v, want them to grow", ids)
	}
}

func TestFullDiskIsToldBeforeItHarmsTheIndex(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{Dir: t.TempDir()})
	do(t, s, "POST", "/storage/v1/b", `{"name":"bkt"}`)
	p := beginParts(t, s, "/bkt/p")
	s.blobs.room = func() error { return &disk.FullError{Dir: "/data"} }
	p.expect(p.do("PUT", "&partNumber=1", "x"), http.StatusInsufficientStorage, "quotaExceeded")
	p.expect(do(t, s, "POST", "/bkt/p?uploads", "", "Authorization", "Bearer x"), http.StatusInsufficientStorage, "quotaExceeded")
	w := do(t, s, "POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=a", "x")
	if w.Code != http.StatusInsufficientStorage || !strings.Contains(w.Body.String(), "quotaExceeded") {
		t.Errorf("upload to a full disk = %d %s, want 507", w.Code, w.Body)
	}
	upload := strings.TrimPrefix(do(t, s, "POST", "/upload/storage/v1/b/bkt/o?uploadType=resumable&name=b", "{}").Header().Get("Location"), "http://127.0.0.1")
	if w := do(t, s, "PUT", upload, "abc", "Content-Range", "bytes 0-2/3"); w.Code != http.StatusInsufficientStorage {
		t.Errorf("chunk to a full disk = %d %s, want 507", w.Code, w.Body)
	}
	s.blobs.room = func() error { return nil }
	if w := do(t, s, "PUT", upload, "abc", "Content-Range", "bytes 0-2/3"); w.Code != http.StatusOK {
		t.Errorf("chunk when there is room again = %d %s", w.Code, w.Body)
	}
	p.expect(p.do("POST", "", list(1, p.put(1, "x"))), http.StatusOK, "Result")
	if w := do(t, s, "GET", "/storage/v1/b/bkt/o/a", ""); w.Code != http.StatusNotFound {
		t.Errorf("object of the refused upload = %d, want 404", w.Code)
	}
}
