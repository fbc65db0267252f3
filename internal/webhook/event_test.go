package webhook

import (
	"errors"
	"net/http/httptest"
	"testing"
	"time"
)

func TestEventEncode(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 4, 4, 5, 678e6, time.FixedZone("", 3600))
	until := at.UTC().Add(time.Hour)
	rows, link := int64(3), "https://storage.example/x?sig=a&b=<c>"
	tests := map[string]struct {
		in   Event
		want string
	}{
		"succeeded": {
			Event{Type: "export.succeeded", Timestamp: at, Data: EventData{
				JobID: "j", Kind: "vip-users", State: "succeeded", TotalCount: &rows, CSVURL: &link, CSVURLExpiresAt: &until, Params: map[string]int{"n": 1},
			}},
			`{"type":"export.succeeded","timestamp":"2026-01-02T03:04:05.678Z","data":{"jobId":"j","kind":"vip-users","state":"succeeded","totalCount":3,` +
				`"csvUrl":"https://storage.example/x?sig=a\u0026b=\u003cc\u003e","csvUrlExpiresAt":"2026-01-02T04:04:05.678Z","error":null,"params":{"n":1}}}`,
		},
		"failed": {
			Event{Type: "export.failed", Timestamp: at, Data: EventData{JobID: "j", Kind: "vip-messages", State: "failed", Error: &EventError{"INTERNAL", "broken", true}}},
			`{"type":"export.failed","timestamp":"2026-01-02T03:04:05.678Z","data":{"jobId":"j","kind":"vip-messages","state":"failed","totalCount":null,` +
				`"csvUrl":null,"csvUrlExpiresAt":null,"error":{"code":"INTERNAL","message":"broken","retryable":true},"params":null}}`,
		},
	}
	for name, tt := range tests {
		if got, err := tt.in.Encode(); err != nil || string(got) != tt.want {
			t.Errorf("%s: Encode() = %s, %v\nwant %s", name, got, err, tt.want)
		}
	}
	if _, err := (Event{Data: EventData{Params: func() {}}}).Encode(); err == nil {
		t.Error("Encode of params that are no JSON = nil, want an error")
	}
}

func TestKeySecrets(t *testing.T) {
	t.Parallel()
	own, other := randomSecret().Reveal(), randomSecret().Reveal()
	derived, err := DeriveSecret("api-1")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		own, api []string
		want     []string
		err      error
	}{
		"own":          {[]string{own}, []string{"api-1"}, []string{own}, nil},
		"rotation":     {[]string{own, other}, nil, []string{own, other}, nil},
		"one too many": {[]string{own, other, own}, nil, []string{own, other}, nil},
		"derived":      {nil, []string{"api-1"}, []string{derived.Reveal()}, nil},
		"none":         {nil, nil, nil, ErrNoSecret},
		"malformed":    {[]string{"secret"}, []string{"api-1"}, nil, ErrSecret},
	}
	for name, tt := range tests {
		got, err := KeySecrets(tt.own, tt.api)
		if !errors.Is(err, tt.err) || len(got) != len(tt.want) {
			t.Errorf("%s: KeySecrets() = %d secrets, %v; want %d, %v", name, len(got), err, len(tt.want), tt.err)
			continue
		}
		for i := range got {
			if got[i].Reveal() != tt.want[i] {
				t.Errorf("%s: secret %d is another one", name, i)
			}
		}
	}
}

// TestPing: signed as callbacks are, told from them by its type, and guarded as they are.
func TestPing(t *testing.T) {
	t.Parallel()
	secret := randomSecret()
	got := make(chan Received, 2)
	srv := httptest.NewServer(&Receiver{Secrets: []Secret{secret}, Report: func(r Received) { got <- r }})
	t.Cleanup(srv.Close)
	sender := NewSender(SenderConfig{Rules: devRules, Guard: NewGuard(GuardConfig{Dev: devRules.Dev})})
	for range 2 {
		if a := Ping(t.Context(), sender, Delivery{URL: srv.URL, Secrets: []Secret{secret}}); a.Status != 204 {
			t.Fatalf("Ping() = %+v, want 204", a)
		}
	}
	first, second := <-got, <-got
	if first.Refused != "" || first.Event.Type != EventPing || first.Event.Data.JobID != PingJobID || first.ID == second.ID || !ValidID(first.ID) {
		t.Errorf("got %+v and the id %s", first, second.ID)
	}
	if a := Ping(t.Context(), sender, Delivery{URL: "https://10.0.0.1/", Secrets: []Secret{secret}}); a.Class != ClassBlocked {
		t.Errorf("Ping of a private address = %+v, want it blocked", a)
	}
}
