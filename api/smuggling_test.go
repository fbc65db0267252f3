package api

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSmuggling sends forms of a body's length that a proxy in front may read otherwise, each with a second
// request within what may be its body: it is refused and the connection ends, so that nobody's next request
// is taken for another's.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	const second = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, head := range map[string]string{
		"two lengths":            "Content-Length: 0\r\nContent-Length: 34\r\n\r\n",
		"a list of lengths":      "Content-Length: 0, 34\r\n\r\n",
		"length with a sign":     "Content-Length: +0\r\n\r\n",
		"negative length":        "Content-Length: -1\r\n\r\n",
		"hexadecimal length":     "Content-Length: 0x0\r\n\r\n",
		"length beyond 64 bits":  "Content-Length: 18446744073709551616\r\n\r\n",
		"space before the colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"folded":                 "Transfer-Encoding:\r\n chunked, x\r\n\r\n0\r\n\r\n",
		"another coding":         "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"two codings":            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"coding twice":           "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"vertical tab":           "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n",
		"bare return":            "X: y\rContent-Length: 0\r\n\r\n",
		"NUL":                    "X: y\x00\r\n\r\n",
		"chunk size with a sign": "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
		"chunk size of 0x":       "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
		"chunk size too large":   "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
		"huge chunk extension":   "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 100_000) + "\r\nx\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, d := bounded(t)
				c := d.dial("192.0.2.1")
				defer c.Close()
				begun := time.Now()
				got, _ := exchange(c, "POST /exports/x/cancel HTTP/1.1\r\nHost: x\r\n"+head+second)
				if strings.Count(got, "HTTP/1.1 ") > 1 || strings.Contains(got, " 200 ") || !strings.HasPrefix(got, "HTTP/1.1 ") {
					t.Errorf("answers %.300q, want one refusal", got)
				}
				if took := time.Since(begun); took > 16*time.Second {
					t.Errorf("the end came after %s", took)
				}
			})
		})
	}
}
