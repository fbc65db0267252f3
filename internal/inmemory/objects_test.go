package inmemory_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/inmemory"
	"exportd/jobs/jobstest"
)

// direct answers requests without a network.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestObjects(t *testing.T) {
	t.Parallel()
	jobstest.ObjectSuite(t, func(_ *testing.T, c jobstest.ObjectConfig) *jobstest.Bucket {
		s := inmemory.NewObjects()
		s.NoBucket = c.NoBucket
		return &jobstest.Bucket{ObjectStore: s, HTTP: &http.Client{Transport: direct{s}}}
	})
}

// A link works until its life is over.
func TestLinkExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := inmemory.NewObjects()
		link, err := s.SignedURL(t.Context(), "nothing", time.Minute, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{http.StatusNotFound, http.StatusForbidden} {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, link, nil))
			if w.Code != want {
				t.Errorf("GET = %d, want %d", w.Code, want)
			}
			time.Sleep(time.Minute + time.Second)
		}
	})
}
