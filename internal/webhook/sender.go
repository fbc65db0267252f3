package webhook

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"exportd/internal/tracing"
)

// DefaultUserAgent is sent when SenderConfig names none.
const DefaultUserAgent = "exportd-callback/1"

// Limits bound one attempt in time and memory. Zero fields get the defaults. The limits of DNS (2 s) and
// connecting (3 s) are the Guard's.
type Limits struct {
	TLS     time.Duration // handshake; default 5 s
	Headers time.Duration // from the request's end to the end of the answer's headers; default 10 s
	Total   time.Duration // everything from DNS to the end of the body; default 15 s

	HeaderBytes int64 // of the answer's headers, those of 1xx answers before it included; default 16 KiB
	ReadBytes   int64 // of the answer's body, as it came; default 64 KiB
	KeepBytes   int   // of Attempt.Response; default 2 KiB
}

// DefaultLimits are those of an attempt of which nothing else is said.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	return Limits{
		TLS:         cmp.Or(l.TLS, 5*time.Second),
		Headers:     cmp.Or(l.Headers, 10*time.Second),
		Total:       cmp.Or(l.Total, 15*time.Second),
		HeaderBytes: cmp.Or(l.HeaderBytes, 16<<10),
		ReadBytes:   cmp.Or(l.ReadBytes, 64<<10),
		KeepBytes:   cmp.Or(l.KeepBytes, 2<<10),
	}
}

// SenderConfig configures a Sender.
type SenderConfig struct {
	// Guard is required: it makes every connection.
	Guard *Guard
	// Rules judge the URL again before each attempt; AllowedHosts is taken from the Delivery instead.
	Rules Rules
	// Limits of one attempt.
	Limits Limits
	// UserAgent should name an address where a receiver can complain; default DefaultUserAgent.
	UserAgent string
	// RootCAs defaults to the system's.
	RootCAs *x509.CertPool
	// Now defaults to time.Now. It dates attempts; it does not time them.
	Now func() time.Time
}

// Sender makes single attempts. It is safe for concurrent use, keeps no connection open between attempts and
// bounds no parallelism: see Limiter.
type Sender struct {
	cfg    SenderConfig
	limits Limits
}

// NewSender makes a Sender. It panics without a Guard: sending unguarded is a programmer error that must not
// reach a request.
func NewSender(cfg SenderConfig) *Sender {
	if cfg.Guard == nil {
		panic("webhook: NewSender without Guard")
	}
	cfg.UserAgent = cmp.Or(cfg.UserAgent, DefaultUserAgent)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sender{cfg: cfg, limits: cfg.Limits.withDefaults()}
}

// Delivery is one event to be sent once.
type Delivery struct {
	// URL as stored; it is judged again by form and by address.
	URL string
	// AllowedHosts is the key's allow list as it is now; empty allows all.
	AllowedHosts HostList
	// ID is the webhook-id, the same for all attempts and redeliveries of one event: "msg_<jobId>_<state>".
	ID string
	// Timestamp is signed and new for each attempt: receivers refuse one that is more than five minutes off.
	Timestamp time.Time
	// Body is JSON and sent byte for byte as it is signed.
	Body []byte
	// Secrets are the current one and, during rotation, the previous one.
	Secrets []Secret
	// Compose, if set, is called when the connection stands and nothing has been sent, to set Timestamp, Body
	// and Secrets: a receiver may take seconds to get there, in which rights can end. Its error is the
	// attempt's, with ClassInternalError unless it is one of this package's, and nothing is sent.
	Compose func(ctx context.Context, d *Delivery) error `json:"-"`
}

// composeError is an error of Delivery.Compose.
type composeError struct{ error }

func (e *composeError) Unwrap() error { return e.error }

// Send makes one attempt and reports how it ended. It never follows a redirect, uses no proxy and sends
// nothing unless URL and addresses pass. An attempt cut off by ctx, but not by the Sender's own limits, has
// ClassInterrupted.
func (s *Sender) Send(ctx context.Context, d Delivery) Attempt {
	a := Attempt{StartedAt: s.cfg.Now()}
	start := time.Now()
	ctx, span := tracing.Start(ctx, tracing.Step{Name: http.MethodPost, Kind: tracing.Client, Attrs: []tracing.Attr{tracing.Method(http.MethodPost), tracing.Server(d.URL)}})
	defer span.End()
	limited, cancel := context.WithTimeout(ctx, s.limits.Total)
	defer cancel()
	err := s.send(limited, d, &a)
	a.Duration = time.Since(start)
	if err != nil {
		a.Err = err
		a.Class = errorClass(err)
		if ctx.Err() != nil && a.Class != ClassBlocked {
			a.Class = ClassInterrupted
		}
	}
	if a.Status > 0 {
		span.Set(tracing.Status(a.Status))
	}
	if !a.Delivered() {
		span.Fail(string(a.Class))
	}
	return a
}

func errorClass(err error) Class {
	var refused *RefusedError
	var dial *DialError
	var compose *composeError
	switch {
	case errors.As(err, &refused):
		return ClassBlocked
	case errors.As(err, &compose):
		return ClassInternalError
	case errors.As(err, &dial):
		return dial.Class
	case errors.Is(err, ErrNoSecret), errors.Is(err, ErrMessageID):
		return ClassInternalError
	case isTimeout(err):
		return ClassTimeout
	}
	return ClassBadResponse
}

func (s *Sender) send(ctx context.Context, d Delivery, a *Attempt) error {
	rules := s.cfg.Rules
	rules.AllowedHosts = d.AllowedHosts
	target, err := ParseURL(d.URL, rules)
	if err != nil {
		return err
	}
	var req *http.Request
	if d.Compose == nil {
		if req, err = s.request(ctx, target, d); err != nil {
			return err
		}
	}
	conn, err := s.connect(ctx, target)
	if err != nil {
		return err
	}
	if d.Compose != nil {
		if err = d.Compose(ctx, &d); err != nil {
			err = &composeError{err}
		} else {
			req, err = s.request(ctx, target, d)
		}
	}
	if err == nil {
		err = s.exchange(ctx, conn, req, a)
	}
	hangUp(conn, err == nil)
	return err
}

// request makes what is sent, signed.
func (s *Sender) request(ctx context.Context, target Target, d Delivery) (*http.Request, error) {
	signature, err := Sign(d.ID, d.Timestamp, d.Body, d.Secrets...)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(d.Body))
	if err != nil {
		return nil, refuse(ReasonHostMalformed) // ParseURL is stricter; the cause would quote the URL
	}
	req.Header = http.Header{
		"Content-Type":  {"application/json"},
		"User-Agent":    {s.cfg.UserAgent},
		HeaderID:        {d.ID},
		HeaderTimestamp: {unixSeconds(d.Timestamp)},
		HeaderSignature: {signature},
	}
	if t := tracing.Traceparent(ctx); t != "" {
		req.Header["Traceparent"] = []string{t}
	}
	return req, nil
}

// hangUp closes conn. TLS says goodbye only after a clean exchange: a receiver that reads nothing would hold
// that up for another five seconds.
func hangUp(conn net.Conn, clean bool) {
	if secure, ok := conn.(*tls.Conn); ok && !clean {
		conn = secure.NetConn()
	}
	_ = conn.Close() // nothing is left to lose
}

// connect makes the connection before net/http is involved, so that each step has its own limit and its own
// class.
func (s *Sender) connect(ctx context.Context, t Target) (net.Conn, error) {
	conn, err := s.cfg.Guard.Dial(ctx, t)
	if err != nil || t.scheme == "http" {
		return conn, err
	}
	secure := tls.Client(conn, &tls.Config{
		ServerName: t.host,
		RootCAs:    s.cfg.RootCAs,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		// No ClientSessionCache: a ticket must not be shown to whoever a name points at next.
	})
	ctx, cancel := context.WithTimeout(ctx, s.limits.TLS)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		class := ClassTLS
		if isTimeout(err) {
			class = ClassTimeout
		}
		return nil, &DialError{Class: class, Err: fmt.Errorf("handshake: %w", &shortError{err})}
	}
	return secure, nil
}

// exchange sends one request over conn and reads its answer. It works without http.Transport, which has much
// to switch off here (redirects, proxies, HTTP/2, compression, idle connections) and prints what a receiver
// sends unasked to the standard log.
func (s *Sender) exchange(ctx context.Context, conn net.Conn, req *http.Request, a *Attempt) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // ends blocked reads and writes
	defer stop()

	req.Close = true
	writeErr := req.Write(conn) // not yet fatal: the answer may be on its way already
	res, limited, err := s.readHead(ctx, conn, req)
	if err != nil {
		return fmt.Errorf("exchange: %w", &shortError{cmp.Or(writeErr, err)})
	}
	a.Status = res.StatusCode
	a.Class = statusClass(res.StatusCode)
	a.RetryAfter = ParseRetryAfter(res.Header.Get("Retry-After"), s.cfg.Now())
	if writeErr != nil && a.Delivered() {
		return fmt.Errorf("exchange: answered %d without having read the request: %w", res.StatusCode, writeErr)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil // what follows is not a body
	}

	limited.N = math.MaxInt64
	if err := readBy(ctx, conn, s.limits.Total); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	kept := &capped{limit: s.limits.KeepBytes}
	_, err = io.Copy(kept, io.LimitReader(res.Body, s.limits.ReadBytes))
	if encoding := res.Header.Get("Content-Encoding"); encoding == "" || encoding == "identity" {
		a.Response = plainText(kept.data, s.limits.KeepBytes)
	}
	if err != nil {
		// An answer cut off or never ending may come from something in between that gave up: not believed,
		// even if it began with 200.
		return fmt.Errorf("read answer: %w", &shortError{err})
	}
	return nil
}

// readHead reads the first answer that is not 1xx, up to the end of its headers. The reader it returns is
// what bounds the bytes taken from conn. The body must not be closed: that would read all of it.
func (s *Sender) readHead(ctx context.Context, conn net.Conn, req *http.Request) (*http.Response, *io.LimitedReader, error) {
	if err := readBy(ctx, conn, s.limits.Headers); err != nil {
		return nil, nil, err
	}
	limited := &io.LimitedReader{R: conn, N: s.limits.HeaderBytes}
	buffered := bufio.NewReader(limited)
	for {
		res, err := http.ReadResponse(buffered, req)
		switch {
		case err != nil:
			return nil, nil, err
		case res.StatusCode < 100:
			return nil, nil, errors.New("not an HTTP status")
		case res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols:
			return res, limited, nil
		}
	}
}

// readBy lets reads of conn end in time, and by ctx's deadline at the latest. It does not undo that ctx has
// ended.
func readBy(ctx context.Context, conn net.Conn, in time.Duration) error {
	deadline := time.Now().Add(in)
	if total, ok := ctx.Deadline(); ok && total.Before(deadline) {
		deadline = total
	}
	_ = conn.SetReadDeadline(deadline) // fails on a closed connection only, which the read will tell
	return ctx.Err()
}

// capped keeps the first limit bytes written to it and drops the rest.
type capped struct {
	data  []byte
	limit int
}

func (c *capped) Write(p []byte) (int, error) {
	c.data = append(c.data, p[:min(len(p), c.limit-len(c.data))]...)
	return len(p), nil
}

// shortError leaves out of the text of an error what the receiver sent, which net/http and TLS quote. It may
// be what we sent: the path of a URL, which holds rights, or a link to the file.
type shortError struct{ error }

func (e *shortError) Error() string {
	var header textproto.ProtocolError
	var host x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(e.error, &header):
		return "malformed header" // it quotes the line
	case errors.As(e.error, &host):
		return "the certificate is for other hosts"
	case errors.As(e.error, &unknown):
		return "the certificate is signed by an unknown authority"
	case errors.As(e.error, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate has expired or is not yet valid"
	case errors.As(e.error, &invalid):
		return "the certificate is not valid, reason " + strconv.Itoa(int(invalid.Reason)) + " of crypto/x509"
	}
	// Quoted stands what was sent, behind words of the library's.
	text, _, _ := strings.Cut(e.error.Error(), `"`)
	return plainText([]byte(strings.TrimRight(text, " :;")), 256)
}

func (e *shortError) Unwrap() error { return e.error }
