package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const publicAddr = "93.184.215.14"

// certificate makes a self-signed certificate and the pool that trusts it.
func certificate(t *testing.T, host string, notAfter time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// tlsReceiver serves handler on loopback for hooks.customer.com.
func tlsReceiver(t *testing.T, handler http.HandlerFunc, adjust func(*tls.Config)) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	cert, pool := certificate(t, "hooks.customer.com", time.Now().Add(24*time.Hour))
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if adjust != nil {
		adjust(server.TLS)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, pool
}

// senderTo leads the public address to a loopback one; everything before the socket is production's.
func senderTo(address string, pool *x509.CertPool) *Sender {
	return NewSender(SenderConfig{
		RootCAs: pool,
		Guard: NewGuard(GuardConfig{
			Lookup: fixedLookup(publicAddr),
			Dial: func(ctx context.Context, network, given string) (net.Conn, error) {
				if given != publicAddr+":443" {
					return nil, fmt.Errorf("dial %s", given)
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		}),
	})
}

func delivery(url string) Delivery {
	return Delivery{
		URL: url, ID: "msg_job1_succeeded", Timestamp: time.Now(),
		Body: []byte(`{"type":"export.succeeded","data":{"jobId":"job1"}}`), Secrets: []Secret{randomSecret(), randomSecret()},
	}
}

func TestSendDelivers(t *testing.T) {
	t.Parallel()
	type seen struct {
		method, uri, host, proto string
		header                   http.Header
		body                     []byte
	}
	requests := make(chan seen, 2)
	server, pool := tlsReceiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- seen{r.Method, r.RequestURI, r.Host, r.Proto, r.Header, body}
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "thanks\x1b[31m<b>")
	}, nil)
	d := delivery("HTTPS://Hooks.Customer.com/cb?token=a%20b")
	a := senderTo(server.Listener.Addr().String(), pool).Send(t.Context(), d)
	if !a.Delivered() || a.Class != "http_202" || a.Status != 202 || a.Err != nil || a.RetryAfter != 2*time.Minute || a.Response != "thanks\uFFFD[31m<b>" {
		t.Fatalf("Send = %+v", a)
	}
	if a.StartedAt.IsZero() || a.Duration <= 0 {
		t.Errorf("Send = %+v, want a start and a duration", a)
	}
	got := <-requests
	if got.method != "POST" || got.uri != "/cb?token=a%20b" || got.host != "hooks.customer.com" || got.proto != "HTTP/1.1" || string(got.body) != string(d.Body) {
		t.Errorf("receiver saw %+v", got)
	}
	for _, secret := range d.Secrets {
		verifier, err := standardwebhooks.NewWebhook(secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(got.body, got.header); err != nil {
			t.Errorf("Verify: %v", err)
		}
	}
	got.header.Del(HeaderSignature)
	want := http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {DefaultUserAgent}, "Connection": {"close"},
		"Content-Length": {fmt.Sprint(len(d.Body))}, "Webhook-Id": {d.ID}, "Webhook-Timestamp": {fmt.Sprint(d.Timestamp.Unix())},
	}
	if diff := cmp.Diff(want, got.header); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
}

// TestSendRedirects: each answer is taken as it is, after exactly one request.
func TestSendRedirects(t *testing.T) {
	t.Parallel()
	for _, code := range []int{300, 301, 302, 303, 304, 307, 308, 399} {
		for _, location := range []string{"", "http://169.254.169.254/", "https://10.0.0.1/", "https://other.customer.com/", "/again"} {
			var requests atomic.Int32
			server, pool := tlsReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				if location != "" {
					w.Header().Set("Location", location)
				}
				w.WriteHeader(code)
			}, nil)
			a := senderTo(server.Listener.Addr().String(), pool).Send(t.Context(), delivery("https://hooks.customer.com/"))
			if a.Status != code || a.Class != statusClass(code) || a.Delivered() || requests.Load() != 1 {
				t.Errorf("%d to %q: Send = %+v after %d requests", code, location, a, requests.Load())
			}
		}
	}
}

func TestSendTLS(t *testing.T) {
	t.Parallel()
	ok := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	tests := []struct {
		name    string
		adjust  func(*tls.Config)
		trusted bool
		want    Class
	}{
		{"good", nil, true, "http_204"},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true, "http_204"},
		{"HTTP/2 offered", func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, true, "http_204"},
		{"self-signed", nil, false, ClassTLS},
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, true, ClassTLS},
		{"client certificate wanted", func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }, true, ClassBadResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, pool := tlsReceiver(t, ok, tt.adjust)
			if !tt.trusted {
				pool = x509.NewCertPool()
			}
			a := senderTo(server.Listener.Addr().String(), pool).Send(t.Context(), delivery("https://hooks.customer.com/"))
			if a.Class != tt.want {
				t.Errorf("Send = %+v, want %s", a, tt.want)
			}
		})
	}
	for name, notAfter := range map[string]time.Time{"expired": time.Now().Add(-time.Hour), "not yet valid": time.Now().Add(72 * time.Hour), "wrong name": time.Now().Add(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := map[bool]string{true: "other.customer.com", false: "hooks.customer.com"}[name == "wrong name"]
			cert, pool := certificate(t, host, notAfter)
			server, _ := tlsReceiver(t, ok, func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
			a := senderTo(server.Listener.Addr().String(), pool).Send(t.Context(), delivery("https://hooks.customer.com/"))
			if a.Class != ClassTLS || a.Status != 0 || strings.Contains(fmt.Sprint(a.Err), "other.customer.com") {
				t.Errorf("Send = %+v, want %s", a, ClassTLS)
			}
		})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(ok))
		defer server.Close()
		a := senderTo(server.Listener.Addr().String(), nil).Send(t.Context(), delivery("https://hooks.customer.com/"))
		if a.Class != ClassTLS {
			t.Errorf("Send = %+v, want %s", a, ClassTLS)
		}
	})
}

// TestSendIgnoresProxy is not parallel: it sets the environment.
func TestSendIgnoresProxy(t *testing.T) {
	proxy := fmt.Sprintf("http://127.0.0.1:%d", silentListener(t))
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy)
		t.Setenv(strings.ToLower(name), proxy)
	}
	server, pool := tlsReceiver(t, func(http.ResponseWriter, *http.Request) {}, nil)
	a := senderTo(server.Listener.Addr().String(), pool).Send(t.Context(), delivery("https://hooks.customer.com/"))
	if !a.Delivered() {
		t.Errorf("Send = %+v", a)
	}
}

func TestSendRefusesBeforeDialling(t *testing.T) {
	t.Parallel()
	rec := &recorder{}
	sender := NewSender(SenderConfig{
		Guard: NewGuard(GuardConfig{Dial: rec.dial, Lookup: fixedLookup(publicAddr)}),
		Rules: Rules{OwnHosts: mustHosts(t, "api.exportd.io")},
	})
	good := delivery("https://hooks.customer.com/")
	change := func(f func(*Delivery)) Delivery {
		d := good
		f(&d)
		return d
	}
	tests := map[Class][]Delivery{
		ClassBlocked: {
			delivery("https://api.exportd.io/"), delivery("https://127.0.0.1/"), delivery(""),
			change(func(d *Delivery) { d.AllowedHosts = mustHosts(t, "other.com") }),
		},
		ClassInternalError: {
			change(func(d *Delivery) { d.Secrets = nil }), change(func(d *Delivery) { d.ID = "a.b" }),
		},
	}
	for want, deliveries := range tests {
		for _, d := range deliveries {
			if a := sender.Send(t.Context(), d); a.Class != want || a.Err == nil {
				t.Errorf("Send(%+v) = %+v, want %s", d, a, want)
			}
		}
	}
	if len(rec.dialed) > 0 {
		t.Errorf("dialled %v", rec.dialed)
	}
	if a := sender.Send(t.Context(), good); a.Class != ClassConnect || len(rec.dialed) != 1 {
		t.Errorf("Send = %+v, dialled %v", a, rec.dialed)
	}
}
