package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// manner is how a receiver treats the callback of one export. A try that none of it concerns is answered with
// 204 at once.
type manner struct {
	host  int           // whose address it has: one host for each sort, so that one does not hold up the others
	fails int           // so many tries are answered with 500 before the first that is not
	cuts  int           // or read to the end and then cut off without an answer
	slow  time.Duration // or answered that late: the worker has 15 s of patience
	gone  bool          // or it wants no callbacks any more
}

// randomManner leaves a third of the receivers alone. Three failures are one more than the schedule gets over
// within five minutes: then the operator must help.
func randomManner(rng *rand.Rand) manner {
	switch rng.IntN(6) {
	case 0, 1:
		return manner{host: 0}
	case 2:
		return manner{host: 1, fails: 1 + rng.IntN(3)}
	case 3:
		return manner{host: 2, cuts: 1 + rng.IntN(2)}
	default:
		return manner{host: 3, slow: time.Duration(500+rng.IntN(5500)) * time.Millisecond}
	}
}

// arrival is a callback as it came to a receiver.
type arrival struct {
	id, body string
	fault    string // what is wrong with its signature, "" if nothing
	status   int    // what it was answered with; 0 if it got no answer
}

// receivers take callbacks on loopback addresses, one for each sort of manners. They live in the process that
// does the breaking, so what they saw is certain.
type receivers struct {
	secret  []byte
	server  *http.Server
	serving sync.WaitGroup
	origins []string

	mu       sync.Mutex
	manners  map[string]manner // by path
	arrivals map[string][]*arrival
}

// goneHost is of those that fail on purpose.
const goneHost, receiverHosts = 4, 5

// newReceivers verify with the webhook secret of the demo's key.
func newReceivers(ctx context.Context, secret string) (*receivers, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return nil, fmt.Errorf("the demo's webhook secret cannot be read: %w", err)
	}
	rs := &receivers{secret: key, manners: map[string]manner{}, arrivals: map[string][]*arrival{}}
	rs.server = &http.Server{Handler: rs, ReadTimeout: 20 * time.Second}
	for i := range receiverHosts {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.1.%d:0", i+1))
		if err != nil {
			rs.close()
			return nil, err
		}
		rs.origins = append(rs.origins, "http://"+l.Addr().String())
		rs.serving.Go(func() { _ = rs.server.Serve(l) }) // until close
	}
	return rs, nil
}

func (rs *receivers) close() {
	_ = rs.server.Close() // the run is over
	rs.serving.Wait()
}

// expect gives the callbackUrl of the n-th export.
func (rs *receivers) expect(n int, m manner) string {
	path := fmt.Sprintf("/%d", n)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.manners[path] = m
	return rs.origins[m.host] + path
}

// ServeHTTP notes what comes and treats it as the export's manner says.
func (rs *receivers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return // its sender was killed while it sent
	}
	a := &arrival{id: r.Header.Get("webhook-id"), body: string(body), fault: rs.fault(body, r.Header)}
	rs.mu.Lock()
	m := rs.manners[r.URL.Path]
	n := len(rs.arrivals[r.URL.Path])
	rs.arrivals[r.URL.Path] = append(rs.arrivals[r.URL.Path], a)
	rs.mu.Unlock()
	status := http.StatusNoContent
	switch {
	case m.gone:
		status = http.StatusGone
	case n < m.cuts:
		panic(http.ErrAbortHandler) // how a handler says: close the connection
	case n < m.fails:
		status = http.StatusInternalServerError
	case !pause(r.Context(), m.slow):
		return // its sender was killed while it waited
	}
	rs.mu.Lock()
	a.status = status
	rs.mu.Unlock()
	w.WriteHeader(status)
}

// fault says what is wrong with a signature after Standard Webhooks, "" if nothing. Written without the code
// that signs.
func (rs *receivers) fault(body []byte, h http.Header) string {
	sent, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return "its timestamp is missing or more than 5 minutes off"
	}
	mac := hmac.New(sha256.New, rs.secret)
	_, _ = fmt.Fprintf(mac, "%s.%d.%s", h.Get("webhook-id"), sent, body) // a hash takes everything
	if !slices.Contains(strings.Fields(h.Get("webhook-signature")), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))) {
		return "no signature matches the secret"
	}
	return ""
}

// seen is every arrival, by the URL that it came to.
func (rs *receivers) seen() map[string][]arrival {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	all := map[string][]arrival{}
	for path, arrivals := range rs.arrivals {
		url := rs.origins[rs.manners[path].host] + path
		for _, a := range arrivals {
			all[url] = append(all[url], *a)
		}
	}
	return all
}

// event is the body of a callback, read without the code that writes it.
type event struct {
	Type string `json:"type"`
	Data struct {
		JobID      string  `json:"jobId"`
		Kind       string  `json:"kind"`
		State      string  `json:"state"`
		TotalCount *int64  `json:"totalCount"`
		CSVURL     *string `json:"csvUrl"`
		Error      *struct {
			Code string `json:"code"`
		} `json:"error"`
	} `json:"data"`
}

func readEvent(body string) (e event, err error) {
	return e, json.Unmarshal([]byte(body), &e)
}
