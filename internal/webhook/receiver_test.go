package webhook

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestReceiver(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	current, previous, stranger := randomSecret(), randomSecret(), randomSecret()
	body := `{"type":"export.succeeded","timestamp":"2026-01-02T03:04:05Z","data":{"jobId":"j"}}`
	tests := map[string]struct {
		method, body string
		signed       string // as is body, unless given
		by           []Secret
		at           time.Time
		change       func(http.Header)
		want         int
	}{
		"good":             {by: []Secret{current}, at: now, want: 204},
		"by both":          {by: []Secret{stranger, previous}, at: now, want: 204},
		"at the edge":      {by: []Secret{current}, at: now.Add(-5 * time.Minute), want: 204},
		"by a stranger":    {by: []Secret{stranger}, at: now, want: 401},
		"too old":          {by: []Secret{current}, at: now.Add(-5*time.Minute - time.Second), want: 401},
		"too new":          {by: []Secret{current}, at: now.Add(5*time.Minute + time.Second), want: 401},
		"body changed":     {by: []Secret{current}, at: now, signed: body + " ", want: 401},
		"not JSON":         {by: []Secret{current}, at: now, body: "x", want: 400},
		"too long":         {by: []Secret{current}, at: now, body: string(make([]byte, maxReceived+1)), want: 400},
		"GET":              {method: http.MethodGet, by: []Secret{current}, at: now, want: 405},
		"no id":            {by: []Secret{current}, at: now, change: func(h http.Header) { h.Del(HeaderID) }, want: 401},
		"other id":         {by: []Secret{current}, at: now, change: func(h http.Header) { h.Set(HeaderID, "msg_2") }, want: 401},
		"id with a stop":   {by: []Secret{current}, at: now, change: func(h http.Header) { h.Set(HeaderID, "msg_1.1") }, want: 401},
		"two signatures":   {by: []Secret{current}, at: now, change: func(h http.Header) { h.Add(HeaderSignature, "v1,x") }, want: 401},
		"odd timestamp":    {by: []Secret{current}, at: now, change: func(h http.Header) { h.Set(HeaderTimestamp, "+1") }, want: 401},
		"padded signature": {by: []Secret{current}, at: now, change: func(h http.Header) { h.Set(HeaderSignature, h.Get(HeaderSignature)+"=") }, want: 401},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := tt.body
			if sent == "" {
				sent = body
			}
			signed := tt.signed
			if signed == "" {
				signed = sent
			}
			signature, err := Sign("msg_1", tt.at, []byte(signed), tt.by...)
			if err != nil {
				t.Fatal(err)
			}
			method := tt.method
			if method == "" {
				method = http.MethodPost
			}
			req := httptest.NewRequestWithContext(t.Context(), method, "/", bytes.NewReader([]byte(sent)))
			req.Header.Set(HeaderID, "msg_1")
			req.Header.Set(HeaderTimestamp, unixSeconds(tt.at))
			req.Header.Set(HeaderSignature, signature)
			if tt.change != nil {
				tt.change(req.Header)
			}
			var got Received
			rc := &Receiver{Secrets: []Secret{current, previous}, Now: func() time.Time { return now }, Report: func(r Received) { got = r }}
			rec := httptest.NewRecorder()
			rc.ServeHTTP(rec, req)
			if rec.Code != tt.want || (got.Refused == "") != (tt.want == 204) {
				t.Errorf("status %d, refused %q; want %d", rec.Code, got.Refused, tt.want)
			}
			if tt.want == 204 && (got.Event.Data.JobID != "j" || got.ID != "msg_1" || !got.Sent.Equal(tt.at)) {
				t.Errorf("reported %+v", got)
			}
		})
	}
}
