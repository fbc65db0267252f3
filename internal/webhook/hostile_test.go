package webhook

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"
)

// pipeSender sends over net.Pipe inside a synctest bubble, so that production's limits run on a clock of
// their own. With serve nil nobody ever reads what is sent.
func pipeSender(serve func(conn net.Conn)) *Sender {
	return NewSender(SenderConfig{
		Rules: Rules{Dev: Dev{AllowHTTP: true}},
		Guard: NewGuard(GuardConfig{
			Lookup: fixedLookup(publicAddr),
			Dial: func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				go func() {
					defer server.Close() //nolint:errcheck // a pipe
					serve(server)
				}()
				return client, nil
			},
		}),
	})
}

// afterRequest reads one request and then lets answer write.
func afterRequest(answer func(w io.Writer)) func(net.Conn) {
	return func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		answer(conn)
	}
}

func raw(answer string) func(net.Conn) {
	return afterRequest(func(w io.Writer) { _, _ = io.WriteString(w, answer) })
}

// drip writes part again and again, with a pause, until the other side is gone.
func drip(head, part string, pause time.Duration) func(net.Conn) {
	return afterRequest(func(w io.Writer) {
		_, err := io.WriteString(w, head)
		for err == nil {
			if pause > 0 {
				<-time.After(pause)
			}
			_, err = io.WriteString(w, part)
		}
	})
}

// untilClosed blocks until the sender gives up.
func untilClosed(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func gzipBomb() string {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	zeros := make([]byte, 1<<20)
	for range 32 {
		_, _ = z.Write(zeros)
	}
	_ = z.Close()
	return b.String()
}

type hostile struct {
	name   string
	url    string // default http://hooks.customer.com/
	serve  func(net.Conn)
	class  Class
	status int
	// after is the time it takes on the bubble's clock, to the nanosecond.
	after    time.Duration
	response string
}

// aSecond is a little more, so that no byte comes at the instant of a limit.
const aSecond = 1001 * time.Millisecond

func hostiles() []hostile {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	long := strings.Repeat("a", 32<<10)
	bomb := gzipBomb()
	return []hostile{
		{name: "hangs after the request", serve: untilClosed, class: ClassTimeout, after: 10 * time.Second},
		{name: "reads nothing", serve: func(net.Conn) { <-time.After(time.Minute) }, class: ClassTimeout, after: 15 * time.Second},
		{name: "hangs in the handshake", url: "https://hooks.customer.com/", serve: untilClosed, class: ClassTimeout, after: 5 * time.Second},
		{name: "closes in the handshake", url: "https://hooks.customer.com/", serve: func(net.Conn) {}, class: ClassTLS},
		{name: "drips headers", serve: drip("HTTP/1.1 200 OK\r\nX: ", "a", time.Second), class: ClassTimeout, after: 10 * time.Second},
		{name: "drips the body", serve: drip(head+"Content-Length: 10000\r\n\r\n", "a", aSecond), class: ClassTimeout, status: 200, after: 15 * time.Second, response: strings.Repeat("a", 14)},
		{name: "drips a body without length", serve: drip(head+"\r\n", "a", aSecond), class: ClassTimeout, status: 200, after: 15 * time.Second, response: strings.Repeat("a", 14)},
		{name: "drips 10 GiB", serve: drip(head+"Content-Length: 10737418240\r\n\r\n", "a", aSecond), class: ClassTimeout, status: 200, after: 15 * time.Second, response: strings.Repeat("a", 14)},
		{name: "endless headers", serve: drip(head, "X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 0), class: ClassBadResponse},
		{name: "one endless header", serve: drip(head+"X-Header: ", long, 0), class: ClassBadResponse},
		{name: "headers over 16 KiB", serve: raw(head + "X-Header: " + long + "\r\n\r\n"), class: ClassBadResponse},
		{name: "endless status line", serve: drip("HTTP/1.1 200 ", long, 0), class: ClassBadResponse},
		{name: "endless 1xx", serve: drip("", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", 0), class: ClassBadResponse},
		{name: "a 1xx each second", serve: drip("", "HTTP/1.1 102 Processing\r\n\r\n", time.Second), class: ClassTimeout, after: 10 * time.Second},
		{name: "100 then 200", serve: raw("HTTP/1.1 100 Continue\r\n\r\n" + head + "Content-Length: 2\r\n\r\nok"), class: "http_200", status: 200, response: "ok"},
		{name: "switches protocols", serve: func(c net.Conn) {
			raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")(c)
			untilClosed(c)
		}, class: "http_101", status: 101},
		{name: "gzip bomb", serve: raw(head + "Content-Encoding: gzip\r\nContent-Length: " + strconv.Itoa(len(bomb)) + "\r\n\r\n" + bomb), class: "http_200", status: 200},
		{name: "10 GiB", serve: drip(head+"Content-Length: 10737418240\r\n\r\n", long, 0), class: "http_200", status: 200, response: long[:2048]},
		{name: "endless chunks", serve: drip(head+"Transfer-Encoding: chunked\r\n\r\n", "8000\r\n"+long+"\r\n", 0), class: "http_200", status: 200, response: long[:2048]},
		{name: "10 GiB of failure", serve: drip("HTTP/1.1 500 x\r\nContent-Length: 10737418240\r\n\r\n", long, 0), class: "http_500", status: 500, response: long[:2048]},
		{name: "garbage", serve: raw("\x00\x01\x02 garbage\r\n\r\n"), class: ClassBadResponse},
		{name: "speaks SSH", serve: func(c net.Conn) {
			go untilClosed(c) // a pipe has no buffer: read what is sent meanwhile
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n")
		}, class: ClassBadResponse},
		{name: "status 000", serve: raw("HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n"), class: ClassBadResponse},
		{name: "status 2000", serve: raw("HTTP/1.1 2000 x\r\n\r\n"), class: ClassBadResponse},
		{name: "status -20", serve: raw("HTTP/1.1 -20 x\r\n\r\n"), class: ClassBadResponse},
		{name: "two lengths", serve: raw(head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nok"), class: ClassBadResponse},
		{name: "closes at once", serve: func(net.Conn) {}, class: ClassBadResponse},
		{name: "closes after the request", serve: raw(""), class: ClassBadResponse},
		{name: "closes in the headers", serve: raw("HTTP/1.1 200 OK\r\nX: "), class: ClassBadResponse},
		{name: "closes in the body", serve: raw(head + "Content-Length: 100\r\n\r\nshort"), class: ClassBadResponse, status: 200, response: "short"},
		{name: "bad chunk", serve: raw(head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"), class: ClassBadResponse, status: 200, response: "ok"},
		{name: "binary body", serve: raw(head + "Content-Length: 6\r\n\r\n\x00\x1b[2J\xff"), class: "http_200", status: 200, response: "\uFFFD\uFFFD[2J\uFFFD"},
	}
}

func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	for _, tt := range hostiles() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				url := tt.url
				if url == "" {
					url = "http://hooks.customer.com/"
				}
				a := pipeSender(tt.serve).Send(t.Context(), delivery(url))
				<-time.After(time.Minute) // on the bubble's clock: receivers end too
				if a.Class != tt.class || a.Status != tt.status || a.Duration != tt.after || a.Response != tt.response {
					t.Errorf("Send = %s, %d, %v, %.60q (%v), want %s, %d, %v, %.60q",
						a.Class, a.Status, a.Duration, a.Response, a.Err, tt.class, tt.status, tt.after, tt.response)
				}
				if a.Err != nil && len(a.Err.Error()) > 300 {
					t.Errorf("Err has %d bytes", len(a.Err.Error()))
				}
				if d := always(0.5).Decide(1, a, time.Now()); !a.Delivered() && d.Verdict != VerdictRetry {
					t.Errorf("Decide = %+v, want a retry", d)
				}
			})
		})
	}
}

// TestHostileMemory is not parallel: it counts what the process allocates, sender and receiver together.
func TestHostileMemory(t *testing.T) {
	const bound = 512 << 10
	for _, tt := range hostiles() {
		synctest.Test(t, func(t *testing.T) {
			sender, d := pipeSender(tt.serve), delivery("http://hooks.customer.com/")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = sender.Send(t.Context(), d)
			<-time.After(time.Minute)
			runtime.ReadMemStats(&after)
			got := after.TotalAlloc - before.TotalAlloc
			t.Logf("%s: %d KiB", tt.name, got>>10)
			if got > bound {
				t.Errorf("%s: one attempt allocated %d bytes, want at most %d", tt.name, got, bound)
			}
		})
	}
}

// brokenConn has an answer to a request that it did not take whole.
type brokenConn struct {
	net.Conn
	answer *strings.Reader
}

func (c brokenConn) Write([]byte) (int, error)       { return 0, io.ErrClosedPipe }
func (c brokenConn) Read(p []byte) (int, error)      { return c.answer.Read(p) }
func (c brokenConn) Close() error                    { return nil }
func (c brokenConn) SetDeadline(time.Time) error     { return nil }
func (c brokenConn) SetReadDeadline(time.Time) error { return nil }

// TestSendAnsweredEarly: a refusal may come before the request was read whole; a success may not.
func TestSendAnsweredEarly(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]Class{
		"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n": "http_413",
		"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n":      "http_410",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":        ClassBadResponse,
		"": ClassBadResponse,
	} {
		sender := NewSender(SenderConfig{
			Rules: Rules{Dev: Dev{AllowHTTP: true}},
			Guard: NewGuard(GuardConfig{
				Lookup: fixedLookup(publicAddr),
				Dial: func(context.Context, string, string) (net.Conn, error) {
					return brokenConn{answer: strings.NewReader(answer)}, nil
				},
			}),
		})
		if a := sender.Send(t.Context(), delivery("http://hooks.customer.com/")); a.Class != want || a.Delivered() {
			t.Errorf("%q: Send = %+v, want %s", answer, a, want)
		}
	}
}

// TestSendInterrupted: our own shutdown is not the receiver's failure.
func TestSendInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, serve := range map[string]func(net.Conn){
			"headers": untilClosed,
			"body":    drip("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "a", time.Second),
		} {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(2500*time.Millisecond, cancel)
			a := pipeSender(serve).Send(ctx, delivery("http://hooks.customer.com/"))
			if a.Class != ClassInterrupted || a.Duration != 2500*time.Millisecond || !errors.Is(ctx.Err(), context.Canceled) || a.Delivered() {
				t.Errorf("%s: Send = %+v", name, a)
			}
			<-time.After(time.Minute)
		}
	})
}

func TestPlainText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in    string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"a\tb\nc\r\nd\re", 20, "a\tb\nc\nd\uFFFDe"},
		{"日本語", 7, "日本"},
		{"日本語"[:8], 20, "日本"},
		{"\xff\xfe", 20, "\uFFFD\uFFFD"},
		{"\x00\x1b[0m\x7f\u0085", 40, "\uFFFD\uFFFD[0m\uFFFD\uFFFD"},
		{"a\u202eb\u2066c\u200bd\ufeffe\u2028f", 40, "a\uFFFDb\uFFFDc\uFFFDd\uFFFDe\uFFFDf"},
		{"a b\u00a0c", 40, "a b\u00a0c"},
		{"\x00\x00", 5, "\uFFFD"},
	}
	for _, tt := range tests {
		if got := plainText([]byte(tt.in), tt.limit); got != tt.want {
			t.Errorf("plainText(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}

// FuzzPlainText: whatever a receiver sends, what is kept is short and harmless.
func FuzzPlainText(f *testing.F) {
	f.Add([]byte("a\u202e\x1b[0m\xff"), 7)
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		limit = max(0, min(limit, 4096))
		got := plainText(data, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Fatalf("plainText(%q, %d) = %q", data, limit, got)
		}
		if i := strings.IndexFunc(got, func(r rune) bool {
			return r != '\t' && r != '\n' && unicode.In(r, unicode.C, unicode.Zl, unicode.Zp)
		}); i >= 0 {
			t.Fatalf("plainText(%q, %d) = %q, harmful at %d", data, limit, got, i)
		}
	})
}

// TestErrorsQuoteNobody: what a receiver sends instead of an answer is in no error, which is logged: it may
// be our own request, whose path and body hold rights.
func TestErrorsQuoteNobody(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"":             "", // what it was sent
		"no HTTP":      "hush hush hush\r\n\r\n",
		"version":      "HTTP/hush 200 OK\r\n\r\n",
		"status":       "HTTP/1.1 hush OK\r\n\r\n",
		"header line":  "HTTP/1.1 200 OK\r\nhush hush\r\n\r\n",
		"length":       "HTTP/1.1 200 OK\r\nContent-Length: hush\r\n\r\n",
		"two lengths":  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: hush\r\n\r\n",
		"encoding":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: hush\r\n\r\n",
		"trailer":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length, hush\r\n\r\n",
		"chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhush\r\n",
		"end of chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokhush\r\n",
		"redirect":     "HTTP/1.1 302 hush\r\nLocation: https://hush.example/hush\r\nContent-Length: 0\r\n\r\n",
		"status text":  "HTTP/1.1 500 hush\r\nContent-Length: 4\r\n\r\nhush",
		"retry":        "HTTP/1.1 503 Busy\r\nRetry-After: hush\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				serve := raw(answer)
				if answer == "" {
					serve = func(conn net.Conn) {
						sent := make([]byte, 64)
						n, _ := conn.Read(sent)
						go untilClosed(conn)
						_, _ = conn.Write(append(sent[:n], "\r\n\r\n"...))
					}
				}
				a := pipeSender(serve).Send(t.Context(), delivery("http://hooks.customer.com/hush?token=hush"))
				if a.Delivered() || strings.Contains(fmt.Sprintf("%v %+v %s", a.Err, a.Err, a.Class), "hush") {
					t.Errorf("it is %s: %+v", a.Class, a.Err)
				}
				t.Logf("%s: %v", a.Class, a.Err)
			})
		})
	}
}
