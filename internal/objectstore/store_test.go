package objectstore_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/api/option"

	"exportd/internal/objectstore"
	"exportd/jobs"
)

// The requests of an upload, as a load balancer would count them.
func TestSmallObjectTakesOneRequest(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	uploads := 0
	inner := serve(t)
	host := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/upload/") {
			mu.Lock()
			uploads++
			mu.Unlock()
		}
		inner.ServeHTTP(w, r)
	}))
	s := open(t, objectstore.Config{EmulatorHost: host})
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	for want, size := range []int{1: 0, 2: 256 << 10, 3: 1 << 20, 4: 7 << 20} {
		if want == 0 {
			continue
		}
		mustWrite(t, s, fmt.Sprint(size), random(2, size))
		if uploads != want {
			t.Errorf("%d upload requests after %d objects, the last of %d bytes", uploads, want, size)
		}
	}
}

func TestEnsureTwiceAndLifecycle(t *testing.T) {
	t.Parallel()
	host := listen(t, serve(t))
	for _, days := range []int{0, 7, 7, 30} {
		s := open(t, objectstore.Config{EmulatorHost: host, RetentionDays: days})
		for range 2 {
			if err := s.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	res, body := get(t, "http://"+host+"/storage/v1/b/exports-test")
	if want := `"rule":[{"action":{"type":"Delete"},"condition":{"age":30,"matchesPrefix":["exports/"]}}]`; !strings.Contains(body, want) {
		t.Errorf("bucket = %d %s, want %s", res.StatusCode, body, want)
	}
}

func get(t testing.TB, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestErrorsSayWhatTheyMeanForTheJob(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
		code   jobs.Code
		class  jobs.Class
	}{
		"denied":    {403, `{"error":{"code":403,"errors":[{"reason":"forbidden"}]}}`, objectstore.ErrPermission, jobs.CodeStorageDenied, jobs.Permanent},
		"unknown":   {401, `{}`, objectstore.ErrPermission, jobs.CodeStorageDenied, jobs.Permanent},
		"quota":     {403, `{"error":{"code":403,"errors":[{"reason":"quotaExceeded"}]}}`, objectstore.ErrQuota, jobs.CodeStorageQuota, jobs.Transient},
		"full disk": {507, `{}`, objectstore.ErrQuota, jobs.CodeStorageQuota, jobs.Transient},
		"down":      {503, `{}`, objectstore.ErrUnavailable, jobs.CodeUnavailable, jobs.Transient},
		"throttled": {429, `{}`, objectstore.ErrUnavailable, jobs.CodeUnavailable, jobs.Transient},
		"no bucket": {404, `{}`, jobs.ErrNotFound, jobs.CodeInternal, jobs.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, objectstore.Config{EmulatorHost: listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))})
			check := func(op string, err error) {
				t.Helper()
				want, code := c.want, c.code
				if c.status == http.StatusNotFound && (strings.HasSuffix(op, "write") || op == "Compose") {
					want, code = jobs.ErrNoBucket, jobs.CodeBucketMissing // the job must hear what to mend
				}
				if f := jobs.AsFailure(err); !errors.Is(err, want) || f.Code != code || f.Class != c.class {
					t.Errorf("%s = %v (%v %v), want %v (%v %v)", op, err, f.Code, f.Class, want, code, c.class)
				}
			}
			_, err := write(t, s, "small", []byte("x"))
			check("small write", err)
			_, err = write(t, s, "large", random(1, 20<<20))
			check("large write", err)
			_, err = s.Attrs(t.Context(), "a")
			check("Attrs", err)
			_, err = s.NewReader(t.Context(), "a", 0)
			check("NewReader", err)
			_, err = s.Compose(t.Context(), "a", []string{"b"}, jobs.ObjectAttrs{}, 1, 1)
			check("Compose", err)
			_, err = s.DeletePrefix(t.Context(), "a/")
			check("DeletePrefix", err)
			check("Ping", s.Ping(t.Context()))
		})
	}
}

func TestSilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(release); web.Close() })
	s := open(t, objectstore.Config{EmulatorHost: web.URL, CallTimeout: 50 * time.Millisecond, StallTimeout: 50 * time.Millisecond})
	_, small := write(t, s, "a", []byte("x"))
	_, large := write(t, s, "a", random(1, 20<<20))
	_, attrs := s.Attrs(t.Context(), "a")
	_, read := s.NewReader(t.Context(), "a", 0)
	_, sign := s.SignedURL(t.Context(), "a", time.Hour, "")
	for op, err := range map[string]error{"small write": small, "large write": large, "Attrs": attrs, "NewReader": read, "SignedURL": sign} {
		if !errors.Is(err, objectstore.ErrUnavailable) {
			t.Errorf("%s = %v, want ErrUnavailable", op, err)
		}
	}
}

// Storage reports another checksum than was written: an error, and no object.
func TestMismatchRemovesTheObject(t *testing.T) {
	t.Parallel()
	inner := serve(t)
	crc := regexp.MustCompile(`"crc32c":"[^"]*"`)
	host := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodDelete {
			inner.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		inner.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(crc.ReplaceAll(answer.Body.Bytes(), []byte(`"crc32c":"AAAAAA=="`)))
	}))
	s := open(t, objectstore.Config{EmulatorHost: host})
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{10, 9 << 20} {
		_, err := write(t, s, "a", random(1, size))
		if f := jobs.AsFailure(err); !errors.Is(err, objectstore.ErrMismatch) || f.Code != jobs.CodeStorageCorrupt {
			t.Errorf("write of %d bytes = %v, want ErrMismatch", size, err)
		}
		if _, err := s.Attrs(t.Context(), "a"); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("Attrs after the mismatch = %v, want ErrNotFound", err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// On Google Cloud the account signs through IAM; here IAM is a function.
func TestSignedURLThroughIAM(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{200: nil, 403: objectstore.ErrPermission, 503: objectstore.ErrUnavailable} {
		var calls atomic.Int64
		iam := roundTrip(func(r *http.Request) (*http.Response, error) {
			if got := r.URL.String(); !strings.HasPrefix(got, "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/signer@p.iam.gserviceaccount.com:signBlob?") {
				t.Errorf("request to %s", got)
			}
			calls.Add(1)
			return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"signedBlob":"AQID"}`)), Request: r}, nil
		})
		// Credentials are given, so that the client does not look for a metadata server.
		user := option.WithAuthCredentialsJSON(option.AuthorizedUser, []byte(`{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}`))
		s := open(t, objectstore.Config{SignerEmail: "signer@p.iam.gserviceaccount.com", ClientOptions: []option.ClientOption{user, option.WithHTTPClient(&http.Client{Transport: iam})}})
		url, err := s.SignedURL(t.Context(), "exports/a b.csv", time.Hour, "a.csv")
		if !errors.Is(err, want) || calls.Load() > 3 {
			t.Errorf("SignedURL when IAM says %d = %v after %d calls, want %v", status, err, calls.Load(), want)
		}
		if err == nil && (!strings.HasPrefix(url, "https://storage.googleapis.com/exports-test/exports/a%20b.csv?") ||
			!strings.Contains(url, "X-Goog-Credential=signer%40p") || !strings.Contains(url, "X-Goog-Signature=010203")) {
			t.Errorf("SignedURL = %s", url)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{1 << 10, 512 << 10, 64 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := newStore(b, objectstore.Config{})
			data := random(1, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				mustWrite(b, s, fmt.Sprint(i), data)
			}
		})
	}
}
