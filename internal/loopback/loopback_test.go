package loopback_test

import (
	"net/url"
	"testing"

	"exportd/internal/loopback"
)

func TestIsHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST": true, "127.0.0.1:1": true, "127.9.9.9": true, "[::1]:80": true, "[::1]": true, "::1": true,
		"": false, "example.com": false, "127.0.0.1.example.com": false, "localhost.example.com:80": false, "10.0.0.1": false, "0.0.0.0": false, "[::]:80": false,
		"169.254.169.254": false, "127.1": false, "2130706433": false,
	} {
		if got := loopback.IsHost(host); got != want {
			t.Errorf("IsHost(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestIsSecure(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]bool{
		"https://example.com": true, "https://127.0.0.1/x": true, "http://127.0.0.1:1/x": true, "HTTP://localhost": true, "http://[::1]:80": true,
		"http://example.com": false, "http://127.0.0.1.example.com": false, "http://localhost@example.com": false, "//example.com": false, "https:///x": false, "https:x": false,
		"ftp://127.0.0.1": false, "javascript:x": false, "": false,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := loopback.IsSecure(u); got != want {
			t.Errorf("IsSecure(%q) = %v, want %v", raw, got, want)
		}
	}
}
