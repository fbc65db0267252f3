package storageserver_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/storage"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/localcloud/storageserver"
)

func newAccount(t *testing.T, email string) (key, file []byte) {
	t.Helper()
	key, file, err := localcloudtest.KeyFile(email)
	if err != nil {
		t.Fatal(err)
	}
	return key, file
}

// TestServiceAccounts: what an account has signed with one of its keys is taken, to read and to write, and
// nothing that another key has signed for it.
func TestServiceAccounts(t *testing.T) {
	t.Parallel()
	const ours, other = "ours@example.invalid", "other@example.invalid"
	first, firstFile := newAccount(t, ours)
	second, secondFile := newAccount(t, ours)
	others, otherFile := newAccount(t, other)
	web, _ := serve(t, storageserver.Options{InMemory: true, Lax: true, ServiceAccounts: [][]byte{firstFile, secondFile, otherFile}})
	b := connect(t, web).Bucket("exports")
	if err := b.Create(t.Context(), "p", nil); err != nil {
		t.Fatal(err)
	}
	do := func(method, email string, key []byte, contentType, body string) (int, string) {
		t.Helper()
		url, err := storage.SignedURL("exports", "a b/ü.csv", &storage.SignedURLOptions{
			Scheme: storage.SigningSchemeV4, Method: method, GoogleAccessID: email, PrivateKey: key, ContentType: contentType,
			Hostname: strings.TrimPrefix(web, "http://"), Insecure: true, Expires: time.Now().Add(time.Minute),
		})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/csv")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		got, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(got)
	}
	if code, body := do("PUT", ours, first, "text/csv", "id\r\n"); code != http.StatusOK {
		t.Fatalf("PUT = %d %s", code, body)
	}
	for name, c := range map[string]struct {
		email string
		key   []byte
		want  int
	}{
		"its key":                           {ours, first, 200},
		"its second key":                    {ours, second, 200},
		"another account":                   {other, others, 200},
		"the key of another account":        {ours, others, 403},
		"an account that is not registered": {"nobody@example.invalid", first, 403},
	} {
		code, body := do("GET", c.email, c.key, "", "")
		if code != c.want || (code == 200) != (body == "id\r\n") || code == 403 && !strings.Contains(body, "<Code>SignatureDoesNotMatch</Code>") {
			t.Errorf("%s: GET = %d %q, want %d", name, code, body, c.want)
		}
	}
	if code, body := do("PUT", ours, others, "text/csv", "forged"); code != http.StatusForbidden {
		t.Errorf("PUT signed by another key = %d %s", code, body)
	}
	if code, body := do("PUT", ours, first, "text/plain", "forged"); code != http.StatusForbidden {
		t.Errorf("PUT with another type than was signed = %d %s", code, body)
	}
	if _, body := do("GET", ours, first, "", ""); body != "id\r\n" {
		t.Errorf("after refused writes the object is %q", body)
	}
	for name, file := range map[string]string{"no JSON": "x", "no address": `{"private_key":"x"}`, "no key": `{"client_email":"a@b"}`, "no PEM": `{"client_email":"a@b","private_key":"secret"}`} {
		if _, err := storageserver.Open(storageserver.Options{InMemory: true, ServiceAccounts: [][]byte{[]byte(file)}}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
