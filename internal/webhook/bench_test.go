package webhook

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func BenchmarkParseURL(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseURL("https://hooks.customer.com/cb?token=abc", Rules{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSend is one whole attempt over loopback, without TLS.
func BenchmarkSend(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	sender := NewSender(SenderConfig{Rules: devRules, Guard: NewGuard(GuardConfig{Dev: devRules.Dev})})
	d := Delivery{URL: server.URL, ID: "msg_1", Timestamp: time.Now(), Body: make([]byte, 1024), Secrets: []Secret{randomSecret()}}
	b.ReportAllocs()
	for b.Loop() {
		if a := sender.Send(b.Context(), d); !a.Delivered() {
			b.Fatalf("%+v", a)
		}
	}
}
