package client_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"exportd/internal/apikey"
)

// caseServer answers as the cases say. What a client asks for that is another thing is a fault of the case.
type caseServer struct {
	*caseFile
	mu    sync.Mutex
	state []caseState // by case
}

type caseState struct {
	answered int
	links    int
	faults   []string
	key      string          // Idempotency-Key
	seen     map[string]bool // signatures
	dates    []string
}

func newCaseServer(f *caseFile) *caseServer {
	return &caseServer{caseFile: f, state: make([]caseState, len(f.Cases))}
}

// pathOf is where the service of a case is.
func (s *caseServer) pathOf(index int) string { return "/case/" + strconv.Itoa(index) }

// faults are what was wrong with the requests of a case, which is over.
func (s *caseServer) faults(index int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, st := &s.Cases[index], &s.state[index]
	faults := slices.Clone(st.faults)
	if n := len(c.Answers); st.answered < n {
		faults = append(faults, fmt.Sprintf("%d of %d requests came, want %s", st.answered, n, c.Answers[st.answered].For))
	}
	if fault := signedAnew(c, st.dates); fault != "" {
		faults = append(faults, fault)
	}
	return faults
}

func (s *caseServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	number, path, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/case/"), "/")
	index, err := strconv.Atoi(number)
	if err != nil || index >= len(s.Cases) {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	s.mu.Lock()
	st, c := &s.state[index], &s.Cases[index]
	fault := func(format string, args ...any) { st.faults = append(st.faults, fmt.Sprintf(format, args...)) }
	if err != nil {
		fault("read the request: %v", err)
	}
	got := r.Method + " /" + path
	if r.URL.RawQuery != "" {
		got += "?" + r.URL.RawQuery
	}
	if st.answered >= len(c.Answers) {
		fault("%s came behind the last request", got)
		s.mu.Unlock()
		w.WriteHeader(http.StatusTeapot)
		return
	}
	a := &c.Answers[st.answered]
	st.answered++
	if sortedQuery(got) != sortedQuery(a.For) {
		fault("request %d is %s, want %s", st.answered, got, a.For)
	}
	for name, want := range a.With {
		if have := r.Header.Get(name); have != want && (want != "*" || have == "") {
			fault("request %d has %s %q, want %q", st.answered, name, have, want)
		}
	}
	if key := r.Header.Get("Idempotency-Key"); st.key != "" && key != "" && key != st.key {
		fault("request %d has another Idempotency-Key than one before: it may start another job", st.answered)
	} else if key != "" {
		st.key = key
	}
	s.checkSignature(r, body, strings.HasPrefix(path, "file"), st, fault)
	if a.Job["state"] == "succeeded" {
		st.links++
	}
	link := fmt.Sprintf("http://%s%s/file?X-Goog-Signature=hidden%d", r.Host, s.pathOf(index), st.links)
	s.mu.Unlock()
	s.answer(w, r, a, link)
}

// checkSignature: all but files are signed, each request anew, and files are not.
func (s *caseServer) checkSignature(r *http.Request, body []byte, file bool, st *caseState, fault func(string, ...any)) {
	h := r.Header
	date, nonce, signature := h.Get("X-Date"), h.Get("X-Nonce"), h.Get("X-Signature")
	switch {
	case file && (h.Get("X-Api-Key") != "" || signature != "" || date != ""):
		fault("the link to the file was asked for with signed headers")
	case file:
	case h.Get("X-Api-Key") != s.Key:
		fault("x-api-key is %q", h.Get("X-Api-Key"))
	case h.Get("X-Signature-Version") == "2":
		asked := apikey.Request{Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Body: body}
		if want := apikey.SignV2(s.Secret, asked, s.Key, date, nonce); signature != want || len(nonce) < 22 || st.seen[nonce] {
			fault("x-signature is %q, want %q of a new nonce (%q)", signature, want, nonce)
		}
	case signature != apikey.Sign(s.Secret, date):
		fault("x-signature of %q is %q", date, signature)
	}
	if st.seen == nil {
		st.seen = map[string]bool{}
	}
	st.seen[nonce] = true
	if !file {
		st.dates = append(st.dates, date)
	}
}

func (s *caseServer) answer(w http.ResponseWriter, r *http.Request, a *caseAnswer, link string) {
	status, body, header := a.Status, s.bodyOf(a, link), w.Header()
	if status == 0 {
		status = http.StatusOK
	}
	header.Set("X-Request-Id", "request-1")
	header.Set("Content-Type", "application/json")
	whole := len(body)
	if a.File != nil {
		header.Set("Content-Type", "text/csv")
		if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && a.Status == 0 {
			n, err := strconv.Atoi(strings.TrimSuffix(from, "-"))
			if err != nil || n > len(body) {
				n = len(body)
			}
			status, body = http.StatusPartialContent, body[n:]
			header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", n, whole-1, whole))
		}
	}
	for name, value := range a.Headers {
		header.Set(name, value)
	}
	if !a.Drop && a.Cut == nil && !a.Stall {
		header.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_, _ = w.Write(body)
		return
	}
	s.broken(w, a, status, body)
}

// broken sends the beginning of an answer and ends the connection, or stands still until the client does.
func (s *caseServer) broken(w http.ResponseWriter, a *caseAnswer, status int, body []byte) {
	conn, out, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	if !a.Drop {
		fmt.Fprintf(out, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\nConnection: close\r\n", status, http.StatusText(status), len(body))
		_ = w.Header().Write(out)
		n := 0
		if a.Cut != nil {
			n = min(*a.Cut, len(body))
		}
		_, _ = out.WriteString("\r\n" + string(body[:n]))
		_ = out.Flush()
	}
	if a.Stall {
		_, _ = conn.Read(make([]byte, 1)) // ends with the client's connection
	}
}

func sortedQuery(target string) string {
	path, query, _ := strings.Cut(target, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return target
	}
	return path + "?" + values.Encode()
}

func crc32cOf(text string) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))))
}

// signedAnew finds attempts that were sent with the date of an earlier one although time had passed.
func signedAnew(c *clientCase, dates []string) (fault string) {
	if c.Waits == nil || c.Waits[0] == 0 || len(dates) == 0 {
		return ""
	}
	if slices.Max(dates) == slices.Min(dates) {
		return fmt.Sprintf("%d requests over %v s have the date %s", len(dates), *c.Waits, dates[0])
	}
	return ""
}
