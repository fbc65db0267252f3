package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

const dateForm = "2006-01-02T15:04:05.000Z"

// authFaults: each fault is a 401, the same for what depends on the key.
func authFaults(t *testing.T, s *e2etest.Stack) {
	if got := e2etest.Sign("test-secret-0123456789abcdef", "2026-01-02T03:04:05.678Z"); got != "87bafca278770c21a666606ff84ff94da2354abc691c3683905a3ec138e7e57d" {
		t.Fatalf("the golden vector gives %s", got)
	}
	send := func(headers ...string) e2etest.Response {
		t.Helper()
		r, err := e2etest.Send(t.Context(), http.MethodGet, s.APIURL+"/workspaces", nil, nil, headers...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	signed := func(id, secret, date string) []string {
		return []string{"x-api-key", id, "x-date", date, "x-signature", e2etest.Sign(secret, date)}
	}
	at := func(age time.Duration) string { return time.Now().Add(-age).UTC().Format(dateForm) }
	now := at(0)
	good := signed(s.APIKey, s.Secret, now)
	send(good...).Want(t, http.StatusOK)

	refused := send(signed(s.APIKey, s.OtherSecret, now)...).Want(t, http.StatusUnauthorized)
	for what, headers := range map[string][]string{
		"unknown key":          signed("key_demo_AAAAAAAAAAAAAAAA", s.Secret, now),
		"disabled key":         signed(s.DisabledAPIKey, s.DisabledSecret, now),
		"expired key":          signed(s.ExpiredAPIKey, s.ExpiredSecret, now),
		"another key's secret": signed(s.OtherAPIKey, s.Secret, now),
		"signature of another": {"x-api-key", s.APIKey, "x-date", now, "x-signature", e2etest.Sign(s.Secret, at(time.Second))},
	} {
		r := send(headers...).Want(t, http.StatusUnauthorized)
		if string(r.Body) != string(refused.Body) {
			t.Errorf("%s: %s, want the same as for a wrong signature: %s", what, r.Body, refused.Body)
		}
	}

	for i, name := range []string{"x-api-key", "x-date", "x-signature"} {
		without := append(append([]string{}, good[:2*i]...), good[2*i+2:]...)
		for what, headers := range map[string][]string{
			"no " + name:        without,
			"empty " + name:     append([]string{name, ""}, without...),
			"twice " + name:     append([]string{name, good[2*i+1]}, good...),
			"spoiled " + name:   append([]string{name, good[2*i+1] + "!"}, without...),
			"long " + name:      append([]string{name, strings.Repeat("a", 5000)}, without...),
			"listed in " + name: append([]string{name, good[2*i+1] + ", " + good[2*i+1]}, without...),
		} {
			wantMessage(t, what, send(headers...), http.StatusUnauthorized)
		}
	}
	upper := append([]string{}, good...)
	upper[5] = strings.ToUpper(upper[5])
	wantMessage(t, "upper-case signature", send(upper...), http.StatusUnauthorized)
	for _, date := range []string{"yesterday", "2026-01-02", "1767323045", "2026-13-02T03:04:05Z", "0001-01-01T00:00:00Z", time.Now().Format(time.RFC1123)} {
		wantMessage(t, "x-date "+date, send(signed(s.APIKey, s.Secret, date)...), http.StatusUnauthorized)
	}
	// The edges to the second are tested with an injected clock; here the clock is real, so 10 s (2 s ahead)
	// are left for a busy machine.
	for age, status := range map[time.Duration]int{
		50 * time.Second: http.StatusOK, -3 * time.Second: http.StatusOK,
		61 * time.Second: http.StatusUnauthorized, time.Hour: http.StatusUnauthorized,
		-20 * time.Second: http.StatusUnauthorized, -24 * time.Hour: http.StatusUnauthorized,
	} {
		if r := send(signed(s.APIKey, s.Secret, at(age))...); r.Status != status {
			t.Errorf("x-date %s old: %d %s, want %d", age, r.Status, r.Body, status)
		}
	}
	east := time.Now().In(time.FixedZone("", 9*3600)).Format("2006-01-02T15:04:05-07:00")
	send(signed(s.APIKey, s.Secret, east)...).Want(t, http.StatusOK)
}

// wantMessage wants an error of the simple form: a status, {"message"} and a request id.
func wantMessage(t *testing.T, what string, r e2etest.Response, status int) {
	t.Helper()
	var body map[string]any
	if r.Status == status {
		r.JSON(t, &body)
	}
	if message, _ := body["message"].(string); r.Status != status || message == "" || r.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s: %d %.300s (request id %q), want %d with a message", what, r.Status, r.Body, r.Header.Get("X-Request-Id"), status)
	}
}
