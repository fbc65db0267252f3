package storageserver_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func signBlob(t testing.TB, url string, payload []byte) ([]byte, error) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"payload": payload})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/signBlob", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		SignedBlob []byte `json:"signedBlob"`
	}
	err = json.NewDecoder(res.Body).Decode(&answer)
	return answer.SignedBlob, err
}

func TestSignedURLServesTheObject(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	for _, name := range []string{"exports/job 1/ü&.csv", "a//b", "../x", "a+b%20", "q?x=1#y"} {
		put(t, b.Object(name), []byte("id,name\r\n"), 0)
		res, body := fetch(t, http.MethodGet, sign(t, url, b, name))
		if res.StatusCode != 200 || body != "id,name\r\n" {
			t.Fatalf("GET of signed %q = %d %q", name, res.StatusCode, body)
		}
		for header, want := range map[string]string{
			"Content-Disposition": `attachment; filename="vip users.csv"`, "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
		} {
			if got := res.Header.Get(header); got != want {
				t.Errorf("%s = %q, want %q", header, got, want)
			}
		}
	}
}

func TestSignedURLRefusals(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	put(t, b.Object("a.csv"), []byte("secret"), 0)
	put(t, b.Object("b.csv"), []byte("secret"), 0)
	signed := sign(t, url, b, "a.csv")
	for name, c := range map[string]struct{ method, url string }{
		"unsigned":             {"GET", url + "/exports/a.csv"},
		"other object":         {"GET", strings.Replace(signed, "a.csv", "b.csv", 1)},
		"other method":         {"HEAD", signed},
		"other host":           {"GET", strings.Replace(signed, "127.0.0.1", "localhost", 1)},
		"longer life":          {"GET", strings.Replace(signed, "X-Goog-Expires=", "X-Goog-Expires=9", 1)},
		"other file name":      {"GET", strings.Replace(signed, "vip", "vup", 1)},
		"added parameter":      {"GET", signed + "&response-content-type=text%2Fhtml"},
		"parameter twice":      {"GET", signed + "&X-Goog-Date=20000101T000000Z"},
		"cut signature":        {"GET", signed[:len(signed)-2]},
		"signature not hex":    {"GET", signed + "zz"},
		"no signature":         {"GET", strings.Replace(signed, "X-Goog-Signature", "X-Goog-Nothing", 1)},
		"headers without host": {"GET", strings.Replace(signed, "SignedHeaders=host", "SignedHeaders=date", 1)},
	} {
		res, body := fetch(t, c.method, c.url)
		if res.StatusCode != http.StatusForbidden || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s, want 403", name, res.StatusCode, body)
		}
		if c.method == "GET" && !strings.Contains(body, "<Error><Code>") {
			t.Errorf("%s: body %q is not Cloud Storage's XML", name, body)
		}
	}
}
