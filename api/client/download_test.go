package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

// finished is a client with a succeeded job.
func finished(t *testing.T) (*service, *Client, *Job) {
	t.Helper()
	s, c := newService(t, StateSucceeded)
	job, err := c.GetJob(t.Context(), testJob)
	if err != nil {
		t.Fatal(err)
	}
	return s, c, job
}

func (s *service) ranges() []string {
	var out []string
	for _, r := range s.requests {
		if r.URL.Host == "files.test" {
			out = append(out, r.Header.Get("Range"))
		}
	}
	return out
}

func TestDownloadGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c, job := finished(t)
		s.faults = []func(*http.Request) (*http.Response, error){
			s.cut(1000), nil, s.cut(70_000), nil, refused, nil, // nil: the job, for a new link
			answer(http.StatusForbidden, nil, "expired"), nil,
			s.cut(0), answer(http.StatusServiceUnavailable, nil, ""),
		}
		var got bytes.Buffer
		var last int64
		n, err := c.Download(t.Context(), job, &got, func(done, total int64) {
			if done < last || total != int64(len(s.file)) {
				t.Errorf("progress went from %d to %d of %d", last, done, total)
			}
			last = done
		})
		if err != nil || n != int64(len(s.file)) || !bytes.Equal(got.Bytes(), s.file) {
			t.Fatalf("Download = %d, %v; same file: %t", n, err, bytes.Equal(got.Bytes(), s.file))
		}
		if r := s.ranges(); r[0] != "" || r[1] != "bytes=1000-" || r[len(r)-1] != "bytes=71000-" {
			t.Errorf("ranges = %q", r)
		}
		if s.links != 6 {
			t.Errorf("%d links were made, want a fresh one for each of 6 pieces", s.links)
		}
	})
}

// A server that knows no Range sends all of it.
func TestDownloadWithoutRange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c, job := finished(t)
		s.faults = []func(*http.Request) (*http.Response, error){s.cut(5000), nil, answer(http.StatusOK, nil, string(s.file))}
		var got bytes.Buffer
		if _, err := c.Download(t.Context(), job, &got, nil); err != nil || !bytes.Equal(got.Bytes(), s.file) {
			t.Errorf("Download = %v; same file: %t", err, bytes.Equal(got.Bytes(), s.file))
		}
	})
}

func TestDownloadCorrupt(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func([]byte) []byte{
		"a bit":  func(b []byte) []byte { b[500] ^= 1; return b },
		"longer": func(b []byte) []byte { return append(b, 'x') },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, c, job := finished(t)
				s.file = change(bytes.Clone(s.file))
				var got bytes.Buffer
				if _, err := c.Download(t.Context(), job, &got, nil); !errors.Is(err, ErrCorrupt) {
					t.Errorf("Download = %v, want ErrCorrupt", err)
				}
				dir := t.TempDir()
				if err := c.Save(t.Context(), job, filepath.Join(dir, "out.csv"), nil); !errors.Is(err, ErrCorrupt) {
					t.Errorf("Save = %v, want ErrCorrupt", err)
				}
				if left, _ := os.ReadDir(dir); len(left) != 0 {
					t.Errorf("a corrupt download left %v", left)
				}
			})
		})
	}
}

func TestDownloadEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c, job := finished(t)
		for range 30 {
			s.faults = append(s.faults, s.cut(0), nil)
		}
		_, err := c.Download(t.Context(), job, new(bytes.Buffer), nil)
		if err == nil || len(s.ranges()) != 10 || strings.Contains(err.Error(), "Signature") || JobIDOf(err) != testJob {
			t.Errorf("Download = %v after %d tries, want an error after 10 that does not tell the link", err, len(s.ranges()))
		}
		s.faults = nil
		full := errors.New("disk full")
		if _, err := c.Download(t.Context(), job, failingWriter{full}, nil); !errors.Is(err, full) || len(s.ranges()) != 11 {
			t.Errorf("Download = %v after %d more tries, want the writer's error after one", err, len(s.ranges())-10)
		}
		s.states = []State{StateExpired}
		s.faults = []func(*http.Request) (*http.Response, error){answer(http.StatusNotFound, nil, "gone")}
		if _, err := c.Download(t.Context(), job, new(bytes.Buffer), nil); !errors.Is(err, ErrNoFile) {
			t.Errorf("Download of an expired file = %v, want ErrNoFile", err)
		}
		if _, err := c.Download(t.Context(), &Job{State: StateRunning}, new(bytes.Buffer), nil); !errors.Is(err, ErrNoFile) {
			t.Errorf("Download of a running job = %v, want ErrNoFile", err)
		}
	})
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// Save goes on in a later run of the program, and a part file that is not of this file does no harm.
func TestSaveResumes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		part  func(file []byte) []byte
		first string // Range of the first request
	}{
		"nothing":    {func([]byte) []byte { return nil }, ""},
		"beginning":  {func(b []byte) []byte { return b[:1234] }, "bytes=1234-"},
		"all":        {func(b []byte) []byte { return b }, "none"},
		"other file": {func(b []byte) []byte { return bytes.Repeat([]byte("x"), 999) }, "bytes=999-"},
		"too long":   {func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)+1) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, c, job := finished(t)
				path := filepath.Join(t.TempDir(), "out.csv")
				if part := tc.part(s.file); part != nil {
					if err := os.WriteFile(PartPath(path, testJob), part, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.Save(t.Context(), job, path, nil); err != nil {
					t.Fatalf("Save = %v", err)
				}
				if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, s.file) {
					t.Errorf("file = %v; same: %t", err, bytes.Equal(got, s.file))
				}
				if r := append(s.ranges(), "none"); r[0] != tc.first {
					t.Errorf("first range = %q, want %q", r[0], tc.first)
				}
				if _, err := os.Stat(PartPath(path, testJob)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("part file is left: %v", err)
				}
			})
		})
	}
}

// TestVerifyEnds: a file that is not there costs the service nothing, and whoever gives up waits for no more
// of one that is.
func TestVerifyEnds(t *testing.T) {
	t.Parallel()
	s, c := newService(t, StateSucceeded)
	if _, err := c.Verify(t.Context(), testJob, filepath.Join(t.TempDir(), "none.csv")); !errors.Is(err, os.ErrNotExist) || len(s.requests) != 0 {
		t.Errorf("Verify of no file = %v, after %d requests", err, len(s.requests))
	}
	ctx, giveUp := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "out.csv")
	if err := os.WriteFile(path, s.file, 0o600); err != nil {
		t.Fatal(err)
	}
	s.faults = []func(*http.Request) (*http.Response, error){func(*http.Request) (*http.Response, error) {
		body := fmt.Sprintf(`{"parts":[{"offset":0,"sizeBytes":%d,"sha256":null}]}`, len(s.file))
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: endsWith{strings.NewReader(body), giveUp}}, nil
	}}
	if broken, err := c.Verify(ctx, testJob, path); !errors.Is(err, context.Canceled) || broken != nil {
		t.Errorf("Verify that is given up = %v, %v", broken, err)
	}
}

// endsWith is a body whose end something is done with.
type endsWith struct {
	io.Reader
	do func()
}

func (e endsWith) Close() error { e.do(); return nil }
