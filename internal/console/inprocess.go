package console

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// maxAnswer bounds what is taken of one answer of the API: a job of 1,000 parts has half a megabyte.
const maxAnswer = 16 << 20

// inProcess carries requests to a handler of this process.
type inProcess struct{ handler http.Handler }

// asked is of a context: the request that a page was asked by, whose address counts for what the page asks.
type asked struct{}

// RoundTrip has the handler answer.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.RequestURI = r.URL.RequestURI()
	r.Host = r.URL.Host
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if from, ok := r.Context().Value(asked{}).(*http.Request); ok {
		r.RemoteAddr = from.RemoteAddr
		if via := from.Header.Values("X-Forwarded-For"); len(via) > 0 {
			r.Header["X-Forwarded-For"] = via
		}
	}
	w := &answer{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(w, r)
	if w.full {
		return nil, errors.New("the API's answer is larger than the console takes")
	}
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// answer keeps what a handler writes.
type answer struct {
	header  http.Header
	body    bytes.Buffer
	status  int
	written bool
	full    bool
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if !a.written {
		a.status, a.written = status, true
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.written = true
	if a.body.Len()+len(p) > maxAnswer {
		a.full = true
		return 0, io.ErrShortWrite
	}
	return a.body.Write(p)
}
