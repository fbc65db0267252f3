package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"exportd/internal/config"
	"exportd/internal/console"
	"exportd/internal/identity"
	"exportd/internal/identity/identitytest"
)

// TestClientSecret: the client's secret is what its file holds, without the line's end; a file that is not
// there, or holds none, is told by its setting, and what is in it is not told.
func TestClientSecret(t *testing.T) {
	provider := identitytest.NewProvider(t, time.Now)
	provider.Is(map[string]any{"email": "a@example.com", "email_verified": true})
	file := filepath.Join(t.TempDir(), "secret")
	s := config.ConsoleSignIn{
		Issuer: provider.URL, ClientID: identitytest.ClientID, SecretFile: file, URL: "http://127.0.0.1:8080", RoleClaim: "groups", Operators: []string{"a@example.com"},
	}
	for name, c := range map[string]struct {
		text  string
		fault string // of the setting
		in    bool
	}{
		"with a line's end": {text: identitytest.ClientSecret + "\n", in: true},
		"of Windows":        {text: " " + identitytest.ClientSecret + "\r\n", in: true},
		"another":           {text: "another secret"},
		"empty":             {text: " \n", fault: "has no secret"},
		"too long":          {text: strings.Repeat("hush", maxSecretFile/4+1), fault: "more than one"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, oidc, _, err := identities(s)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), "EXPORTD_CONSOLE_OIDC_SECRET_FILE") || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if who, err := signedIn(t, oidc); (err == nil) != c.in || c.in && who.Name != "a@example.com" || err != nil && strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := identities(s); err == nil || !strings.Contains(err.Error(), "EXPORTD_CONSOLE_OIDC_SECRET_FILE") || !strings.Contains(err.Error(), file) {
		t.Errorf("without the file: %v", err)
	}
}

// signedIn goes to the provider and back, as a browser does.
func signedIn(t *testing.T, oidc *identity.OIDC) (identity.Person, error) {
	t.Helper()
	to, flow, err := oidc.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	back := identitytest.SentBack(t, to)
	if back.Path != console.CallbackPath {
		t.Fatalf("the provider sends back to %v", back)
	}
	return oidc.Finish(t.Context(), flow, back.Query())
}
